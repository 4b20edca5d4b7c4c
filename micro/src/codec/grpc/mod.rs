//! What both sides of gRPC write: frames, timeouts, statuses, content types.
//!
//! Messages themselves are encoded by the codec that the content type names.

mod base64;
mod detail;
mod frame;
mod gzip;
mod percent;
mod status;
mod subtype;
mod timeout;

pub(crate) use self::frame::{Decoder, Encoding, begin, finish, framed};
pub(crate) use self::status::{read as read_status, write as write_status};
pub(crate) use self::subtype::{is_grpc, read as read_type, written as written_type};
pub(crate) use self::timeout::{parse as parse_timeout, written as written_timeout};

/// The status of a call: the number of its code.
pub(crate) const STATUS: &str = "grpc-status";

/// How a message is compressed.
pub(crate) const ENCODING: &str = "grpc-encoding";

/// How messages may be compressed.
pub(crate) const ACCEPT_ENCODING: &str = "grpc-accept-encoding";

/// How long the caller waits.
pub(crate) const TIMEOUT: &str = "grpc-timeout";

/// The compressions that are understood, as [`ACCEPT_ENCODING`] lists them.
pub(crate) const ACCEPTED: &str = "gzip, identity";
