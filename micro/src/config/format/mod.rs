//! The formats of files: from text to values and the lines they are on.
//!
//! Values are taken literally: nothing in them is expanded, evaluated or included.

mod json_lines;
mod lines;
#[cfg(feature = "xml")]
mod xml;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::DOCUMENT_BYTES_MAX;
use crate::config::document::Document;
use crate::core::nearest::nearest;

/// Nesting of the formats whose parsers do not bound it themselves.
#[cfg(any(feature = "hcl", feature = "xml", feature = "yaml"))]
const DEPTH_MAX: usize = 64;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    #[cfg(feature = "yaml")]
    Yaml,
    #[cfg(feature = "toml")]
    Toml,
    #[cfg(feature = "hcl")]
    Hcl,
    #[cfg(feature = "xml")]
    Xml,
}

/// Extensions, and the feature that each needs.
const EXTENSIONS: [(&str, &str); 6] = [
    ("json", ""),
    ("yaml", "yaml"),
    ("yml", "yaml"),
    ("toml", "toml"),
    ("hcl", "hcl"),
    ("xml", "xml"),
];

impl Format {
    /// Finds the format of a file by its extension; without one it is JSON.
    pub(super) fn of(extension: Option<&str>) -> Result<Self, String> {
        let Some(extension) = extension.map(str::to_ascii_lowercase) else { return Ok(Self::Json) };
        match extension.as_str() {
            "json" => Ok(Self::Json),
            #[cfg(feature = "yaml")]
            "yaml" | "yml" => Ok(Self::Yaml),
            #[cfg(feature = "toml")]
            "toml" => Ok(Self::Toml),
            #[cfg(feature = "hcl")]
            "hcl" => Ok(Self::Hcl),
            #[cfg(feature = "xml")]
            "xml" => Ok(Self::Xml),
            other => Err(unknown(other)),
        }
    }

    /// Returns whether every scalar is text.
    pub(super) fn is_text(self) -> bool {
        #[cfg(feature = "xml")]
        return self == Self::Xml;
        #[cfg(not(feature = "xml"))]
        false
    }

    /// Reads a document; an empty one holds nothing.
    pub(super) fn parse(self, text: &str) -> Result<Value, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let value: Value = match self {
            Self::Json => serde_json::from_str(text).map_err(|error| error.to_string()),
            #[cfg(feature = "yaml")]
            Self::Yaml => shallow(text).and_then(|()| yaml(text)),
            #[cfg(feature = "toml")]
            Self::Toml => toml::from_str(text).map_err(|error| at_line(text, &error)),
            #[cfg(feature = "hcl")]
            Self::Hcl => {
                shallow(text).and_then(|()| hcl::from_str(text).map_err(|error| hcl_error(&error)))
            }
            #[cfg(feature = "xml")]
            Self::Xml => xml::parse(text),
        }?;
        if value.is_object() { Ok(value) } else { Err("it does not hold an object".to_owned()) }
    }

    /// Reads a document that is called `name`, of at most [`DOCUMENT_BYTES_MAX`] bytes, with the
    /// line that each key is set on.
    pub(super) fn document(self, text: &str, name: &str) -> Result<Document, String> {
        if text.len() > DOCUMENT_BYTES_MAX {
            return Err(format!("longer than {DOCUMENT_BYTES_MAX} bytes"));
        }
        let value = self.parse(text)?;
        let lines = self.lines(text, &value);
        let document = Document::new(value);
        let document = if self.is_text() { document.of_text() } else { document };
        let origin =
            |document: Document, (key, line)| document.with_origin(key, format!("{name}:{line}"));
        Ok(lines.into_iter().fold(document, origin))
    }

    /// Finds the lines of keys, as far as they are certain.
    pub(super) fn lines(self, text: &str, value: &Value) -> BTreeMap<String, usize> {
        if self == Self::Json { json_lines::find(text) } else { lines::find(text, value) }
    }
}

fn unknown(extension: &str) -> String {
    if let Some((_, feature)) = EXTENSIONS.iter().find(|known| known.0 == extension) {
        return format!(
            "`.{extension}` is not compiled in: enable the feature `{feature}` of micro"
        );
    }
    let names = EXTENSIONS.map(|known| known.0);
    let shown = extension.escape_debug();
    match nearest(extension, names) {
        Some(meant) => format!("no format for `.{shown}`; did you mean `.{meant}`?"),
        None => format!("no format for `.{shown}` (there are {})", names.join(", ")),
    }
}

#[cfg(feature = "yaml")]
fn yaml(text: &str) -> Result<Value, String> {
    // Without the lines at fault, which may hold secrets.
    let options = serde_saphyr::options! { with_snippet: false };
    let value: Value =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
    // A document of comments alone is a null.
    Ok(if value.is_null() { Value::Object(serde_json::Map::new()) } else { value })
}

/// Names the line of an error of TOML without showing the line itself, which may hold a secret.
#[cfg(feature = "toml")]
fn at_line(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let line = text.get(..start).unwrap_or(text).matches('\n').count() + 1;
    format!("{} at line {line}", error.message())
}

/// Names the line of an error of HCL without showing the line itself, which may hold a secret.
#[cfg(feature = "hcl")]
fn hcl_error(error: &hcl::Error) -> String {
    match error {
        hcl::Error::Parse(error) => {
            format!("{} at line {}", error.message(), error.location().line())
        }
        other => other.to_string(),
    }
}

/// Refuses text with more brackets open than any document needs: parsers recurse on them.
#[cfg(any(feature = "hcl", feature = "yaml"))]
fn shallow(text: &str) -> Result<(), String> {
    let mut depth = 0_usize;
    for (number, line) in text.lines().enumerate() {
        for c in line.chars() {
            match c {
                '[' | '{' | '(' => depth += 1,
                ']' | '}' | ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if depth > DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} brackets are open at line {}", number + 1));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
