//! A history as tensors: in the header it would make every reader parse it.

use safetensors::{Dtype as FileDtype, SafeTensors};

use super::CheckpointError;
use super::document::HistoryDocument;
use super::dtype::{from_bytes, to_bytes};
use super::tensors::Entry;
use crate::history::{History, Per, Series, Table};

/// The names of the series, and their numbers.
pub(super) fn collect(history: &History, entries: &mut Vec<Entry>) -> HistoryDocument {
    let mut names = |table: &Table| -> Vec<String> {
        let rows = vec![table.len()];
        let mut push = |name: &str, dtype, bytes| {
            entries.push(Entry { name: key(table.per(), name), dtype, shape: rows.clone(), bytes });
        };
        let index = table.index().iter().flat_map(|index| index.to_le_bytes()).collect();
        push("index", FileDtype::U64, index);
        for (n, name) in table.names().enumerate() {
            let values = table.get(name).unwrap_or_default();
            let numbers: Vec<f64> = values.iter().map(|value| value.unwrap_or_default()).collect();
            push(&n.to_string(), FileDtype::F64, to_bytes(&numbers));
            // A missing value is not the same as any number.
            if values.contains(&None) {
                push(&format!("{n}.there"), FileDtype::U8, values.iter().map(|value| value.is_some().into()).collect());
            }
        }
        table.names().map(Into::into).collect()
    };
    let (updates, epochs) = (names(history.updates()), names(history.epochs()));
    HistoryDocument { every: history.kept_every(), updates, epochs }
}

pub(super) fn read(document: &HistoryDocument, file: &SafeTensors) -> Result<History, CheckpointError> {
    let table = |per, names: &[String]| -> Result<Table, CheckpointError> {
        let index_bytes = bytes(file, per, "index", FileDtype::U64)?;
        let index: Vec<u64> =
            index_bytes.chunks_exact(8).filter_map(|n| Some(u64::from_le_bytes(n.try_into().ok()?))).collect();
        let series = names.iter().enumerate().map(|(n, name)| {
            let numbers: Vec<f64> = from_bytes(bytes(file, per, &n.to_string(), FileDtype::F64)?);
            let there = format!("{n}.there");
            let there = match file.tensor(&key(per, &there)) {
                Ok(_) => bytes(file, per, &there, FileDtype::U8)?.to_vec(),
                Err(_) => vec![1; numbers.len()],
            };
            let values = numbers.into_iter().zip(there).map(|(number, there)| (there != 0).then_some(number));
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

fn bytes<'a>(file: &'a SafeTensors, per: Per, name: &str, dtype: FileDtype) -> Result<&'a [u8], CheckpointError> {
    let name = key(per, name);
    match file.tensor(&name) {
        Ok(found) if found.dtype() == dtype => Ok(found.data()),
        Ok(found) => Err(CheckpointError::tensor(&name, format!("should be {dtype:?} and is {:?}", found.dtype()))),
        Err(_) => Err(CheckpointError::tensor(&name, "is not in the file")),
    }
}
