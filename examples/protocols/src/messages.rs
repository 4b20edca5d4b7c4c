//! What the shop takes and gives.

use micro::prelude::*;

/// A message is Protocol Buffers as well as JSON and MessagePack.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub(crate) struct Text {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub(crate) struct Number {
    #[prost(uint32, tag = "1")]
    pub(crate) number: u32,
}

/// What goes along with an error.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Why {
    pub(crate) field: String,
    pub(crate) most: u32,
}
