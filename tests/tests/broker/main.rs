//! Brokers as those outside of the crate see them: by the trait, by the port, as processes.

mod handle;
mod outside;
mod ports;
