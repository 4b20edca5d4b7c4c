//! Standard output: tables for people, JSON for programs.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serde_json::Value;

use crate::failure::{Failure, Outcome};
use crate::plain::plain_lines;
use crate::table::Table;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    form: Form,
}

impl Screen {
    /// Writes in a form, or as the reader needs it: tables on a terminal, JSON elsewhere.
    pub(crate) fn new(form: Option<Form>) -> Self {
        let usual = || if io::stdout().is_terminal() { Form::Table } else { Form::Json };
        Self { form: form.unwrap_or_else(usual) }
    }

    /// Returns whether programs read it.
    pub(crate) fn is_json(self) -> bool {
        self.form == Form::Json
    }

    /// Writes a result in the form that its reader needs.
    pub(crate) fn show<T: Serialize>(self, value: &T, table: impl FnOnce(&T) -> Table) -> Outcome {
        match self.form {
            Form::Json => self.document(value),
            Form::Table => self.text(&table(value).text()),
        }
    }

    /// Writes a result as one JSON document on several lines, for every reader.
    pub(crate) fn document<T: Serialize>(self, value: &T) -> Outcome {
        let mut text = serde_json::to_string_pretty(value).map_err(unwritable)?;
        text.push('\n');
        write(&text)
    }

    /// Writes one of many results as one line of JSON, at once.
    pub(crate) fn line<T: Serialize>(self, value: &T) -> Outcome {
        let mut text = serde_json::to_string(value).map_err(unwritable)?;
        text.push('\n');
        write(&text)
    }

    /// Writes text of several lines; other control characters are escaped.
    pub(crate) fn text(self, text: &str) -> Outcome {
        write(&plain_lines(text))
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Outcome {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    /// Writes what was said in words: a message for people, a document for programs.
    pub(crate) fn said(self, value: &Value, words: &str) -> Outcome {
        match self.form {
            Form::Json => self.document(value),
            Form::Table => self.text(&format!("{words}\n")),
        }
    }
}

fn write(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn unwritable(error: serde_json::Error) -> Failure {
    Failure::Io(error.into())
}
