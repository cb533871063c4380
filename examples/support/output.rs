//! Lines on stdout.

use std::io::{self, ErrorKind, Write, stdout};

use thiserror::Error;

/// A line that could not be printed.
#[derive(Debug, Error)]
pub(crate) enum OutputError {
    /// Nobody reads on, as in `train | head -1`.
    #[error("stdout is closed")]
    Closed,
    #[error("stdout: {0}")]
    Io(io::Error),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe { Self::Closed } else { Self::Io(error) }
    }
}

/// Prints a line.
pub(crate) fn line(text: &str) -> Result<(), OutputError> {
    Ok(writeln!(stdout(), "{text}")?)
}

/// As `println!`, which panics where nobody reads on. This gives an error instead, on which the example ends quietly.
#[allow(unused_macros, reason = "each example uses its part")]
macro_rules! say {
    ($($text:tt)*) => { $crate::support::output::line(&format!($($text)*)) };
}
pub(crate) use say;
