//! The endpoint at which other processes bring what they have for a broker.

use std::sync::Arc;

use crate::broker::{INBOX_ENDPOINT, INBOX_NODE, INBOX_SERVICE, Inbox};
use crate::core::descriptor::{CallKind, EndpointSpec, Schema, ServiceDescriptor};
use crate::core::error::Error;
use crate::core::exchange::Outgoing;
use crate::server::serve::{Endpoint, Serve};
use crate::server::subscription::Subscription;

/// An inbox as a service.
pub(super) struct Deliveries(pub(super) Arc<dyn Inbox>);

const DELIVER: EndpointSpec = EndpointSpec {
    name: INBOX_ENDPOINT,
    kind: CallKind::Bidi,
    request: Schema::default,
    response: Schema::default,
    doc: "",
    description: "",
    example: None,
    scopes: None,
    public: false,
    timeout: None,
    idempotent: false,
    detached: false,
    deprecated: false,
    metadata: &[],
};

impl Serve for Deliveries {
    const DESCRIPTOR: &'static ServiceDescriptor = &ServiceDescriptor {
        name: INBOX_SERVICE,
        version: "",
        type_name: "Broker",
        doc: "",
        endpoints: &[DELIVER],
        subscriptions: &[],
        metadata: &[],
    };
    const ENDPOINTS: &'static [Endpoint<Self>] = &[Endpoint {
        call: |inbox, context, incoming| {
            Box::pin(async move {
                let node = context.metadata().get(INBOX_NODE).unwrap_or_default();
                let missing = || Error::bad_request(INBOX_SERVICE, "copies come as a stream");
                let copies = incoming.into_messages().ok_or_else(missing)?;
                inbox.0.link(node, copies).map(Outgoing::Stream)
            })
        },
    }];
    const SUBSCRIPTIONS: &'static [Subscription<Self>] = &[];
}
