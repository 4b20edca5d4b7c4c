//! Services as processes of their own: found, called, killed, stopped, restarted.
//!
//! Every test has its own directory and with it its own registry. Tests that load the machine run
//! one at a time. `MICRO_LONG=1` runs more and longer rounds.
#![cfg(unix)]

mod harness;

mod discovery;
mod events;
mod failover;
mod frozen;
mod handlers;
mod hostile;
mod http;
mod leaks;
mod lifecycle;
#[cfg(feature = "mdns")]
mod multicast;
mod outage;
