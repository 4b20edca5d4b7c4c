//! The parameters of a query as a request: `GET /greeter/Greeter.Hello?name=Ada`.
//!
//! Parameters are the fields of the request by their names. What a text means is told by the type
//! of its field: numbers, `true` and `false`, texts, variants without content; a field that is a
//! list takes a parameter as often as it is given; one that is a struct or a map is JSON. An
//! option whose parameter is empty is none.

mod read;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec::{Codec, Format, Visit, erased_serde};
use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result};
use crate::server::http::query::read::Fields;

/// The content type of what a query holds, as forms have it.
const FORM: &str = "application/x-www-form-urlencoded";

/// Parameters of one query: more than any request has fields, few enough to be sorted for nothing.
const PARAMETERS_MAX: usize = 256;

/// What a query says: each name with everything that is given under it, in that order.
type Parameters = BTreeMap<String, Vec<String>>;

/// Returns the format of a query.
pub(super) fn format() -> Format {
    Format::Other(Arc::new(Query))
}

/// Reads queries.
#[derive(Debug)]
struct Query;

impl Codec for Query {
    fn content_type(&self) -> ContentType {
        ContentType::Other(FORM.into())
    }

    fn encode(&self, _: &dyn erased_serde::Serialize, _: &mut Vec<u8>) -> Result<()> {
        Err(Error::new("micro.server", 415, "no response has the form of a query"))
    }

    fn decode(&self, bytes: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let text = std::str::from_utf8(bytes).map_err(|e| malformed(&e))?;
        let parameters = parameters(text)?;
        visit(&mut <dyn erased_serde::Deserializer<'_>>::erase(Fields(&parameters)))
            .map_err(|e| malformed(&e))
    }
}

#[cold]
fn malformed(why: &dyn std::fmt::Display) -> Error {
    Error::bad_request("micro.server", format!("the query is not the request expected: {why}"))
}

/// Splits a query into its parameters.
fn parameters(query: &str) -> Result<Parameters> {
    let mut parameters = Parameters::new();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    for (index, pair) in pairs.enumerate() {
        if index >= PARAMETERS_MAX {
            return Err(malformed(&format_args!("more than {PARAMETERS_MAX} parameters")));
        }
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let read = unescaped(name).zip(unescaped(text));
        let Some((name, text)) = read else {
            return Err(malformed(&format_args!("`{}` is no text", pair.escape_debug())));
        };
        parameters.entry(name).or_default().push(text);
    }
    Ok(parameters)
}

/// Reads what a query escapes; `None` for what is no text.
pub(super) fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    // Progress: each turn takes at least one byte.
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = rest.get(2..)?;
            }
            b'+' => bytes.push(b' '),
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::glue::{DecodeSerde, Wire};
    use bytes::Bytes;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Order {
        #[default]
        Newest,
        Oldest,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Id(u64);

    #[derive(Debug, PartialEq, Deserialize)]
    struct Range {
        from: i64,
        to: f64,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Search {
        text: String,
        page: Option<u32>,
        #[serde(default)]
        exact: bool,
        #[serde(default)]
        tags: Vec<String>,
        #[serde(default)]
        ids: Vec<Id>,
        #[serde(default)]
        order: Order,
        range: Option<Range>,
    }

    fn read<T: serde::de::DeserializeOwned + 'static>(query: &str) -> Result<T> {
        (&&Wire::<T>::new()).dec()(&format(), &Bytes::copy_from_slice(query.as_bytes()))
    }

    #[test]
    fn the_type_of_a_field_tells_what_its_text_means() {
        let query = "text=a+b%26c&page=7&exact=true&tags=x&tags=y&ids=1&order=oldest\
                     &range=%7B%22from%22%3A-1%2C%22to%22%3A2.5%7D";
        let expected = Search {
            text: "a b&c".to_owned(),
            page: Some(7),
            exact: true,
            tags: vec!["x".to_owned(), "y".to_owned()],
            ids: vec![Id(1)],
            order: Order::Oldest,
            range: Some(Range { from: -1, to: 2.5 }),
        };
        assert_eq!(read::<Search>(query).unwrap(), expected);
        let short = read::<Search>("text=&page=&exact").unwrap();
        assert_eq!((short.text.as_str(), short.page, short.exact), ("", None, true));
        assert_eq!((short.tags.len(), short.order), (0, Order::Newest));
        assert_eq!(read::<()>("").unwrap(), ());
    }

    #[test]
    fn what_does_not_fit_is_a_400_that_names_it() {
        for (query, named) in [
            ("", "text"),
            ("text=a&page=x", "`page`"),
            ("text=a&page=-1", "`page`"),
            ("text=a&text=b", "`text`"),
            ("text=a&exact=maybe", "`exact`"),
            ("text=a&order=none", "none"),
            ("text=a&range=7", "invalid type"),
            ("text=%zz", "text=%zz"),
            ("text=%ff", "text=%ff"),
        ] {
            let error = read::<Search>(query).unwrap_err();
            assert_eq!(error.code(), 400, "{query}");
            assert!(error.detail().contains(named), "{query}: {error}");
        }
        assert_eq!(read::<u32>("a=1").unwrap_err().code(), 400);
    }

    #[test]
    fn parameters_past_their_limit_are_refused() {
        for (count, passes) in
            [(PARAMETERS_MAX, true), (PARAMETERS_MAX + 1, false), (PARAMETERS_MAX * 10, false)]
        {
            let query = vec!["a=1"; count].join("&");
            let read = parameters(&query);
            assert_eq!(read.is_ok(), passes, "{count}");
        }
    }

    #[test]
    fn json_within_a_query_is_guarded_as_any_message() {
        let deep = "[".repeat(100) + &"]".repeat(100);
        let error = read::<BTreeMap<String, serde_json::Value>>("a=1").unwrap();
        assert_eq!(error["a"], "1");
        #[derive(Debug, Deserialize)]
        struct Holder {
            #[expect(dead_code, reason = "only its reading counts")]
            map: BTreeMap<String, serde_json::Value>,
        }
        let error = read::<Holder>(&format!("map={{\"a\":{deep}}}")).unwrap_err();
        assert!(error.detail().contains("nested deeper"), "{error}");
    }
}
