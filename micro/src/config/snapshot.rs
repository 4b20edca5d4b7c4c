//! The merged settings at one time.

use serde::de::DeserializeOwned;

use crate::config::Source;
use crate::config::document::Document;
use crate::config::reader::Reader;
use crate::config::tree::Node;
use crate::core::error::{Error, Result};
use crate::core::short_name::short_name;

/// One state of all settings, never changed.
#[derive(Debug, PartialEq)]
pub(super) struct Snapshot {
    pub(super) root: Node,
    sources: Vec<String>,
}

impl Snapshot {
    /// Merges documents; later ones win.
    pub(super) fn merge<'a>(
        parts: impl Iterator<Item = (&'a dyn Source, &'a Document)>,
    ) -> Result<Self> {
        let (mut root, mut sources) = (Node::empty(), Vec::new());
        for (source, document) in parts {
            root.overlay(source.name(), document)?;
            sources.push(source.name().to_owned());
        }
        sources.dedup();
        Ok(Self { root, sources })
    }

    /// Makes settings without any.
    pub(super) fn empty() -> Self {
        Self { root: Node::empty(), sources: Vec::new() }
    }

    /// Reads a value that has to be there.
    pub(super) fn get<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        self.find(key)?.ok_or_else(|| {
            let hint =
                format!("{}{}", "MICRO_CONFIG_", key.to_ascii_uppercase().replace('.', "__"));
            let looked = self.sources.join(", ");
            let wanted = short_name(std::any::type_name::<T>());
            let detail = if looked.is_empty() {
                format!("`{key}`, a `{wanted}`, is not set: nothing is configured")
            } else {
                format!(
                    "`{key}` is not set; looked for a `{wanted}` in {looked} \
                     (a variable would be {hint})"
                )
            };
            Error::precondition_failed("micro.config", detail)
        })
    }

    /// Reads a value if it is there.
    pub(super) fn find<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let Some(node) = self.root.find(key) else { return Ok(None) };
        let value = T::deserialize(Reader::new(node, key));
        value.map(Some).map_err(|fault| Error::precondition_failed("micro.config", fault))
    }
}
