//! How a command ends that does not end well.

use std::io::{self, Write};
use std::process::ExitCode;

use micro::Error;

use crate::plain::plain;

/// The exit code of a command that failed.
const FAILED: u8 = 1;

/// The exit code of a command that was used wrongly.
const USAGE: u8 = 2;

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It failed.
    Failed(Error),
    /// It cannot be used so; the text says how.
    Usage(String),
    /// It ran, and what it found is not well; the output tells.
    Unwell,
    /// Nobody reads the output any more.
    Unread,
    /// The output could not be written, or a file.
    Io(io::Error),
}

/// What a command returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Makes the failure of a command line that is well formed and makes no sense.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::Io(error),
        }
    }
}

/// Writes what the parser says: the help that was asked for, or what is wrong.
pub(crate) fn usage(wrong: &clap::Error) -> ExitCode {
    // There is nobody to tell that nobody reads it.
    let _written = wrong.print();
    if wrong.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS }
}

/// Says why a command failed, and returns its exit code.
pub(crate) fn exit(outcome: Outcome) -> ExitCode {
    let (text, code) = match outcome {
        Ok(()) | Err(Failure::Unread) => return ExitCode::SUCCESS,
        Err(Failure::Unwell) => return FAILED.into(),
        Err(Failure::Usage(text)) => (text, USAGE),
        Err(Failure::Io(error)) => (error.to_string(), FAILED),
        Err(Failure::Failed(error)) => (told(&error), FAILED),
    };
    let _written = writeln!(io::stderr().lock(), "error: {}", plain(&text));
    code.into()
}

/// Says what is not well, beside the results.
pub(crate) fn warn(text: &str) {
    say(&format!("warning: {text}"));
}

/// Says something beside the results.
pub(crate) fn say(text: &str) {
    // There is nobody to tell that nobody reads it.
    let _written = writeln!(io::stderr().lock(), "{}", plain(text));
}

/// Returns an error as people read it, with what it was caused by.
fn told(error: &Error) -> String {
    let mut text = format!("{} ({}, {})", error.detail(), error.code(), error.id());
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
