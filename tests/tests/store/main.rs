//! Stores under services, and a file whose process is killed while it writes.
//!
//! `MICRO_LONG=1` kills more often.

#[cfg(all(feature = "redb", unix))]
mod kill;
mod outside;
mod wired;
