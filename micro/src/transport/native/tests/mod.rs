//! What the wire promises, shown with real connections and with peers that break every rule.

mod ends;
mod exchange;
mod faults;
mod flow;
mod fuzz;
mod golden;
mod hostile;
mod hostile_server;
pub(in crate::transport) mod lab;
mod limits;
mod raw;
mod sessions;
mod tcp;
mod versions;
