//! Descriptors of `.proto` files, indexed for those who ask by name.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use prost::Message;

use crate::core::error::{Error, Result};

/// Nesting of message types that is followed; a compiler of `.proto` files allows 32.
const NESTING_MAX: usize = 64;

/// The files of any number of descriptor sets, and where each symbol is defined.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    files: Vec<File>,
    by_name: HashMap<String, usize>,
    by_symbol: HashMap<String, usize>,
    /// By the extended type and the number.
    by_extension: HashMap<(String, i32), usize>,
    services: BTreeSet<String>,
}

#[derive(Debug)]
struct File {
    bytes: Bytes,
    imports: Vec<String>,
}

impl Descriptors {
    /// Adds the files of an encoded `google.protobuf.FileDescriptorSet`; a file that is there
    /// already is passed over.
    ///
    /// # Errors
    /// 400 when the bytes are no descriptor set.
    pub(crate) fn add(&mut self, set: &'static [u8]) -> Result<()> {
        let broken = |error: prost::DecodeError| {
            let detail = format!("the descriptors are no FileDescriptorSet: {error}");
            Error::bad_request("micro.grpc", detail).with_source(error)
        };
        for bytes in Set::decode(set).map_err(broken)?.files {
            let parsed = FileProto::decode(bytes.clone()).map_err(broken)?;
            if !self.by_name.contains_key(&parsed.name) {
                self.index(parsed, bytes);
            }
        }
        Ok(())
    }

    /// Lists the services, by their full names.
    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        self.services.iter().map(String::as_str)
    }

    /// Returns the file of a name, and those that it imports.
    pub(super) fn file(&self, name: &str) -> Option<Vec<Bytes>> {
        self.by_name.get(name).map(|at| self.with_imports(*at))
    }

    /// Returns the file that defines a symbol, and those that it imports.
    pub(super) fn symbol(&self, symbol: &str) -> Option<Vec<Bytes>> {
        self.by_symbol.get(symbol.trim_start_matches('.')).map(|at| self.with_imports(*at))
    }

    /// Returns the file that defines an extension, and those that it imports.
    pub(super) fn extension(&self, of: &str, number: i32) -> Option<Vec<Bytes>> {
        let key = (of.trim_start_matches('.').to_owned(), number);
        self.by_extension.get(&key).map(|at| self.with_imports(*at))
    }

    /// Lists the numbers of the extensions of a type; `None` when there is no such type.
    pub(super) fn extensions(&self, of: &str) -> Option<Vec<i32>> {
        let of = of.trim_start_matches('.');
        let own = self.by_extension.keys().filter(|(extended, _)| extended == of);
        let mut numbers: Vec<_> = own.map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        (!numbers.is_empty() || self.by_symbol.contains_key(of)).then_some(numbers)
    }

    fn with_imports(&self, first: usize) -> Vec<Bytes> {
        let (mut seen, mut queue) = (HashSet::from([first]), VecDeque::from([first]));
        let mut files = Vec::new();
        // Progress: each file enters the queue once.
        while let Some(file) = queue.pop_front().and_then(|at| self.files.get(at)) {
            files.push(file.bytes.clone());
            for at in file.imports.iter().filter_map(|name| self.by_name.get(name)) {
                if seen.insert(*at) {
                    queue.push_back(*at);
                }
            }
        }
        files
    }

    fn index(&mut self, file: FileProto, bytes: Bytes) {
        let at = self.files.len();
        let package = file.package;
        self.by_name.insert(file.name, at);
        for message in &file.messages {
            self.index_message(message, &package, (at, NESTING_MAX));
        }
        for enumeration in &file.enums {
            self.index_enum(enumeration, &package, at);
        }
        for extension in &file.extensions {
            self.index_extension(extension, &package, at);
        }
        for service in &file.services {
            let name = joined(&package, &service.name);
            for method in &service.members {
                self.define(joined(&name, &method.name), at);
            }
            self.services.insert(name.clone());
            self.define(name, at);
        }
        self.files.push(File { bytes, imports: file.imports });
    }

    fn index_message(&mut self, message: &MessageProto, scope: &str, (at, left): (usize, usize)) {
        let Some(left) = left.checked_sub(1) else { return };
        let name = joined(scope, &message.name);
        for member in message.fields.iter().chain(&message.oneofs) {
            self.define(joined(&name, &member.name), at);
        }
        for nested in &message.nested {
            self.index_message(nested, &name, (at, left));
        }
        for enumeration in &message.enums {
            self.index_enum(enumeration, &name, at);
        }
        for extension in &message.extensions {
            self.index_extension(extension, &name, at);
        }
        self.define(name, at);
    }

    fn index_enum(&mut self, enumeration: &Group, scope: &str, at: usize) {
        let name = joined(scope, &enumeration.name);
        for value in &enumeration.members {
            // The values of an enum are named beside it, not within it.
            self.define(joined(scope, &value.name), at);
            self.define(joined(&name, &value.name), at);
        }
        self.define(name, at);
    }

    fn index_extension(&mut self, extension: &FieldProto, scope: &str, at: usize) {
        let of = extension.extendee.trim_start_matches('.').to_owned();
        self.by_extension.insert((of, extension.number), at);
        self.define(joined(scope, &extension.name), at);
    }

    fn define(&mut self, symbol: String, at: usize) {
        self.by_symbol.entry(symbol).or_insert(at);
    }
}

fn joined(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

/// `FileDescriptorSet`, its files as they are.
#[derive(Clone, PartialEq, Message)]
struct Set {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    files: Vec<Bytes>,
}

/// The parts of `FileDescriptorProto` that have names.
#[derive(Clone, PartialEq, Message)]
struct FileProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    package: String,
    #[prost(string, repeated, tag = "3")]
    imports: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    messages: Vec<MessageProto>,
    #[prost(message, repeated, tag = "5")]
    enums: Vec<Group>,
    #[prost(message, repeated, tag = "6")]
    services: Vec<Group>,
    #[prost(message, repeated, tag = "7")]
    extensions: Vec<FieldProto>,
}

/// The parts of `DescriptorProto` that have names.
#[derive(Clone, PartialEq, Message)]
struct MessageProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    fields: Vec<Named>,
    #[prost(message, repeated, tag = "3")]
    nested: Vec<Self>,
    #[prost(message, repeated, tag = "4")]
    enums: Vec<Group>,
    #[prost(message, repeated, tag = "6")]
    extensions: Vec<FieldProto>,
    #[prost(message, repeated, tag = "8")]
    oneofs: Vec<Named>,
}

/// `EnumDescriptorProto` and `ServiceDescriptorProto`: a name and names within.
#[derive(Clone, PartialEq, Message)]
struct Group {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    members: Vec<Named>,
}

#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

/// The parts of `FieldDescriptorProto` that an extension is found by.
#[derive(Clone, PartialEq, Message)]
struct FieldProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    extendee: String,
    #[prost(int32, tag = "3")]
    number: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Named {
        Named { name: name.to_owned() }
    }

    fn set() -> &'static [u8] {
        let inner = MessageProto {
            name: "Inner".to_owned(),
            fields: vec![named("text")],
            ..MessageProto::default()
        };
        let shop = FileProto {
            name: "shop.proto".to_owned(),
            package: "shop.v1".to_owned(),
            imports: vec!["base.proto".to_owned(), "not/there.proto".to_owned()],
            messages: vec![MessageProto {
                name: "Order".to_owned(),
                nested: vec![inner],
                ..MessageProto::default()
            }],
            enums: vec![Group { name: "State".to_owned(), members: vec![named("OPEN")] }],
            services: vec![Group { name: "Orders".to_owned(), members: vec![named("Read")] }],
            extensions: vec![FieldProto {
                name: "colour".to_owned(),
                extendee: ".base.Thing".to_owned(),
                number: 100,
            }],
        };
        let base = FileProto {
            name: "base.proto".to_owned(),
            package: "base".to_owned(),
            imports: vec!["shop.proto".to_owned()],
            messages: vec![MessageProto { name: "Thing".to_owned(), ..MessageProto::default() }],
            ..FileProto::default()
        };
        let files = [shop, base].map(|file| Bytes::from(file.encode_to_vec()));
        Set { files: files.to_vec() }.encode_to_vec().leak()
    }

    #[test]
    fn every_symbol_is_found_with_what_its_file_imports() {
        let mut descriptors = Descriptors::default();
        descriptors.add(set()).unwrap();
        descriptors.add(set()).unwrap();
        assert_eq!(descriptors.services().collect::<Vec<_>>(), ["shop.v1.Orders"]);
        for symbol in [
            "shop.v1.Orders",
            "shop.v1.Orders.Read",
            "shop.v1.Order",
            ".shop.v1.Order.Inner",
            "shop.v1.Order.Inner.text",
            "shop.v1.State",
            "shop.v1.OPEN",
            "shop.v1.colour",
        ] {
            let files = descriptors.symbol(symbol).unwrap_or_default();
            // The imports go round in a circle; each file comes once.
            assert_eq!(files.len(), 2, "{symbol}");
            assert_eq!(FileProto::decode(files[0].clone()).unwrap().name, "shop.proto");
        }
        assert!(descriptors.symbol("shop.v1.Gone").is_none());
        assert!(descriptors.file("base.proto").is_some() && descriptors.file("x").is_none());
        assert!(descriptors.extension("base.Thing", 100).is_some());
        assert!(descriptors.extension("base.Thing", 101).is_none());
        assert_eq!(descriptors.extensions("base.Thing").unwrap(), [100]);
        assert_eq!(descriptors.extensions("shop.v1.Order").unwrap(), [0i32; 0]);
        assert_eq!(descriptors.extensions("gone"), None);
    }

    #[test]
    fn what_is_no_descriptor_set_is_refused() {
        let error = Descriptors::default().add(b"not a descriptor set").unwrap_err();
        assert_eq!(error.code(), 400);
    }
}
