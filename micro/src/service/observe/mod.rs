//! The `Debug.*` endpoints of every service, and what they are answered from.
//!
//! Every service of a process serves them under its own name, as go-micro does: they are not listed
//! in the registry, and whoever reaches a service can ask it.
//!
//! | endpoint | request | answer |
//! |---|---|---|
//! | `Debug.Health` | nothing | [`HealthReport`](crate::debug::HealthReport) |
//! | `Debug.Stats` | nothing | [`Stats`](crate::debug::Stats) |
//! | `Debug.Log` | [`LogRequest`] | a stream of [`Record`](crate::debug::Record) |
//! | `Debug.Trace` | [`SpanQuery`](crate::debug::SpanQuery) | [`Spans`] |
//! | `Debug.Dump` | nothing | [`Dump`](crate::debug::Dump) |
//! | `Debug.Profile` | [`ProfileRequest`](crate::debug::ProfileRequest) | [`Profile`](crate::debug::Profile); 501 without the feature `profile` |
//!
//! Requests may be empty. Off-host callers need an account, whatever the server is open to.

mod answers;
mod endpoints;
mod install;
mod messages;

pub use self::messages::{LogRequest, Spans};

pub(crate) use self::answers::Observe;
#[cfg(all(unix, feature = "stdio"))]
pub(crate) use self::install::take_output;
pub(crate) use self::install::{Reach, install, show};
