//! A history as tensors. In the JSON header, every reader would have to parse it.

use super::document::HistoryDocument;
use super::error::CheckpointError;
use super::file::{SavedTensors, Tensors};
use super::number::Number;
use crate::history::{History, Per, Series, Table};

/// Adds the values of a history to the tensors; returns the names of its series.
pub(super) fn collect(history: &History, tensors: &mut Tensors) -> Result<HistoryDocument, CheckpointError> {
    let mut names = |table: &Table| -> Result<Vec<String>, CheckpointError> {
        let (per, rows) = (table.per(), [table.len()]);
        tensors.push(key(per, "index"), &rows, table.index())?;
        for (n, name) in table.names().enumerate() {
            let values = table.get(name).unwrap_or_default();
            let numbers: Vec<f64> = values.iter().map(|value| value.unwrap_or_default()).collect();
            tensors.push(key(per, &n.to_string()), &rows, &numbers)?;
            // Every number is a valid value, so a second tensor says which values are missing.
            if values.contains(&None) {
                let there: Vec<u8> = values.iter().map(|value| value.is_some().into()).collect();
                tensors.push(key(per, &format!("{n}.there")), &rows, &there)?;
            }
        }
        Ok(table.names().map(Into::into).collect())
    };
    let (updates, epochs) = (names(history.updates())?, names(history.epochs())?);
    Ok(HistoryDocument { every: history.kept_every(), updates, epochs })
}

pub(super) fn read(document: &HistoryDocument, saved: &mut SavedTensors) -> Result<History, CheckpointError> {
    let mut table = |per, names: &[String]| -> Result<Table, CheckpointError> {
        let index = numbers::<u64>(saved, &key(per, "index"))?;
        let series = names.iter().enumerate().map(|(n, name)| {
            let values = numbers::<f64>(saved, &key(per, &n.to_string()))?;
            let there = key(per, &format!("{n}.there"));
            let there = if saved.contains(&there) { numbers::<u8>(saved, &there)? } else { vec![1; values.len()] };
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

fn numbers<N: Number>(saved: &mut SavedTensors, name: &str) -> Result<Vec<N>, CheckpointError> {
    let shape = saved.shape(name).unwrap_or_default();
    Ok(saved.numbers(name, shape)?.collect())
}
