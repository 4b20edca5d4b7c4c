//! What the wire promises, shown with real connections and with peers that break every rule.

mod exchange;
mod golden;
mod lab;
mod raw;
