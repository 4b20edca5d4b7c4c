//! The merged document: values that know where they are from.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Number, Value};

use crate::config::document::Document;
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
    pub(super) fn overlay(&mut self, source: &str, document: &Document) -> Result<()> {
        if !document.value.is_object() {
            let detail = format!("{source} does not hold an object");
            return Err(Error::precondition_failed("micro.config", detail));
        }
        self.merge(build(&Origin { document, source }, "", &document.value));
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

/// Whether two values are the same, wherever they are set.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Null, Kind::Null) => true,
            (Kind::Bool(a), Kind::Bool(b)) => a == b,
            (Kind::Number(a), Kind::Number(b)) => a == b,
            (Kind::Text(a), Kind::Text(b)) | (Kind::Loose(a), Kind::Loose(b)) => a == b,
            (Kind::List(a), Kind::List(b)) => a == b,
            (Kind::Table(a), Kind::Table(b)) => a == b,
            _ => false,
        }
    }
}

/// A document and the source whose name stands where it knows no better.
struct Origin<'a> {
    document: &'a Document,
    source: &'a str,
}

/// Turns a document into nodes; its depth is bounded by the parser that made it.
fn build(origin: &Origin<'_>, key: &str, value: &Value) -> Node {
    let kind = match value {
        Value::Null => Kind::Null,
        Value::Bool(value) => Kind::Bool(*value),
        Value::Number(value) => Kind::Number(value.clone()),
        Value::String(text) if origin.document.is_text => Kind::Loose(text.clone()),
        Value::String(text) => Kind::Text(text.clone()),
        Value::Array(items) => {
            Kind::List(items.iter().map(|item| build(origin, key, item)).collect())
        }
        Value::Object(fields) => {
            let child = |(name, value): (&String, &Value)| {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                (name.clone(), build(origin, &key, value))
            };
            Kind::Table(fields.iter().map(child).collect())
        }
    };
    Node { origin: origin.document.origin(key).unwrap_or(origin.source).into(), kind }
}
