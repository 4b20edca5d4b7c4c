//! Reads a program's types from the document.

use std::collections::btree_map;
use std::fmt;
use std::str::FromStr;

use serde::de::value::{MapDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use serde_json::Number;

use crate::config::fault::Fault;
use crate::config::parse_duration;
use crate::config::tree::{Kind, Node};
use crate::core::nearest::nearest;

/// Where a value is, as far as an error needs to say it.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    Root(&'a str),
    Key(&'a Self, &'a str),
    Index(&'a Self, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(key) => f.write_str(key),
            Self::Key(Path::Root(""), key) => f.write_str(key),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A value that is read as some type.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) node: &'a Node,
    pub(super) path: Path<'a>,
    /// The fields of the struct that the value is a field of; empty if it is not.
    pub(super) siblings: &'static [&'static str],
}

impl<'a> Reader<'a> {
    pub(super) fn new(node: &'a Node, key: &'a str) -> Self {
        Self { node, path: Path::Root(key), siblings: &[] }
    }

    fn place(self, fault: Fault) -> Fault {
        fault.at(|| self.path.to_string(), &self.node.origin)
    }

    /// Reads loose text as `T`; any other value as it is.
    fn parsed<'de, T, V>(
        self,
        expected: &str,
        visitor: V,
        visit: impl FnOnce(V, T) -> Result<V::Value, Fault>,
    ) -> Result<V::Value, Fault>
    where
        T: FromStr,
        V: Visitor<'de>,
    {
        let Kind::Loose(text) = &self.node.kind else { return self.deserialize_any(visitor) };
        let parsed = text.trim().parse().ok().ok_or_else(|| Fault::new(expected, Some(text)));
        parsed.and_then(|value| visit(visitor, value)).map_err(|fault| self.place(fault))
    }

    fn list<'de, V: Visitor<'de>>(self, items: &[Node], visitor: V) -> Result<V::Value, Fault> {
        let access = List { items: items.iter().enumerate(), parent: &self.path };
        visitor.visit_seq(access).map_err(|fault| self.place(fault))
    }

    fn table<'de, V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Kind::Table(table) = &self.node.kind else { return self.deserialize_any(visitor) };
        let access = Table { entries: table.iter(), value: None, parent: &self.path, fields };
        visitor.visit_map(access).map_err(|fault| self.place(fault))
    }

    fn duration<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let text = match &self.node.kind {
            Kind::Text(text) | Kind::Loose(text) => text.clone(),
            // A number is refused with the reason that it has no unit.
            Kind::Number(number) => number.to_string(),
            _ => return self.table(&["secs", "nanos"], visitor),
        };
        let parsed = parse_duration(&text).map_err(|what| Fault::new(what, Some(&text)));
        parsed
            .and_then(|duration| {
                let parts =
                    [("secs", duration.as_secs()), ("nanos", duration.subsec_nanos().into())];
                visitor.visit_map(MapDeserializer::new(parts.into_iter()))
            })
            .map_err(|fault| self.place(fault))
    }
}

/// Reads loose text as what it looks like, for types that do not say what they want.
fn guess<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, Fault> {
    let trimmed = text.trim();
    if let Ok(value) = trimmed.parse::<bool>() {
        return visitor.visit_bool(value);
    }
    if let Ok(value) = trimmed.parse::<u64>() {
        return visitor.visit_u64(value);
    }
    if let Ok(value) = trimmed.parse::<i64>() {
        return visitor.visit_i64(value);
    }
    match trimmed.parse::<f64>() {
        Ok(value) if value.is_finite() => visitor.visit_f64(value),
        _ => visitor.visit_str(text),
    }
}

/// Reads a number itself, so that one that does not fit is shown only where values are.
fn visit_number<'de, V: Visitor<'de>>(number: &Number, visitor: V) -> Result<V::Value, Fault> {
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(value), _, _) => visitor.visit_u64(value),
        (None, Some(value), _) => visitor.visit_i64(value),
        (None, None, Some(value)) => visitor.visit_f64(value),
        (None, None, None) => Err(Fault::custom("expected a number that fits 64 bits")),
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $kind:ty, $expected:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.parsed::<$kind, V>($expected, visitor, V::$visit::<Fault>)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Number(number) => visit_number(number, visitor),
            Kind::Text(text) => visitor.visit_str(text),
            Kind::Loose(text) => guess(text, visitor),
            Kind::List(items) => return self.list(items, visitor),
            Kind::Table(_) => return self.table(&[], visitor),
        }
        .map_err(|fault| self.place(fault))
    }

    numbers! {
        deserialize_bool visit_bool bool, "expected `true` or `false`";
        deserialize_i8 visit_i8 i8, "expected a whole number from -128 to 127";
        deserialize_i16 visit_i16 i16, "expected a whole number of 16 bits";
        deserialize_i32 visit_i32 i32, "expected a whole number of 32 bits";
        deserialize_i64 visit_i64 i64, "expected a whole number";
        deserialize_u8 visit_u8 u8, "expected a whole number from 0 to 255";
        deserialize_u16 visit_u16 u16, "expected a whole number from 0 to 65535";
        deserialize_u32 visit_u32 u32, "expected a whole number from 0 to 4294967295";
        deserialize_u64 visit_u64 u64, "expected a whole number from 0";
        deserialize_f32 visit_f32 f32, "expected a number";
        deserialize_f64 visit_f64 f64, "expected a number";
        deserialize_char visit_char char, "expected one character";
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Loose(text) => visitor.visit_str(text).map_err(|fault| self.place(fault)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Null => visitor.visit_none(),
            Kind::Loose(text) if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self).map_err(|fault| self.place(fault))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Kind::Loose(text) = &self.node.kind else { return self.deserialize_any(visitor) };
        let item = |text: &str| Node {
            origin: self.node.origin.clone(),
            kind: Kind::Loose(text.trim().to_owned()),
        };
        let parts = if text.trim().is_empty() { None } else { Some(text.split(',').map(item)) };
        self.list(&parts.into_iter().flatten().collect::<Vec<_>>(), visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, v: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(v)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == "Duration" && fields == ["secs", "nanos"] {
            return self.duration(visitor);
        }
        self.table(fields, visitor).map_err(|fault| fault.of_struct(name))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Text(text) | Kind::Loose(text) => {
                let name: StrDeserializer<'_, Fault> = text.as_str().into_deserializer();
                visitor.visit_enum(name)
            }
            Kind::Table(table) if table.len() == 1 => match table.iter().next() {
                Some((name, node)) => {
                    let path = Path::Key(&self.path, name);
                    visitor
                        .visit_enum(Variant { name, value: Reader { node, path, siblings: &[] } })
                }
                None => Err(one_of(variants)),
            },
            _ => Err(one_of(variants)),
        }
        .map_err(|fault| self.place(fault))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
        // Only a field that the struct does not have is ignored.
        let name = match self.path {
            Path::Root(name) | Path::Key(_, name) => name,
            Path::Index(..) => "",
        };
        let hint = nearest(name, self.siblings.iter().copied())
            .map_or_else(|| known(self.siblings), |name| format!("; did you mean `{name}`?"));
        Err(self.place(Fault::new(format!("unknown key{hint}"), None)))
    }

    serde::forward_to_deserialize_any! {
        i128 u128 bytes byte_buf unit unit_struct tuple_struct map
    }
}

fn known(fields: &[&str]) -> String {
    if fields.is_empty() { String::new() } else { format!("; there are {}", fields.join(", ")) }
}

fn one_of(variants: &[&str]) -> Fault {
    Fault::new(format!("expected one of {}", variants.join(", ")), None)
}

struct List<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    parent: &'a Path<'a>,
}

impl<'de> SeqAccess<'de> for List<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        let path = Path::Index(self.parent, index);
        seed.deserialize(Reader { node, path, siblings: &[] }).map(Some)
    }
}

struct Table<'a> {
    entries: btree_map::Iter<'a, String, Node>,
    value: Option<(&'a String, &'a Node)>,
    parent: &'a Path<'a>,
    fields: &'static [&'static str],
}

impl<'de> MapAccess<'de> for Table<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        self.value = self.entries.next();
        let Some((key, _)) = self.value else { return Ok(None) };
        let key: StrDeserializer<'_, Fault> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let Some((key, node)) = self.value.take() else {
            return Err(Fault::custom("a value was read before its key"));
        };
        let path = Path::Key(self.parent, key);
        seed.deserialize(Reader { node, path, siblings: self.fields })
    }
}

/// A variant of an enum that has a payload: a table of one key.
struct Variant<'a> {
    name: &'a str,
    value: Reader<'a>,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Fault;
    type Variant = Reader<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), Fault> {
        let name: StrDeserializer<'_, Fault> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self.value))
    }
}

impl<'de> VariantAccess<'de> for Reader<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.table(fields, visitor)
    }
}
