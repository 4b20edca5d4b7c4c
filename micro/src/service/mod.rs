//! Composes the components into a running process; the only place that knows defaults.

mod env;
mod flags;
mod settings;
mod url;
