//! What a process says to the person who started it.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::core::descriptor::{CallKind, ServiceDescriptor};
use crate::core::net::Address;
use crate::service::running::Running;

/// Writes to standard error; standard output is the program's own.
pub(crate) fn say(text: &str) {
    // Nobody may be reading; that is no reason to stop serving.
    let _written = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Says where the process serves what, and how to call it.
pub(crate) fn start_line(running: &Running) -> String {
    let backends = &running.inner.backends;
    let mut out = format!(
        "{} serves on {} (registry {}, broker {}, transport {})\n",
        running.name(),
        running.address(),
        backends.registry.name(),
        backends.broker.name(),
        backends.transport.name(),
    );
    if let Some(port) = &running.inner.port {
        // Writing into a string cannot fail.
        let _written = writeln!(out, "  and, by HTTP, on {port}");
    }
    for service in running.services() {
        // Writing into a string cannot fail.
        let _written = writeln!(out, "  {} {}: {}", service.name, service.version, list(service));
    }
    for subscriber in running.subscribers() {
        let _written = writeln!(out, "  {}: on {}", subscriber.name, subscriber.topic);
    }
    for service in running.services() {
        if let (Some(example), Some(port)) = (example(service), running.port()) {
            let _written = writeln!(out, "  try: curl {}/{example}", target(running, port));
        }
    }
    out
}

/// Returns what curl takes for the process's URL.
fn target(running: &Running, port: &Address) -> String {
    match port {
        Address::Unix(path) => format!("--unix-socket {} http://localhost", path.display()),
        _ => running.url(),
    }
}

fn list(service: &ServiceDescriptor) -> String {
    let endpoints = service.endpoints.iter().map(|spec| spec.name.to_owned());
    let topics = service.subscriptions.iter().map(|spec| format!("on {}", spec.topic));
    endpoints.chain(topics).collect::<Vec<_>>().join(", ")
}

/// Returns the rest of a command that calls an endpoint with its example.
fn example(service: &ServiceDescriptor) -> Option<String> {
    let mut unary = service.endpoints.iter().filter(|spec| spec.kind == CallKind::Unary);
    let (spec, example) = unary.find_map(|spec| spec.example.map(|example| (spec, example)))?;
    let quoted = example.replace('\'', r"'\''");
    Some(format!("{}/{} -d '{quoted}'", service.name, spec.name))
}
