//! The form of numbers in all CSV files of the crate.

/// The shortest text that reads back as the same number, or `NaN`, `inf`, `-inf`.
pub(crate) fn csv_number(value: f64) -> String {
    format!("{value:?}")
}
