//! What travels: one Rust type for every contender, so that all clone, encode and check the same.

use serde::{Deserialize, Serialize};

use crate::outcome::{Outcome, ensure};

/// The message of every call. A MessagePack map of 70 bytes with an empty payload.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
pub(crate) struct Message {
    /// Set by the caller, checked in the answer.
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    /// Sixteen ASCII characters.
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    /// Three short strings.
    #[prost(string, repeated, tag = "3")]
    pub(crate) tags: Vec<String>,
    /// Bytes on binary formats, base64 text on JSON, as a careful user would write it.
    #[prost(bytes = "vec", tag = "4")]
    #[serde(with = "payload")]
    pub(crate) payload: Vec<u8>,
}

/// Asks for a stream of `count` messages.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
pub(crate) struct Order {
    /// Messages to send.
    #[prost(uint64, tag = "1")]
    pub(crate) count: u64,
}

impl Message {
    /// A message whose payload has `payload` bytes.
    pub(crate) fn sample(payload: usize) -> Self {
        let tags = ["priority", "customer", "eu-north"].map(str::to_owned).to_vec();
        Self { id: 0, name: "sixteen letters!".to_owned(), tags, payload: vec![0xA5; payload] }
    }

    /// A copy that carries `id`.
    pub(crate) fn with_id(&self, id: u64) -> Self {
        let mut copy = self.clone();
        copy.id = id;
        copy
    }

    /// Fails unless this is the answer to `id` with a payload of `length` bytes.
    pub(crate) fn check(&self, id: u64, length: usize) -> Outcome<()> {
        ensure(self.id == id, "an answer carries another call's id")?;
        ensure(self.payload.len() == length, "an answer lost part of its payload")
    }
}

/// The `count` messages that every server streams: each built when it is asked for.
pub(crate) fn produce(count: u64) -> impl Iterator<Item = Message> + Send + 'static {
    let template = Message::sample(0);
    (0..count).map(move |id| template.with_id(id))
}

mod payload {
    use std::fmt;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Visitor;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.serialize_str(&STANDARD.encode(bytes))
        } else {
            to.serialize_bytes(bytes)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        if from.is_human_readable() {
            from.deserialize_str(Base64)
        } else {
            serde_bytes::deserialize(from)
        }
    }

    struct Base64;

    impl Visitor<'_> for Base64 {
        type Value = Vec<u8>;

        fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
            to.write_str("base64 text")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
            STANDARD.decode(text).map_err(E::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Message;

    #[test]
    fn a_small_message_is_a_map_of_seventy_bytes() {
        let bytes = rmp_serde::to_vec_named(&Message::sample(0)).unwrap();
        assert_eq!(bytes.len(), 70);
    }

    #[test]
    fn json_and_message_pack_keep_the_payload() {
        let message = Message::sample(1024);
        let text = serde_json::to_vec(&message).unwrap();
        assert_eq!(serde_json::from_slice::<Message>(&text).unwrap(), message);
        let bytes = rmp_serde::to_vec_named(&message).unwrap();
        assert_eq!(rmp_serde::from_slice::<Message>(&bytes).unwrap(), message);
    }
}
