//! A document in a file.

mod watch;

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::config::changes::Changes;
use crate::config::document::Document;
use crate::config::format::Format;
use crate::config::{DOCUMENT_BYTES_MAX, Source};
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;

/// A file, at most [`DOCUMENT_BYTES_MAX`] bytes long, in the format of its extension.
///
/// `.json` is always read; `.yaml` and `.yml`, `.toml`, `.hcl` and `.xml` with the features of
/// those names. Nothing in it is expanded. A file that is not there is an error: a path that
/// somebody wrote down is meant.
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
    name: String,
}

impl File {
    /// Names a file; nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { name: path.display().to_string(), path }
    }
}

impl Source for File {
    fn name(&self) -> &str {
        &self.name
    }

    fn load(&self) -> BoxFuture<'_, Result<Document>> {
        Box::pin(async {
            let path = self.path.clone();
            let read = tokio::task::spawn_blocking(move || read(&path)).await;
            let text = match read {
                Ok(Ok(text)) => text,
                Ok(Err(error)) => return Err(self.broken(&error).with_source(error)),
                Err(error) => return Err(self.broken(&error).with_source(error)),
            };
            self.parse(&text).map_err(|what| self.broken(&what))
        })
    }

    fn watch(&self) -> BoxFuture<'_, Result<Option<Changes>>> {
        Box::pin(async {
            let path = self.path.clone();
            let watching = tokio::task::spawn_blocking(move || watch::watch(path)).await;
            watching.map(Some).map_err(|error| self.broken(&error).with_source(error))
        })
    }
}

impl File {
    fn broken(&self, what: &dyn std::fmt::Display) -> Error {
        let detail = format!("the configuration file {}: {what}", self.name);
        Error::precondition_failed("micro.config", detail)
    }

    fn parse(&self, text: &str) -> Result<Document, String> {
        let extension = self.path.extension().and_then(|extension| extension.to_str());
        Format::of(extension)?.document(text, &self.name)
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    // One byte past the limit tells a document that is too long from one that just fits.
    let limit = u64::try_from(DOCUMENT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(path)?.take(limit).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        (dir, File::new(path))
    }

    #[tokio::test]
    async fn json_is_read() {
        let (_dir, file) = file("a.json", r#"{"a": {"b": 1}}"#);
        assert_eq!(file.load().await.unwrap().value, serde_json::json!({"a": {"b": 1}}));
    }

    #[tokio::test]
    async fn each_fault_names_the_file() {
        let long = format!("\"{}\"", "x".repeat(DOCUMENT_BYTES_MAX));
        for (name, text, part) in
            [("a.json", "{", "EOF"), ("a.ini", "", ".ini"), ("a.json", &long, "longer")]
        {
            let (_dir, file) = file(name, text);
            let error = file.load().await.unwrap_err();
            assert!(error.detail().contains(name) && error.detail().contains(part), "{error}");
        }
    }

    /// At the limit, above it and ten times above it.
    #[tokio::test]
    async fn l27_a_document_is_as_long_as_it_may_be() {
        let max = DOCUMENT_BYTES_MAX;
        for (bytes, fits) in [(max, true), (max + 1, false), (max * 10, false)] {
            let (open, close) = ("{\"a\": \"", "\"}");
            let value = "x".repeat(bytes - open.len() - close.len());
            let text = format!("{open}{value}{close}");
            assert_eq!(text.len(), bytes);
            let (_dir, file) = file("a.json", &text);
            match file.load().await {
                Ok(document) => {
                    assert!(fits, "{bytes} bytes were read");
                    assert_eq!(document.value["a"], value.as_str());
                }
                Err(error) => {
                    assert!(!fits, "{bytes} bytes: {error}");
                    assert_eq!(error.code(), 412);
                    assert!(error.detail().contains("longer than"), "{error}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_missing_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = File::new(dir.path().join("none.json")).load().await.unwrap_err();
        assert!(error.detail().contains("none.json"), "{error}");
    }
}
