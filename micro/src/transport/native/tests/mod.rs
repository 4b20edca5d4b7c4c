//! What the wire promises, shown with real connections and with peers that break every rule.

mod exchange;
mod golden;
mod hostile;
mod hostile_server;
mod lab;
mod limits;
mod raw;
mod versions;
