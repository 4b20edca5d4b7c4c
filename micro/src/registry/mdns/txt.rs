//! The text of a node as go-micro writes it: JSON, deflated with a zlib header, in lower-case hex,
//! cut into strings of at most 255 bytes.

use std::collections::BTreeMap;

use flate2::Compress;
use flate2::Compression;
use flate2::Decompress;
use flate2::FlushCompress;
use flate2::FlushDecompress;
use flate2::Status;
use serde::Deserialize;
use serde::Serialize;

use crate::registry::record::Endpoint;
use crate::registry::record::Node;
use crate::registry::record::Record;

/// Bytes of hex above which the shapes of messages are left out, so that the answer fits into one
/// packet of an Ethernet; the names of endpoints stay.
pub(super) const PAYLOAD_BYTES_MAX: usize = 1200;
/// Bytes of one string of a TXT record; the length stands in one byte.
const STRING_BYTES_MAX: usize = 255;
/// Bytes that an inflated text may have: a packet of 9,000 bytes could hold a thousandfold bomb.
const INFLATED_BYTES_MAX: usize = 64 * 1024;

/// The JSON, with the names of Go's fields, which carry no tags.
#[derive(Serialize, Deserialize)]
struct Text {
    #[serde(rename = "Service")]
    service: String,
    #[serde(rename = "Version")]
    version: String,
    #[serde(rename = "Endpoints", default)]
    endpoints: Option<Vec<Endpoint>>,
    /// Of the node.
    #[serde(rename = "Metadata", default)]
    metadata: Option<BTreeMap<String, String>>,
    /// Of the service; absent in go-micro, which skips fields it does not know.
    #[serde(rename = "ServiceMetadata", default, skip_serializing_if = "BTreeMap::is_empty")]
    facts: BTreeMap<String, String>,
}

/// Returns the strings of the TXT record of a node.
pub(super) fn encode(record: &Record, node: &Node) -> Vec<Vec<u8>> {
    let mut text = Text {
        service: record.name.clone(),
        version: record.version.clone(),
        endpoints: Some(record.endpoints.clone()),
        metadata: Some(node.metadata.clone()),
        facts: record.metadata.clone(),
    };
    let mut payload = pack(&text);
    if payload.len() > PAYLOAD_BYTES_MAX {
        for endpoint in text.endpoints.iter_mut().flatten() {
            (endpoint.request, endpoint.response) = (None, None);
        }
        payload = pack(&text);
    }
    payload.chunks(STRING_BYTES_MAX).map(<[u8]>::to_vec).collect()
}

/// Reads the strings of a TXT record; `None` if they are not the text of a node.
pub(super) fn decode<'a>(strings: impl IntoIterator<Item = &'a [u8]>) -> Option<Record> {
    let payload: Vec<u8> = strings.into_iter().flatten().copied().collect();
    let text: Text = serde_json::from_slice(&inflate(&unhex(&payload)?)?).ok()?;
    Some(Record {
        name: text.service,
        version: text.version,
        metadata: text.facts,
        endpoints: text.endpoints.unwrap_or_default(),
        nodes: vec![Node { metadata: text.metadata.unwrap_or_default(), ..Node::default() }],
    })
}

fn pack(text: &Text) -> Vec<u8> {
    // Maps of strings always serialise; the empty text is never decoded by anyone.
    let json = serde_json::to_vec(text).unwrap_or_default();
    hex(&deflate(&json))
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(Compression::default(), true);
    let mut packed = Vec::with_capacity(bytes.len().saturating_add(64));
    loop {
        let read = usize::try_from(compress.total_in()).unwrap_or(usize::MAX);
        let rest = bytes.get(read..).unwrap_or_default();
        let status = compress.compress_vec(rest, &mut packed, FlushCompress::Finish);
        if !matches!(status, Ok(Status::Ok | Status::BufError)) {
            return packed;
        }
        packed.reserve(1024);
    }
}

fn inflate(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(INFLATED_BYTES_MAX);
    // One call with all of the input and all of the room: whatever does not end in it is refused.
    let status =
        Decompress::new(true).decompress_vec(bytes, &mut text, FlushDecompress::Finish).ok()?;
    (status == Status::StreamEnd).then_some(text)
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + (nibble - 10) };
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;
    use crate::registry::record::Value;

    /// Deflated by zlib itself at its default level.
    const GOLDEN: &str = "789c0dcab10a80201006e077f967095bdd1b9b829668103d42284fceab457cf75c3fbe\
        868de44b81e070099192c06027a989f3b079b2931db2e4583865ad70c769b092fae8d5c3351461e5c0f7d8cf1b\
        0a7aff019e1f1bfd";

    fn record() -> Record {
        let metadata = BTreeMap::from([("protocol".to_owned(), "mucp".to_owned())]);
        let node = Node { metadata, ..Node::default() };
        let (name, version) = ("greeter".to_owned(), "1.0.0".to_owned());
        Record { name, version, nodes: vec![node], ..Record::default() }
    }

    fn encoded(record: &Record) -> Vec<Vec<u8>> {
        encode(record, &record.nodes[0])
    }

    fn decoded(strings: &[Vec<u8>]) -> Option<Record> {
        decode(strings.iter().map(Vec::as_slice))
    }

    #[test]
    fn the_text_of_another_deflate_is_read_and_ours_has_its_form() {
        assert_eq!(decode([GOLDEN.as_bytes()]), Some(record()));
        let (one, two) = GOLDEN.as_bytes().split_at(7);
        assert_eq!(decode([one, two]), Some(record()), "strings are joined before anything");
        assert_eq!(decode([GOLDEN.to_uppercase().as_bytes()]), Some(record()));
        // Implementations of deflate choose differently; the header tells method and level.
        let ours = String::from_utf8(encoded(&record()).concat()).unwrap();
        assert!(ours.starts_with("789c"), "{ours}");
        assert!(ours.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{ours}");
    }

    #[test]
    fn the_json_has_gos_names_and_order() {
        let json = inflate(&unhex(&encoded(&record()).concat()).unwrap()).unwrap();
        let expected = r#"{"Service":"greeter","Version":"1.0.0","Endpoints":[],"Metadata":{"protocol":"mucp"}}"#;
        assert_eq!(String::from_utf8(json).unwrap(), expected);
        let null = br#"{"Metadata":null,"Service":"a","Version":"1","Endpoints":null,"More":1}"#;
        assert_eq!(decode([hex(&deflate(null)).as_slice()]).unwrap().name, "a");
    }

    #[test]
    fn long_texts_are_cut_into_strings_and_lose_their_schemas_only() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut noise = || (0..40).map(|_| rng.alphanumeric()).collect::<String>();
        let mut record = record();
        record.metadata.insert("owner".into(), "us".into());
        for _ in 0..3 {
            let values = (0..2).map(|_| Value { name: noise(), ..Value::default() }).collect();
            let request = Some(Value { name: noise(), kind: noise(), values });
            record.endpoints.push(Endpoint { name: noise(), request, ..Endpoint::default() });
        }
        let mut small = record.clone();
        small.endpoints.truncate(1);
        let strings = encoded(&small);
        assert!(strings.len() > 1 && strings.concat().len() <= PAYLOAD_BYTES_MAX);
        assert!(strings.iter().rev().skip(1).all(|string| string.len() == STRING_BYTES_MAX));
        assert_eq!(decoded(&strings), Some(small));

        for endpoint in &mut record.endpoints {
            endpoint.response = endpoint.request.clone();
        }
        for _ in 0..2 {
            record.endpoints.extend(record.endpoints.clone());
        }
        let read = decoded(&encoded(&record)).unwrap();
        assert_eq!(read.endpoints.len(), 12);
        assert!(read.endpoints.iter().all(|endpoint| endpoint.request.is_none()));
        assert_eq!(read.endpoints[0].name, record.endpoints[0].name);
    }

    /// Two digits for each byte: no payload has an odd length.
    #[test]
    fn a_payload_at_the_limit_keeps_its_schemas_and_a_longer_one_does_not() {
        let mut rng = fastrand::Rng::with_seed(2);
        let mut sized = |bytes: usize| {
            let mut record = record();
            let request = Some(Value { name: "request".to_owned(), ..Value::default() });
            record.endpoints.push(Endpoint {
                name: "E".to_owned(),
                request,
                ..Endpoint::default()
            });
            let mut noise = String::new();
            // Progress: what cannot be compressed makes the payload longer, in the end by a byte.
            loop {
                record.metadata.insert("noise".to_owned(), noise.clone());
                let text = Text {
                    service: record.name.clone(),
                    version: record.version.clone(),
                    endpoints: Some(record.endpoints.clone()),
                    metadata: Some(record.nodes[0].metadata.clone()),
                    facts: record.metadata.clone(),
                };
                let packed = pack(&text).len();
                match packed.cmp(&bytes) {
                    Ordering::Less if bytes - packed > 200 => {
                        noise.extend((0..50).map(|_| rng.alphanumeric()));
                    }
                    Ordering::Less => noise.push(rng.alphanumeric()),
                    Ordering::Equal => return record,
                    Ordering::Greater => noise.clear(),
                }
            }
        };
        for (bytes, kept) in [
            (PAYLOAD_BYTES_MAX, true),
            (PAYLOAD_BYTES_MAX + 2, false),
            (PAYLOAD_BYTES_MAX * 10, false),
        ] {
            let record = sized(bytes);
            let read = decoded(&encoded(&record)).unwrap();
            assert_eq!(read.endpoints[0].request.is_some(), kept, "{bytes}");
            assert_eq!(read.metadata, record.metadata, "facts are not dropped");
        }
    }

    #[test]
    fn hostile_texts_are_refused() {
        let bomb = hex(&deflate(&vec![b' '; INFLATED_BYTES_MAX * 100]));
        assert_eq!(decode([bomb.as_slice()]), None);
        let most = hex(&deflate(&vec![b' '; INFLATED_BYTES_MAX]));
        assert!(inflate(&unhex(&most).unwrap()).is_some(), "the limit itself is allowed");
        let more = hex(&deflate(&vec![b' '; INFLATED_BYTES_MAX + 1]));
        assert!(inflate(&unhex(&more).unwrap()).is_none());
        let nested = format!(r#"{{"Service":{}"#, "[".repeat(60_000));
        assert_eq!(decode([hex(&deflate(nested.as_bytes())).as_slice()]), None);
        for text in ["", "7", "zz", "789c", "00", &GOLDEN[..40], &GOLDEN.replace('7', "8")] {
            assert_eq!(decode([text.as_bytes()]), None, "{text}");
        }
    }
}
