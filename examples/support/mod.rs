//! What the examples share.

#![allow(dead_code, unused_imports, clippy::cast_precision_loss, reason = "each example uses its part; small numbers")]

pub(crate) mod config_file;
#[cfg(feature = "dfdx")]
pub(crate) mod digits;
pub(crate) mod files;
pub(crate) mod flags;
pub(crate) mod idx;
#[cfg(feature = "dfdx")]
pub(crate) mod input;
pub(crate) mod output;
pub(crate) mod parallel;
#[cfg(feature = "plot")]
pub(crate) mod pictures;
#[cfg(feature = "dfdx")]
pub(crate) mod problem;
pub(crate) mod review;

use std::error::Error;
use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command, Parser};
use output::OutputError;

/// Runs an example with its arguments; an error is one line on stderr and a failing exit code.
pub(crate) fn run<A: Parser>(run: impl FnOnce(A) -> Result<(), Box<dyn Error>>) -> ExitCode {
    let args = match parse(A::command()).and_then(|matches| A::from_arg_matches(&matches)) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if matches!(error.downcast_ref(), Some(OutputError::Closed)) => ExitCode::SUCCESS,
        Err(error) => {
            // A parser's message may have several lines.
            let message = error.to_string();
            let line: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            // Where stderr is closed, too, nobody can be told.
            let _ = writeln!(stderr(), "error: {}", line.join(" "));
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line. A negative number is a value, so that the check of its range can say what is wrong with it.
fn parse(command: Command) -> Result<ArgMatches, clap::Error> {
    let mut command = command.mut_args(|arg| {
        let takes_values = arg.get_action().takes_values();
        arg.allow_negative_numbers(takes_values)
    });
    let words: Vec<_> = std::env::args_os().collect();
    command.try_get_matches_from_mut(&words).map_err(|error| {
        if error.kind() != ErrorKind::UnknownArgument {
            return error;
        }
        let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return error };
        let switches: Vec<String> = command
            .get_arguments()
            .filter(|arg| !arg.get_action().takes_values())
            .filter_map(|arg| Some(format!("--{}", arg.get_long()?)))
            .collect();
        let given =
            |switch: &&String| words.windows(2).any(|pair| pair[0] == switch.as_str() && pair[1] == word.as_str());
        match switches.iter().find(given) {
            Some(switch) => {
                let text =
                    format!("{switch} takes no value, and {word:?} was given: write {switch} alone, or leave it out");
                command.error(ErrorKind::UnknownArgument, text)
            }
            None => error,
        }
    })
}
