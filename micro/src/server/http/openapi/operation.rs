//! One endpoint as its operations: by POST, and by GET where it is idempotent.

use serde_json::{Map, Value, json};

use crate::codec::Codecs;
use crate::codec::sequence::NDJSON;
use crate::core::content_type::ContentType;
use crate::core::descriptor::EndpointSpec;
use crate::server::http::accept::EVENT_STREAM;
use crate::server::http::openapi::document::{BEARER, ERROR};
use crate::server::http::openapi::schemas::Schemas;
use crate::server::table::Entry;

/// What the operations of an endpoint share.
pub(super) struct Operation<'a> {
    entry: &'a Entry,
    spec: &'static EndpointSpec,
    request: Value,
    response: Value,
    /// The fields of the request, if it is known to have some.
    fields: Vec<Field>,
    /// Content types in which any message travels, beside JSON.
    formats: Vec<String>,
    accounts: bool,
}

/// One field of a request as a parameter of a query.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) schema: Value,
    pub(super) required: bool,
    /// Whether it has parts of its own, and so is JSON in a query.
    pub(super) nested: bool,
}

impl<'a> Operation<'a> {
    pub(super) fn new(
        entry: &'a Entry,
        schemas: &mut Schemas,
        codecs: &Codecs,
        accounts: bool,
    ) -> Self {
        let spec = entry.spec;
        let (request, response) = ((spec.request)(), (spec.response)());
        Self {
            entry,
            spec,
            fields: schemas.fields(&request),
            request: schemas.add(&request),
            response: schemas.add(&response),
            formats: codecs.serde_types(),
            accounts,
        }
    }

    /// Writes the operation whose request is the body.
    pub(super) fn by_body(&self) -> Value {
        let mut body = Map::new();
        body.insert("required".to_owned(), (!self.takes_nothing()).into());
        body.insert("content".to_owned(), self.request_content());
        let mut operation = self.common(&self.entry.id);
        operation.insert("requestBody".to_owned(), body.into());
        operation.into()
    }

    /// Writes the operation whose request is the query; `None` if the endpoint has none.
    pub(super) fn by_query(&self) -> Option<Value> {
        if !self.spec.idempotent || self.spec.kind.streams_requests() {
            return None;
        }
        let mut operation = self.common(&format!("{}.get", self.entry.id));
        let parameters = self.fields.iter().map(|field| {
            let mut parameter = Map::new();
            parameter.insert("name".to_owned(), field.name.clone().into());
            parameter.insert("in".to_owned(), "query".into());
            parameter.insert("required".to_owned(), field.required.into());
            if field.nested {
                let content = json!({ "application/json": { "schema": field.schema } });
                parameter.insert("content".to_owned(), content);
            } else {
                parameter.insert("schema".to_owned(), field.schema.clone());
            }
            Value::from(parameter)
        });
        operation.insert("parameters".to_owned(), parameters.collect());
        Some(operation.into())
    }

    fn takes_nothing(&self) -> bool {
        (self.spec.request)().kind == "()"
    }

    fn common(&self, id: &str) -> Map<String, Value> {
        let spec = self.spec;
        let mut operation = Map::new();
        operation.insert("operationId".to_owned(), id.into());
        operation.insert("tags".to_owned(), json!([self.entry.descriptor.name]));
        for (key, text) in [("summary", spec.description), ("description", spec.doc)] {
            if !text.is_empty() {
                operation.insert(key.to_owned(), text.trim().into());
            }
        }
        if spec.deprecated {
            operation.insert("deprecated".to_owned(), true.into());
        }
        if self.accounts {
            let security = match (spec.public, spec.scopes) {
                (true, _) => json!([]),
                (false, scopes) => json!([{ BEARER: scopes.unwrap_or_default() }]),
            };
            operation.insert("security".to_owned(), security);
        }
        let responses = json!({
            "200": { "description": "What the endpoint answers.", "content": self.response_content() },
            "default": { "$ref": format!("#/components/responses/{ERROR}") },
        });
        operation.insert("responses".to_owned(), responses);
        operation
    }

    fn request_content(&self) -> Value {
        let media = |example: Option<Value>| {
            let mut media = Map::new();
            media.insert("schema".to_owned(), self.request.clone());
            if let Some(example) = example {
                media.insert("example".to_owned(), example);
            }
            Value::from(media)
        };
        if self.spec.kind.streams_requests() {
            return json!({ NDJSON: media(None), "application/msgpack": media(None) });
        }
        let example = self.spec.example.and_then(|text| serde_json::from_str(text).ok());
        let mut content = Map::new();
        content.insert(ContentType::Json.to_string(), media(example));
        let others = self.formats.iter().map(|format| (format.clone(), media(None)));
        content.extend(others);
        content.into()
    }

    fn response_content(&self) -> Value {
        let media = json!({ "schema": self.response });
        if self.spec.kind.streams_responses() {
            let types = [NDJSON, EVENT_STREAM, "application/msgpack"];
            return types.iter().map(|kind| ((*kind).to_owned(), media.clone())).collect();
        }
        let json = std::iter::once(ContentType::Json.to_string());
        json.chain(self.formats.iter().cloned()).map(|format| (format, media.clone())).collect()
    }
}

/// The response of every failure.
pub(super) fn failure() -> Value {
    json!({
        "description": "The call failed. `micro-retry: safe` says that no handler saw it.",
        "headers": {
            "micro-retry": { "schema": { "type": "string", "const": "safe" } },
            "retry-after": { "schema": { "type": "integer" } },
        },
        "content": {
            "application/json": { "schema": { "$ref": format!("#/components/schemas/{ERROR}") } },
        },
    })
}
