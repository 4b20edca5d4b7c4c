//! Backends that know nothing of the crate but its public traits keep the promises of its own.

mod alley;
mod board;
mod foreign_rpc;
mod turns;
