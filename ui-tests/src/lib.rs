//! Compile-pass, compile-fail and hygiene cases of the macros.
//!
//! This library is the case that clippy reads: a service, a contract, a wired struct and a free
//! subscriber under every lint a careful user may have turned on. The other cases are in `tests/`.

#![deny(clippy::nursery, clippy::pedantic, missing_docs, rustdoc::all, warnings)]
#![forbid(unsafe_code)]

pub mod contract;
pub mod events;
pub mod greeter;
pub mod wired;
