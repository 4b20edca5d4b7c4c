//! JSON-RPC 2.0: documents in, answers out, over whatever brings them.
//!
//! What is spoken how stands in the docs of the server.

mod document;
mod post;
mod reply;
mod run;

pub(super) use self::post::PATH;
#[cfg(feature = "ws")]
pub(super) use self::run::PARALLEL_MAX;
pub(super) use self::run::{Caller, answer};
