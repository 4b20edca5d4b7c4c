//! The errors that a client makes, and what it adds to those of the way to a node.

use crate::client::attempt::Chosen;
use crate::client::plan::Plan;
use crate::core::error::{Error, Retry};

/// Errors that arise between caller and handler.
const OWN_IDS: [&str; 2] = ["micro.client", "micro.transport"];

/// Adds operation and node to an error of the way there; the answer of a handler stays as it is.
pub(super) fn named(plan: &Plan, chosen: &Chosen, error: Error) -> Error {
    if !OWN_IDS.contains(&error.id()) {
        return error;
    }
    let route = &plan.endpoint.route;
    let node = chosen.instance().map_or("a node", |instance| instance.id.as_str());
    let (service, endpoint) = (route.service(), route.endpoint());
    let address = chosen.peer().map(|peer| peer.address().to_string()).unwrap_or_default();
    let detail = format!("{service} {endpoint} on {node} ({address}): {}", error.detail());
    error.with_detail(detail)
}

pub(super) fn expired(plan: &Plan) -> Error {
    let route = &plan.endpoint.route;
    let detail = format!(
        "{} {}: the deadline passed before a node was chosen",
        route.service(),
        route.endpoint()
    );
    Error::timeout("micro.client", detail).with_retry(Retry::Safe)
}

pub(super) fn unknown(plan: &Plan) -> Error {
    let service = plan.endpoint.route.service();
    let registry = plan.client().registry.inner().name();
    let detail = format!("no node of service `{service}` in the registry `{registry}`");
    Error::unavailable("micro.client", detail).with_retry(Retry::Safe)
}

pub(super) fn unfit(plan: &Plan) -> Error {
    let route = &plan.endpoint.route;
    let detail = format!(
        "no node of service `{}` fits the call to {}: all are filtered out, lack the endpoint or \
         have an address that cannot be read",
        route.service(),
        route.endpoint()
    );
    Error::unavailable("micro.client", detail).with_retry(Retry::Safe)
}
