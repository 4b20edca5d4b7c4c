//! Settings in XML: the root holds the document, elements and attributes are keys.
//!
//! An element with elements or attributes is a table, any other is text. An element that is there
//! several times is a list. Namespaces are not looked at; a document type, and with it any entity
//! but the five that XML has, is refused.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;
use serde_json::{Map, Value};

use super::DEPTH_MAX;

/// An element that is being read.
#[derive(Default)]
struct Element {
    name: String,
    fields: Map<String, Value>,
    text: String,
}

/// Reads a document.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader::from_str(text);
    // Invariant: the outermost element is not in the document; what it holds is.
    let mut open: Vec<Element> = vec![Element::default()];
    loop {
        let event = reader.read_event();
        let before = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let line = || text.get(..before).unwrap_or(text).matches('\n').count() + 1;
        let at = |what: &dyn std::fmt::Display| format!("{what} at line {}", line());
        match event.map_err(|error| at(&error))? {
            Event::Start(start) => {
                if open.len() > DEPTH_MAX {
                    return Err(at(&format_args!("more than {DEPTH_MAX} elements are open")));
                }
                open.push(begin(&start).map_err(|what| at(&what))?);
            }
            Event::Empty(start) => {
                let element = begin(&start).map_err(|what| at(&what))?;
                close(&mut open, element);
            }
            Event::End(_) => {
                if let Some(element) = open.pop() {
                    close(&mut open, element);
                }
            }
            Event::Text(part) => add(&mut open, &part.xml10_content()),
            Event::CData(part) => add(&mut open, &part.xml10_content()),
            Event::GeneralRef(part) => {
                let character = resolve(&part).map_err(|what| at(&what))?;
                add(&mut open, character.encode_utf8(&mut [0; 4]));
            }
            Event::DocType(_) => return Err(at(&"a document type is refused")),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    finish(open)
}

fn finish(mut open: Vec<Element>) -> Result<Value, String> {
    let outermost = open.pop().filter(|_| open.is_empty());
    let document = outermost.ok_or_else(|| "an element is not closed".to_owned())?;
    let mut roots = document.fields.into_iter();
    match (roots.next(), roots.next()) {
        (Some((_, Value::Array(_))), _) | (_, Some(_)) => {
            Err("there is more than one outermost element".to_owned())
        }
        // An empty root is an empty document.
        (Some((_, Value::String(text))), None) if text.is_empty() => Ok(Value::Object(Map::new())),
        (Some((_, root)), None) => Ok(root),
        (None, None) => Err("there is no element".to_owned()),
    }
}

fn begin(start: &BytesStart<'_>) -> Result<Element, String> {
    let mut element = Element { name: start.name().0.to_owned(), ..Element::default() };
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|error| error.to_string())?;
        let name = attribute.key.0.to_owned();
        if name != "xmlns" && !name.starts_with("xmlns:") {
            element.fields.insert(name, Value::String(value.into_owned()));
        }
    }
    Ok(element)
}

fn add(open: &mut [Element], part: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(part);
    }
}

/// Puts an element that has ended into the one around it.
fn close(open: &mut [Element], element: Element) {
    let value = if element.fields.is_empty() {
        Value::String(element.text.trim().to_owned())
    } else {
        Value::Object(element.fields)
    };
    let Some(parent) = open.last_mut() else { return };
    match parent.fields.get_mut(&element.name) {
        Some(Value::Array(items)) => items.push(value),
        Some(first) => {
            let items = vec![first.take(), value];
            *first = Value::Array(items);
        }
        None => drop(parent.fields.insert(element.name, value)),
    }
}

fn resolve(part: &BytesRef<'_>) -> Result<char, String> {
    if let Some(character) = part.resolve_char_ref().map_err(|error| error.to_string())? {
        return Ok(character);
    }
    match part.xml10_content().as_ref() {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        other => Err(format!("unknown entity `{}`", other.escape_debug())),
    }
}
