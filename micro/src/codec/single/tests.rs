//! What travels as one string, and what does not.

use bytes::Bytes as Buffer;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::glue::{DecodeSerde, EncodeSerde, Wire};
use crate::codec::{Codecs, Format};
use crate::core::content_type::ContentType;
use crate::core::error::Result;

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Note(String);

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Digest([u8; 4]);

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Person {
    name: String,
}

fn format(content_type: &ContentType) -> Format {
    Codecs::default().format(content_type).unwrap()
}

fn encode<T: Serialize + 'static>(content_type: &ContentType, value: &T) -> Result<Vec<u8>> {
    let mut out = vec![];
    (&Wire::<T>::new()).enc()(&format(content_type), value, &mut out)?;
    Ok(out)
}

fn decode<T: DeserializeOwned + 'static>(content_type: &ContentType, bytes: &[u8]) -> Result<T> {
    (&Wire::<T>::new()).dec()(&format(content_type), &(&Buffer::copy_from_slice(bytes)).into())
}

/// Sends a value there and back and checks the bytes between.
fn travels<T>(content_type: &ContentType, value: &T, bytes: &[u8])
where
    T: DeserializeOwned + PartialEq + Serialize + std::fmt::Debug + 'static,
{
    assert_eq!(encode(content_type, value).unwrap(), bytes);
    assert_eq!(&decode::<T>(content_type, bytes).unwrap(), value);
}

fn is_refused<T>(content_type: &ContentType, value: &T)
where
    T: DeserializeOwned + Serialize + std::fmt::Debug + 'static,
{
    for error in
        [encode(content_type, value).unwrap_err(), decode::<T>(content_type, b"x").unwrap_err()]
    {
        assert_eq!(error.code(), 415, "{error}");
        assert!(error.detail().contains(content_type.as_str()), "{error}");
    }
}

#[test]
fn byte_strings_travel_as_they_are() {
    travels(&ContentType::Bytes, &vec![0_u8, 255, 10], &[0, 255, 10]);
    travels(&ContentType::Bytes, &Vec::<u8>::new(), &[]);
    travels(&ContentType::Bytes, &Digest([1, 2, 3, 4]), &[1, 2, 3, 4]);
    travels(&ContentType::Bytes, &(), &[]);
    let long = vec![7_u8; 1_200_000];
    travels(&ContentType::Bytes, &long, &long);
}

#[test]
fn text_travels_as_it_is() {
    travels(&ContentType::Text, &"a \u{20ac}\n".to_owned(), "a \u{20ac}\n".as_bytes());
    travels(&ContentType::Text, &Note(String::new()), &[]);
    travels(&ContentType::Text, &(), &[]);
}

#[test]
fn nothing_else_travels() {
    for content_type in [ContentType::Bytes, ContentType::Text] {
        is_refused(&content_type, &7_u8);
        is_refused(&content_type, &7_i64);
        is_refused(&content_type, &1.5_f32);
        is_refused(&content_type, &true);
        is_refused(&content_type, &'x');
        is_refused(&content_type, &Some("x".to_owned()));
        is_refused(&content_type, &Person { name: "Ada".into() });
        is_refused(&content_type, &std::collections::BTreeMap::from([(1, 2)]));
        is_refused(&content_type, &Ok::<String, String>("x".into()));
    }
    is_refused(&ContentType::Bytes, &"x".to_owned());
    is_refused(&ContentType::Text, &vec![7_u8]);
    let error = encode(&ContentType::Bytes, &vec![vec![7_u8]]).unwrap_err();
    assert_eq!(error.code(), 415);
}

#[test]
fn strings_that_are_not_what_the_type_asks_for_are_malformed() {
    assert_eq!(decode::<String>(&ContentType::Text, &[0xff]).unwrap_err().code(), 400);
    assert_eq!(decode::<Digest>(&ContentType::Bytes, &[1, 2, 3]).unwrap_err().code(), 400);
    assert_eq!(decode::<Digest>(&ContentType::Bytes, &[1, 2, 3, 4, 5]).unwrap_err().code(), 400);
    assert_eq!(decode::<Vec<String>>(&ContentType::Bytes, &[1]).unwrap_err().code(), 400);
}

#[test]
fn a_refused_message_leaves_the_buffer_as_it_was() {
    let mut out = b"head".to_vec();
    let list = vec![1_u8, 2].into_iter().map(u16::from).collect::<Vec<_>>();
    let done = (&Wire::<Vec<u16>>::new()).enc()(&format(&ContentType::Bytes), &list, &mut out);
    assert_eq!((done.unwrap_err().code(), out.as_slice()), (415, &b"head"[..]));
}

proptest! {
    #[test]
    fn any_bytes_round_trip(bytes: Vec<u8>) {
        travels(&ContentType::Bytes, &bytes, &bytes);
    }

    #[test]
    fn any_text_round_trips(text in ".*") {
        travels(&ContentType::Text, &text, text.as_bytes());
    }

    #[test]
    fn text_takes_utf8_alone(bytes: Vec<u8>) {
        let valid = std::str::from_utf8(&bytes).is_ok();
        prop_assert_eq!(decode::<String>(&ContentType::Text, &bytes).is_ok(), valid);
    }
}
