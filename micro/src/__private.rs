//! What macro output may name. Not for people, and not bound by semantic versioning.

pub use std::boxed::Box;
pub use std::option::Option;
pub use std::result::Result;
pub use std::string::String;
pub use std::sync::Arc;
pub use std::time::Duration;
pub use std::vec::Vec;
pub use {core, std};

pub use inventory;

pub use crate::broker::{Ack, Event, RawEvent, Topic};
pub use crate::codec::Format;
pub use crate::codec::glue::{
    DecodeBoth, DecodeNone, DecodeProst, DecodeSerde, EncodeBoth, EncodeNone, EncodeProst,
    EncodeSerde, Wire,
};
pub use crate::codec::{DecFn, Decode, EncFn, Encode};
pub use crate::core::body::Body;
pub use crate::core::descriptor::{
    CallKind, EndpointSpec, Overflow, Schema, ServiceDescriptor, SubscriptionSpec,
};
pub use crate::core::future::BoxFuture;

#[cfg(feature = "client")]
pub use crate::client::{ContractError, Stub};
#[cfg(feature = "client")]
pub use crate::service::{Shape, ShapeNamed, ShapeTyped, schema};

#[cfg(feature = "server")]
pub use crate::server::glue::{acked, decode, envelope, event, inbound, respond, respond_stream};
#[cfg(feature = "server")]
pub use crate::server::{Endpoint, Incoming, IntoError, Shared, Subscriber, Subscription};
#[cfg(feature = "server")]
pub use crate::service::{Entry, Field, WireOwned, WireShared, Wiring, wire_client, wire_config};

#[cfg(feature = "client")]
pub use crate::service::glue::{
    IsContext, Outcome, context, index_of, macro_version, owned_context,
};

/// Keeps what only a server needs; for macro output.
#[cfg(feature = "server")]
#[doc(hidden)]
#[macro_export]
macro_rules! __if_server {
    ($($item:tt)*) => { $($item)* };
}

/// Drops what only a server needs; for macro output.
#[cfg(not(feature = "server"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __if_server {
    ($($item:tt)*) => {};
}
