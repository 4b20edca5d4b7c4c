//! What is known of a message without a value of it: the name of its type, and its JSON Schema
//! where the type has one.

use std::fmt;
use std::marker::PhantomData;

use crate::core::descriptor::Schema;
use crate::core::short_name::short_name;

/// The type on which the arms are tried.
///
/// Macro output calls `(&&Shape::<T>::new()).shape()` where `T` is concrete. Method resolution
/// tries one reference less at each step, so a type that has a JSON Schema tells it.
pub struct Shape<T>(PhantomData<fn() -> T>);

impl<T> Shape<T> {
    /// Makes the value on which `shape` is called.
    #[expect(clippy::new_without_default, reason = "only macro output makes one")]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> fmt::Debug for Shape<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shape")
    }
}

/// The arm for types that have a JSON Schema.
pub trait ShapeTyped {
    /// Describes the type.
    fn shape(&self) -> Schema;
}

/// The arm for all other types.
pub trait ShapeNamed {
    /// Names the type.
    fn shape(&self) -> Schema;
}

#[cfg(feature = "schemars")]
impl<T: schemars::JsonSchema> ShapeTyped for &Shape<T> {
    fn shape(&self) -> Schema {
        Schema { json: Some(json::<T>()), ..schema::<T>() }
    }
}

impl<T> ShapeNamed for Shape<T> {
    fn shape(&self) -> Schema {
        schema::<T>()
    }
}

/// Makes the JSON Schema of a type, with what it refers to.
#[cfg(feature = "schemars")]
fn json<T: schemars::JsonSchema>() -> serde_json::Value {
    let mut generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    let mut root = generator.subschema_for::<T>();
    let definitions = generator.take_definitions(true);
    if !definitions.is_empty() {
        root.insert("$defs".to_owned(), definitions.into());
    }
    root.into()
}

/// Names the type of a message, without the paths of modules.
pub fn schema<T>() -> Schema {
    let name = short_name(std::any::type_name::<T>());
    Schema { name: name.clone(), kind: name, values: Vec::new(), json: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "schemars")]
    #[test]
    #[expect(clippy::needless_borrow, reason = "it is what the macros write")]
    fn a_type_with_a_schema_tells_it_and_any_other_is_named() {
        #[derive(schemars::JsonSchema)]
        struct Known {
            #[expect(dead_code, reason = "only its schema counts")]
            name: String,
        }
        struct Unknown;
        let known = (&&Shape::<Known>::new()).shape();
        let json = known.json.unwrap();
        assert_eq!((known.name.as_str(), &json["$ref"]), ("Known", &"#/$defs/Known".into()));
        assert_eq!(json["$defs"]["Known"]["properties"]["name"]["type"], "string");
        let unknown = (&&Shape::<Unknown>::new()).shape();
        assert_eq!((unknown.name.as_str(), unknown.json), ("Unknown", None));
    }

    #[test]
    fn module_paths_are_left_out() {
        assert_eq!(schema::<String>().kind, "String");
        assert_eq!(schema::<()>().kind, "()");
    }
}
