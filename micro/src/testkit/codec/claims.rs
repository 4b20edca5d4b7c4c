//! The claims.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::json;

use crate::codec::Format;
use crate::codec::glue::EncodeSerde;
use crate::codec::glue::Wire;
use crate::core::content_type::ContentType;
use crate::testkit::codec::Claim;
use crate::testkit::codec::Verdict;
use crate::testkit::codec::decode;
use crate::testkit::codec::encode;
use crate::testkit::codec::encoded;
use crate::testkit::codec::ensure;
use crate::testkit::codec::hostile;
use crate::testkit::codec::sent;
use crate::testkit::codec::shapes::Adjacent;
use crate::testkit::codec::shapes::After;
use crate::testkit::codec::shapes::Before;
use crate::testkit::codec::shapes::Blob;
use crate::testkit::codec::shapes::Event;
use crate::testkit::codec::shapes::Flat;
use crate::testkit::codec::shapes::Formless;
use crate::testkit::codec::shapes::Holder;
use crate::testkit::codec::shapes::Meters;
use crate::testkit::codec::shapes::Never;
use crate::testkit::codec::shapes::Point;
use crate::testkit::codec::shapes::Shape;
use crate::testkit::codec::shapes::Tagged;
use crate::testkit::codec::shapes::Unit;
use crate::testkit::codec::short;

macro_rules! claims {
    ($($(#[$doc:meta])* fn $name:ident($format:ident) $body:block)*) => {
        /// All claims, in the order in which they are examined.
        pub const CLAIMS: &[Claim] = &[
            $(Claim { name: stringify!($name), check: $name },)*
            Claim {
                name: "a_message_cut_short_is_refused",
                check: hostile::a_message_cut_short_is_refused,
            },
            Claim {
                name: "what_follows_a_message_is_refused",
                check: hostile::what_follows_a_message_is_refused,
            },
            Claim {
                name: "hostile_bytes_are_a_value_or_a_bad_request",
                check: hostile::hostile_bytes_are_a_value_or_a_bad_request,
            },
            Claim {
                name: "a_declared_length_allocates_nothing",
                check: hostile::a_declared_length_allocates_nothing,
            },
            Claim {
                name: "nesting_ends_before_the_stack_does",
                check: hostile::nesting_ends_before_the_stack_does,
            },
        ];
        $($(#[$doc])* fn $name($format: &Format) -> Verdict $body)*
    };
}

claims! {
    fn the_content_type_is_bare_and_in_lower_case(format) {
        let own = format.content_type();
        ensure(ContentType::parse(own.as_str()) == own && own.as_str().contains('/'), || {
            format!("`{own}` is not what requests are compared with")
        })
    }

    fn booleans_and_integers_keep_every_bit(format) {
        same(format, &[true, false])?;
        same(format, &[i8::MIN, -1, 0, 1, i8::MAX])?;
        same(format, &[i16::MIN, -129, -1, 0, 128, i16::MAX])?;
        same(format, &[i32::MIN, -32_769, 0, 32_768, i32::MAX])?;
        same(format, &[i64::MIN, -(1 << 53) - 1, -2_147_483_649, 0, (1 << 53) + 1, i64::MAX])?;
        same(format, &[0, 1, 127, 128, u8::MAX])?;
        same(format, &[0, 255, 256, u16::MAX])?;
        same(format, &[0, 65_535, 65_536, u32::MAX])?;
        same(format, &[0_u64, 4_294_967_296, (1 << 53) + 1, (1 << 63) - 1])
    }

    fn integers_above_63_bits_are_kept(format) {
        same(format, &[1 << 63, (1 << 63) + 1, u64::MAX])?;
        same(format, &[json!(u64::MAX)])?;
        same(format, &[Duration::MAX])
    }

    /// Down to the last bit and the sign of zero.
    fn finite_floats_keep_every_bit(format) {
        let doubles = [
            0.0, -0.0, 1.0, -1.5, 0.1, 1e300, -1.510_109_366_666_46e-308, 5e-324,
            f64::MIN, f64::MAX, f64::MIN_POSITIVE, f64::EPSILON, 9_007_199_254_740_993.0,
        ];
        for value in doubles {
            let back: f64 = sent(format, &value)?;
            ensure(back.to_bits() == value.to_bits(), || format!("{value:?} became {back:?}"))?;
        }
        let singles = [0.0, -0.0, 0.1, -3.4e38, 1e-45, f32::MAX, f32::MIN_POSITIVE, f32::EPSILON];
        for value in singles {
            let back: f32 = sent(format, &value)?;
            ensure(back.to_bits() == value.to_bits(), || format!("{value:?} became {back:?}"))?;
        }
        Ok(())
    }

    fn other_floats_are_kept_or_refused(format) {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let Ok(bytes) = encode(format, &value) else { continue };
            let Ok(back) = decode::<f64>(format, &bytes) else { continue };
            let kept = back == value || back.is_nan() && value.is_nan();
            ensure(kept, || format!("{value} became {back}"))?;
        }
        Ok(())
    }

    fn strings_and_characters_are_kept(format) {
        same(format, &['a', '\0', '"', '\\', '\u{e9}', '\u{20ac}', '\u{10ffff}'])?;
        let texts = ["", "a", "\0", "Line\r\n\t\"quoted\" \\ /", "\u{feff}\u{202e}\u{1f980}"];
        same(format, &texts.map(str::to_owned))?;
        same(format, &[31, 32, 255, 256, 65_535, 65_536].map(|length| "Z".repeat(length)))
    }

    fn byte_strings_are_kept(format) {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let long = all.repeat(260);
        same(format, &[Blob(Vec::new()), Blob(vec![0]), Blob(vec![255; 3]), Blob(all.clone())])?;
        same(format, &[Blob(long.clone())])?;
        same(format, &[Vec::new(), all, long])
    }

    fn options_are_kept(format) {
        same(format, &[None, Some(0_u8), Some(200)])?;
        same(format, &[None, Some(String::new()), Some("null".to_owned())])?;
        same(format, &[vec![None, Some(1.5), None], vec![]])?;
        same(format, &[Some(Before { id: 1, name: String::new() }), None])
    }

    fn units_tuples_and_newtypes_are_kept(format) {
        same(format, &[()])?;
        same(format, &[Unit])?;
        same(format, &[Meters(1.5)])?;
        same(format, &[Point(-1, 2, "three".to_owned())])?;
        same(format, &[(1_u8, "two".to_owned(), [3.0, 4.0], ((), true))])?;
        same(format, &[[[1_u16; 3]; 2]])
    }

    fn lists_are_kept(format) {
        same(format, &[vec![], vec![0_u32], (0..70_000).collect()])?;
        same(format, &[15, 16, 17, 255, 256].map(|length| vec![String::from("x"); length]))?;
        same(format, &[vec![vec![], vec![vec![1_i64], vec![]]], vec![]])?;
        same(format, &[vec![(), (), ()]])
    }

    fn maps_with_strings_for_keys_are_kept(format) {
        let map = |length: u32| (0..length).map(|n| (n.to_string(), n)).collect::<BTreeMap<_, _>>();
        same(format, &[0, 1, 15, 16, 17, 70_000].map(map))?;
        let odd = ["", " ", "$ref", ".", "a.b", "\u{20ac}"].map(|key| (key.to_owned(), key.len()));
        same(format, &[BTreeMap::from(odd)])?;
        same(format, &[BTreeMap::from([("a".to_owned(), BTreeMap::from([("b".to_owned(), ())]))])])
    }

    fn keys_with_the_zero_character_are_kept(format) {
        let keys = ["\0", "a\0b", "a"].map(|key| (key.to_owned(), key.len()));
        same(format, &[BTreeMap::from(keys)])
    }

    fn enums_of_every_kind_are_kept(format) {
        let moved = Event::Moved(-1, 2);
        let nested = Event::Nested(Box::new(Event::Nested(Box::new(moved.clone()))));
        let named = Event::Named("x".to_owned());
        let resized = Event::Resized { width: 1, height: u32::MAX };
        same(format, &[Event::Started, named, moved, resized, nested])?;
        same(format, &[Ok::<u8, String>(1), Err("no".to_owned())])?;
        let full = |label| Tagged::Full { weight: 0.1, label };
        same(format, &[Tagged::Empty, full(None), full(Some("x".to_owned()))])?;
        let two = Adjacent::Two(1, vec![1, 2]);
        same(format, &[Adjacent::Empty, Adjacent::One(7), two, Adjacent::Named { id: 1 << 53 }])?;
        let list = Shape::List(vec![Shape::Number(-7), Shape::Text("7".to_owned())]);
        same(format, &[Shape::Number(i64::MAX), list, Shape::Fields { id: 7 }])
    }

    fn structs_within_structs_are_kept(format) {
        let rest = Before { id: 7, name: "Ada".to_owned() };
        same(format, &[Flat { first: true, rest: rest.clone() }])?;
        same(format, &[Holder::new(Holder::new(vec![Some(Holder::new(rest)), None]))])
    }

    /// What formats are free to write for people, such as addresses, is read as it is written.
    fn types_that_ask_for_whom_they_write_are_kept(format) {
        same(format, &["127.0.0.1", "::1", "fe80::1"].map(|text| text.parse::<IpAddr>()).map(Result::ok))?;
        same(format, &[Duration::from_nanos(1_234_567_890_123), Duration::from_secs(1 << 62)])
    }

    fn values_of_unknown_shape_are_kept(format) {
        same(format, &[
            json!(null), json!(true), json!(-7), json!(1_u64 << 62), json!(0.5), json!("text"),
            json!([]), json!({}), json!([1, "two", [null, {"a": {"b": [1.5]}}]]),
        ])?;
        let fields: Value = sent(format, &Before { id: 7, name: "Ada".to_owned() })?;
        let named = json!({"id": 7, "name": "Ada"});
        ensure(fields == named, || format!("a struct is seen as {fields}"))
    }

    fn unknown_fields_are_passed_over(format) {
        let after = full();
        let back: Before = sent(format, &after)?;
        ensure(back.id == after.id && back.name == after.name, || format!("{back:?}"))?;
        sent::<_, IgnoredAny>(format, &after).map(drop)
    }

    fn missing_fields_take_their_defaults(format) {
        let back: After = sent(format, &Before { id: 7, name: "Ada".to_owned() })?;
        let name = "Ada".to_owned();
        let wanted = After { tags: vec![], note: None, count: 7, name, id: 7, inner: None };
        ensure(back == wanted, || format!("{back:?}"))
    }

    fn missing_fields_without_a_default_are_refused(format) {
        let bytes = encoded(format, &BTreeMap::from([("id".to_owned(), 7)]))?;
        is_bad_request("a struct without a field", decode::<Before>(format, &bytes))
    }

    fn values_of_another_type_are_refused(format) {
        let text = encoded(format, &"text".to_owned())?;
        is_bad_request("text for a struct", decode::<Before>(format, &text))?;
        is_bad_request("text for a number", decode::<u64>(format, &text))?;
        let number = encoded(format, &300_u64)?;
        is_bad_request("300 for a byte", decode::<u8>(format, &number))?;
        is_bad_request("300 for text", decode::<String>(format, &number))?;
        let negative = encoded(format, &-1_i64)?;
        is_bad_request("-1 for what has no sign", decode::<u64>(format, &negative))?;
        let unknown = encoded(format, &"Unheard".to_owned())?;
        is_bad_request("an unknown variant", decode::<Event>(format, &unknown))?;
        let list = encoded(format, &vec![1, 2, 3])?;
        is_bad_request("three elements for two", decode::<(u8, u8)>(format, &list))
    }

    fn what_the_type_refuses_is_a_bad_request(format) {
        let bytes = encoded(format, &full())?;
        is_bad_request("a type that is never content", decode::<Never>(format, &bytes))
    }

    fn a_value_without_a_form_is_an_error(format) {
        for done in [encode(format, &Formless), encode(format, &vec![Formless])] {
            ensure(done.is_err(), || format!("what cannot be serialised became {done:?}"))?;
        }
        Ok(())
    }

    fn encoding_appends(format) {
        let value = full();
        let alone = encoded(format, &value)?;
        let mut out = b"head".to_vec();
        let done = (&Wire::<After>::new()).enc()(format, &value, &mut out);
        done.map_err(|error| format!("cannot append: {error}"))?;
        let kept = out.strip_prefix(b"head").is_some_and(|message| message == alone);
        ensure(kept, || "what was in the buffer changes what is written".to_owned())
    }
}

/// Returns a message with every field set.
pub(super) fn full() -> After {
    After {
        tags: vec![Event::Started, Event::Resized { width: 1, height: 2 }, Event::Moved(3, 4)],
        note: Some("note \u{20ac}".to_owned()),
        count: 200,
        name: "Ada".to_owned(),
        id: 7,
        inner: Some(Box::new(After {
            tags: vec![Event::Nested(Box::new(Event::Named(String::new())))],
            note: None,
            count: 0,
            name: String::new(),
            id: u32::MAX,
            inner: None,
        })),
    }
}

/// Sends values there and back, each by itself, in a field and in a list.
fn same<T>(format: &Format, values: &[T]) -> Verdict
where
    T: Clone + fmt::Debug + DeserializeOwned + PartialEq + Serialize + 'static,
{
    for value in values {
        let back: T = sent(format, value)?;
        ensure(back == *value, || format!("{} became {}", short(value), short(&back)))?;
        let held = Holder::new(value.clone());
        let back: Holder<T> = sent(format, &held)?;
        ensure(back == held, || format!("{} became {}", short(&held), short(&back)))?;
    }
    let list = values.to_vec();
    let back: Vec<T> = sent(format, &list)?;
    ensure(back == list, || format!("{} became {}", short(&list), short(&back)))
}

/// Checks that a message was refused as malformed.
fn is_bad_request<T: fmt::Debug>(
    what: &str,
    done: Result<T, crate::core::error::Error>,
) -> Verdict {
    match done {
        Ok(value) => Err(format!("{what} is taken for {}", short(&value))),
        Err(error) => ensure(error.code() == 400, || {
            format!("{what} is a {} and not a 400: {error}", error.code())
        }),
    }
}
