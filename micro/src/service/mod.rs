//! Composes the components into a running process; the only place that knows defaults.
//!
//! A [`Service`] holds what to serve and what to run on; [`Service::run`] serves it until the
//! process is asked to stop, [`Service::start`] returns a [`Running`] handle instead. Backends
//! that are not handed over in code are opened by name, see [`open`].

#[cfg(feature = "server")]
mod advertise;
#[cfg(feature = "server")]
mod authenticate;
mod backends;
#[cfg(feature = "server")]
mod banner;
#[cfg(feature = "server")]
mod begun;
#[cfg(feature = "server")]
mod builder;
#[cfg(feature = "server")]
mod catalog;
#[cfg(feature = "server")]
mod components;
mod connect;
mod env;
#[cfg(feature = "server")]
mod flags;
pub mod glue;
#[cfg(test)]
mod heard;
#[cfg(feature = "server")]
mod hooks;
#[cfg(feature = "server")]
mod identity;
#[cfg(feature = "server")]
mod kept;
mod layers;
#[cfg(feature = "server")]
mod listen;
#[cfg(feature = "server")]
mod mount;
#[cfg(feature = "server")]
pub mod observe;
pub mod open;
#[cfg(feature = "server")]
mod own;
#[cfg(feature = "server")]
mod port;
#[cfg(feature = "server")]
mod readiness;
#[cfg(feature = "server")]
mod record;
mod remote;
#[cfg(feature = "server")]
mod run;
#[cfg(feature = "server")]
mod running;
mod schema;
mod secure;
mod settings;
#[cfg(feature = "server")]
mod signal;
#[cfg(feature = "server")]
mod start;
#[cfg(feature = "server")]
mod stop;
#[cfg(feature = "server")]
mod stored;
#[cfg(feature = "server")]
mod subscribe;
#[cfg(feature = "cli")]
mod toolbox;
mod url;
#[cfg(feature = "server")]
mod wiring;

pub use self::schema::{Shape, ShapeNamed, ShapeTyped, schema};

#[cfg(feature = "cli")]
pub use self::toolbox::{Setting, Toolbox, settings};

#[cfg(feature = "server")]
pub use self::{
    builder::Service,
    catalog::{Entry, catalog},
    run::{run, run_wired},
    running::Running,
    stop::Report,
    stored::Stored,
    wiring::{Field, FromService, WireOwned, WireShared, Wiring, wire_client, wire_config},
};
