//! Numbers as all CSV files of the crate have them.

/// The shortest text that reads back as the same number; `NaN`, `inf` and `-inf` spelled so.
pub(crate) fn csv_number(value: f64) -> String {
    format!("{value:?}")
}
