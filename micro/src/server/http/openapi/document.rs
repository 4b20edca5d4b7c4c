//! The document as a whole.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::codec::Codecs;
use crate::server::http::openapi::operation::{Operation, failure};
use crate::server::http::openapi::schemas::Schemas;
use crate::server::table::Entry;

/// The name of the schema of errors.
pub(super) const ERROR: &str = "Error";

/// The name of the way in which callers say who they are.
pub(super) const BEARER: &str = "bearer";

/// Writes the document of endpoints.
pub(super) fn document(entries: &[&Entry], codecs: &Codecs, accounts: bool) -> Value {
    let mut schemas = Schemas::new(ERROR, error());
    let mut paths = Map::new();
    for entry in entries {
        let operation = Operation::new(entry, &mut schemas, codecs, accounts);
        let mut methods = Map::new();
        methods.insert("post".to_owned(), operation.by_body());
        if let Some(get) = operation.by_query() {
            methods.insert("get".to_owned(), get);
        }
        paths.insert(entry.path.clone(), methods.into());
    }
    let mut components = Map::new();
    components.insert("schemas".to_owned(), schemas.into_value());
    components.insert("responses".to_owned(), json!({ ERROR: failure() }));
    if accounts {
        let bearer = json!({ BEARER: { "type": "http", "scheme": "bearer" } });
        components.insert("securitySchemes".to_owned(), bearer);
    }
    json!({
        "openapi": "3.1.0",
        "info": info(entries),
        "tags": tags(entries),
        "paths": paths,
        "components": components,
    })
}

/// Names what is served: the service, or all of them.
fn info(entries: &[&Entry]) -> Value {
    let services: BTreeMap<_, _> =
        entries.iter().map(|entry| (entry.descriptor.name, entry.descriptor)).collect();
    let mut names: Vec<_> = services.keys().copied().collect();
    if names.is_empty() {
        names.push("micro");
    }
    let version = match services.values().collect::<Vec<_>>().as_slice() {
        [only] => only.version,
        // Each service has a version of its own, which its tag says.
        _ => "latest",
    };
    json!({ "title": names.join(", "), "version": version })
}

/// Describes each service.
fn tags(entries: &[&Entry]) -> Value {
    let services: BTreeMap<_, _> =
        entries.iter().map(|entry| (entry.descriptor.name, entry.descriptor)).collect();
    let tags = services.values().map(|service| {
        let mut text = service.doc.trim().to_owned();
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str("Version ");
        text.push_str(service.version);
        json!({ "name": service.name, "description": text })
    });
    tags.collect()
}

/// The schema of the errors that every endpoint may answer with.
fn error() -> Value {
    json!({
        "type": "object",
        "description": "What went wrong. `code` is HTTP-like and may differ from the status.",
        "properties": {
            "id": { "type": "string", "description": "The operation that failed." },
            "code": { "type": "integer", "minimum": 0, "maximum": 65535 },
            "detail": { "type": "string", "description": "What a person should know." },
            "status": { "type": "string" },
            "details": { "description": "A payload of the service's own." },
        },
        "required": ["id", "code", "detail", "status"],
    })
}
