//! A history as tensors: in the header it would make every reader parse it.

use safetensors::SafeTensors;

use super::CheckpointError;
use super::document::HistoryDocument;
use super::dtype::{self, sealed::Bytes};
use super::file::Tensors;
use crate::history::{History, Per, Series, Table};

/// Puts the numbers of a history beside the tensors; gives its names.
pub(super) fn collect(history: &History, tensors: &mut Tensors) -> HistoryDocument {
    let mut names = |table: &Table| -> Vec<String> {
        let (per, rows) = (table.per(), || vec![table.len()]);
        tensors.push(key(per, "index"), rows(), table.index());
        for (n, name) in table.names().enumerate() {
            let values = table.get(name).unwrap_or_default();
            let numbers: Vec<f64> = values.iter().map(|value| value.unwrap_or_default()).collect();
            tensors.push(key(per, &n.to_string()), rows(), &numbers);
            // A missing value is not the same as any number.
            if values.contains(&None) {
                let there: Vec<u8> = values.iter().map(|value| value.is_some().into()).collect();
                tensors.push(key(per, &format!("{n}.there")), rows(), &there);
            }
        }
        table.names().map(Into::into).collect()
    };
    let (updates, epochs) = (names(history.updates()), names(history.epochs()));
    HistoryDocument { every: history.kept_every(), updates, epochs }
}

pub(super) fn read(document: &HistoryDocument, file: &SafeTensors) -> Result<History, CheckpointError> {
    let table = |per, names: &[String]| -> Result<Table, CheckpointError> {
        let index = numbers::<u64>(file, per, "index")?;
        let series = names.iter().enumerate().map(|(n, name)| {
            let values = numbers::<f64>(file, per, &n.to_string())?;
            let there = format!("{n}.there");
            let there = match file.tensor(&key(per, &there)) {
                Ok(_) => numbers::<u8>(file, per, &there)?,
                Err(_) => vec![1; values.len()],
            };
            let values = values.into_iter().zip(there).map(|(number, there)| (there != 0).then_some(number));
            Ok(Series { name: name.clone(), values: values.collect() })
        });
        let series = series.collect::<Result<_, CheckpointError>>()?;
        Table::from_parts(per, index, series).map_err(|problem| CheckpointError::Document(problem.into()))
    };
    let (updates, epochs) = (table(Per::Update, &document.updates)?, table(Per::Epoch, &document.epochs)?);
    History::from_parts(document.every, updates, epochs).map_err(CheckpointError::State)
}

fn key(per: Per, name: &str) -> String {
    format!("history.{}.{name}", per.name())
}

fn numbers<N: Bytes>(file: &SafeTensors, per: Per, name: &str) -> Result<Vec<N>, CheckpointError> {
    let name = key(per, name);
    match file.tensor(&name) {
        Ok(found) if found.dtype() == N::DTYPE => Ok(dtype::numbers(found.data())),
        Ok(found) => {
            Err(CheckpointError::tensor(&name, format!("should be {:?} and is {:?}", N::DTYPE, found.dtype())))
        }
        Err(_) => Err(CheckpointError::tensor(&name, "is not in the file")),
    }
}
