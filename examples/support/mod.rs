//! What the examples share.

#![allow(dead_code, unused_imports, clippy::cast_precision_loss, reason = "each example uses its part; small numbers")]

pub(crate) mod config_file;
#[cfg(feature = "dfdx")]
pub(crate) mod digits;
pub(crate) mod files;
pub(crate) mod idx;
#[cfg(feature = "plot")]
pub(crate) mod pictures;

use std::error::Error;
use std::process::ExitCode;

/// Runs an example; an error is one line on stderr and a failing exit code.
pub(crate) fn exit_code(run: impl FnOnce() -> Result<(), Box<dyn Error>>) -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A parser's message may have several lines.
            let message = error.to_string();
            let line: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            eprintln!("error: {}", line.join(" "));
            ExitCode::FAILURE
        }
    }
}
