//! The merged document: values that know where they are from.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Number, Value};

use crate::config::Source;
use crate::core::error::{Error, Result};

/// A value and its origin.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) origin: Arc<str>,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    /// Text of a format that has types.
    Text(String),
    /// Text of a source that has none, read as whatever is asked for.
    Loose(String),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Node {
    /// Makes an empty document.
    pub(super) fn empty() -> Self {
        Self { origin: "defaults".into(), kind: Kind::Table(BTreeMap::new()) }
    }

    /// Lays a source's document over this one; tables merge, everything else is replaced.
    pub(super) fn overlay(&mut self, source: &dyn Source, document: Value) -> Result<()> {
        if !document.is_object() {
            let detail = format!("{} does not hold an object", source.name());
            return Err(Error::precondition_failed("micro.config", detail));
        }
        self.merge(build(source, "", document));
        Ok(())
    }

    fn merge(&mut self, over: Self) {
        match (&mut self.kind, over.kind) {
            (Kind::Table(under), Kind::Table(over)) => {
                for (key, node) in over {
                    match under.get_mut(&key) {
                        Some(below) => below.merge(node),
                        None => drop(under.insert(key, node)),
                    }
                }
            }
            (_, kind) => *self = Self { origin: over.origin, kind },
        }
    }

    /// Finds the node of a dotted key.
    pub(super) fn find(&self, key: &str) -> Option<&Self> {
        key.split('.').try_fold(self, |node, part| match &node.kind {
            Kind::Table(table) => table.get(part),
            _ => None,
        })
    }
}

/// Turns a document into nodes; its depth is bounded by the parser that made it.
fn build(source: &dyn Source, key: &str, value: Value) -> Node {
    let kind = match value {
        Value::Null => Kind::Null,
        Value::Bool(value) => Kind::Bool(value),
        Value::Number(value) => Kind::Number(value),
        Value::String(text) if source.is_text() => Kind::Loose(text),
        Value::String(text) => Kind::Text(text),
        Value::Array(items) => {
            Kind::List(items.into_iter().map(|item| build(source, key, item)).collect())
        }
        Value::Object(fields) => {
            let child = |(name, value): (String, Value)| {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                (name, build(source, &key, value))
            };
            Kind::Table(fields.into_iter().map(child).collect())
        }
    };
    Node { origin: source.origin(key).into(), kind }
}
