//! The schemas of messages, gathered from their types under names of their own.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::core::descriptor::Schema;
use crate::server::http::openapi::operation::Field;

/// Where a type's own schema refers to.
const OWN: &str = "#/$defs/";

/// Where the document has its schemas.
const SHARED: &str = "#/components/schemas/";

/// How deep a schema is followed: types nest a few levels, and a value is no deeper than decoders
/// go.
const DEPTH_MAX: usize = 64;

/// The schemas of a document by name.
#[derive(Debug)]
pub(super) struct Schemas(BTreeMap<String, Value>);

impl Schemas {
    /// Begins with one that has its name whatever else comes.
    pub(super) fn new(name: &str, schema: Value) -> Self {
        Self(BTreeMap::from([(name.to_owned(), schema)]))
    }

    /// Adds the schema of a message and what it refers to; returns the reference to it.
    ///
    /// A type without a schema is described by its name alone.
    pub(super) fn add(&mut self, schema: &Schema) -> Value {
        let Some(json) = &schema.json else {
            let title = json!({ "title": schema.name });
            return if schema.kind == "()" { json!({ "type": "null" }) } else { title };
        };
        let mut root = json.clone();
        let definitions = root.as_object_mut().and_then(|root| root.remove("$defs"));
        let Some(Value::Object(definitions)) = definitions else { return root };
        let names = self.names(&definitions);
        for (name, mut definition) in definitions {
            redirect(&mut definition, &names, DEPTH_MAX);
            let name = names.get(&name).cloned().unwrap_or(name);
            self.0.insert(name, definition);
        }
        redirect(&mut root, &names, DEPTH_MAX);
        root
    }

    /// Chooses a name for each definition: its own, unless another type has it.
    fn names(&self, definitions: &Map<String, Value>) -> BTreeMap<String, String> {
        let plain: BTreeMap<_, _> =
            definitions.keys().map(|name| (name.clone(), allowed(name))).collect();
        let names = definitions.iter().map(|(name, definition)| {
            let wanted = plain.get(name).cloned().unwrap_or_default();
            let mut definition = definition.clone();
            redirect(&mut definition, &plain, DEPTH_MAX);
            let mut chosen = wanted.clone();
            let mut number = 1_usize;
            // Progress: each turn tries another name, and there are finitely many schemas.
            while self.0.get(&chosen).is_some_and(|taken| *taken != definition) {
                number += 1;
                chosen = format!("{wanted}{number}");
            }
            (name.clone(), chosen)
        });
        names.collect()
    }

    /// Returns the fields of a message as its schema lists them.
    pub(super) fn fields(&mut self, schema: &Schema) -> Vec<Field> {
        let root = self.add(schema);
        let object = self.resolved(&root).clone();
        let required =
            object.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let properties = object.get("properties").and_then(Value::as_object);
        let fields = properties.into_iter().flatten().map(|(name, schema)| Field {
            name: name.clone(),
            schema: schema.clone(),
            required: required.iter().any(|other| other.as_str() == Some(name)),
            nested: self.is_object(schema),
        });
        fields.collect()
    }

    /// Follows the references of a schema.
    fn resolved<'s>(&'s self, schema: &'s Value) -> &'s Value {
        let mut found = schema;
        for _ in 0..DEPTH_MAX {
            let name = found.get("$ref").and_then(Value::as_str);
            let Some(next) = name.and_then(|name| self.0.get(name.strip_prefix(SHARED)?)) else {
                break;
            };
            found = next;
        }
        found
    }

    /// Returns whether values of a schema have fields of their own.
    fn is_object(&self, schema: &Value) -> bool {
        let schema = self.resolved(schema);
        let is_object = |kind: &Value| kind == "object";
        let by_type = schema.get("type").is_some_and(|kind| {
            is_object(kind) || kind.as_array().is_some_and(|kinds| kinds.iter().any(is_object))
        });
        let options = ["anyOf", "oneOf"].iter().filter_map(|key| schema.get(key)?.as_array());
        by_type
            || options
                .flatten()
                .any(|option| self.resolved(option).get("type").is_some_and(is_object))
    }

    /// Returns all of them.
    pub(super) fn into_value(self) -> Value {
        self.0.into_iter().collect()
    }
}

/// Points the references within a schema to where the document has what they refer to.
fn redirect(schema: &mut Value, names: &BTreeMap<String, String>, depth: usize) {
    if depth == 0 {
        return;
    }
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get_mut("$ref")
                && let Some(name) = target.strip_prefix(OWN)
            {
                let name = names.get(name).cloned().unwrap_or_else(|| allowed(name));
                *target = format!("{SHARED}{name}");
            }
            fields.values_mut().for_each(|value| redirect(value, names, depth - 1));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redirect(item, names, depth - 1)),
        _ => {}
    }
}

/// Replaces what names of components may not have.
fn allowed(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.chars().map(|c| if plain(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(json: Value) -> Schema {
        Schema { name: "A".to_owned(), kind: "A".to_owned(), values: vec![], json: Some(json) }
    }

    #[test]
    fn references_lead_to_where_the_document_has_its_schemas() {
        let mut schemas = Schemas::new("Error", json!({}));
        let item = json!({ "type": "object", "properties": { "next": { "$ref": "#/$defs/B" } } });
        let root =
            json!({ "$ref": "#/$defs/A", "$defs": { "A": item, "B": { "type": "string" } } });
        let added = schemas.add(&schema(root.clone()));
        assert_eq!(added, json!({ "$ref": "#/components/schemas/A" }));
        assert_eq!(schemas.add(&schema(root)), added, "the same type is the same schema");
        let all = schemas.into_value();
        assert_eq!(all["A"]["properties"]["next"]["$ref"], "#/components/schemas/B");
        assert_eq!(all.as_object().unwrap().len(), 3);
    }

    #[test]
    fn two_types_of_one_name_are_two_schemas() {
        let mut schemas = Schemas::new("Error", json!({}));
        let of =
            |kind: &str| schema(json!({ "$ref": "#/$defs/A", "$defs": { "A": { "type": kind } } }));
        schemas.add(&of("string"));
        let second = schemas.add(&of("integer"));
        assert_eq!(second, json!({ "$ref": "#/components/schemas/A2" }));
        assert_eq!(schemas.add(&of("integer")), second);
        let own = schemas.add(&schema(json!({
            "$ref": "#/$defs/Error", "$defs": { "Error": { "type": "null" } }
        })));
        assert_eq!(own, json!({ "$ref": "#/components/schemas/Error2" }));
    }

    #[test]
    fn fields_that_have_parts_are_told_from_those_that_have_none() {
        let mut schemas = Schemas::new("Error", json!({}));
        let fields = schemas.fields(&schema(json!({
            "type": "object",
            "properties": {
                "name": { "type": "string" },
                "order": { "$ref": "#/$defs/Order" },
                "range": { "anyOf": [{ "$ref": "#/$defs/Range" }, { "type": "null" }] },
            },
            "required": ["name"],
            "$defs": { "Order": { "enum": ["a"] }, "Range": { "type": "object" } },
        })));
        let told: Vec<_> = fields.iter().map(|f| (f.name.as_str(), f.required, f.nested)).collect();
        assert_eq!(told, [("name", true, false), ("order", false, false), ("range", false, true)]);
    }

    #[test]
    fn a_type_without_a_schema_is_named() {
        let mut schemas = Schemas::new("Error", json!({}));
        let named = Schema { json: None, ..schema(json!({})) };
        assert_eq!(schemas.add(&named), json!({ "title": "A" }));
        assert!(schemas.fields(&named).is_empty());
    }
}
