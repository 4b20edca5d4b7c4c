//! What a mounted service tells the registry.

use std::collections::BTreeMap;

use crate::core::descriptor::{EndpointSpec, Schema, ServiceDescriptor, SubscriptionSpec};
use crate::registry::{Endpoint, Node, Record, Value};

/// Facts that every service of the process shares.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// Tells this process from others, such as a uuid.
    pub(crate) node: String,
    /// Where peers reach it.
    pub(crate) address: String,
    /// Facts about the node.
    pub(crate) metadata: BTreeMap<String, String>,
    /// The version to register instead of each service's own.
    pub(crate) version: Option<String>,
}

/// Makes the record of a service at a place.
pub(crate) fn record(descriptor: &ServiceDescriptor, place: &Place) -> Record {
    let endpoints = descriptor.endpoints.iter().map(endpoint);
    let subscriptions = descriptor.subscriptions.iter().map(subscription);
    Record {
        name: descriptor.name.to_owned(),
        version: place.version.clone().unwrap_or_else(|| descriptor.version.to_owned()),
        metadata: pairs(descriptor.metadata),
        endpoints: endpoints.chain(subscriptions).collect(),
        nodes: vec![node(descriptor.name, place)],
    }
}

/// Adds the free subscribers of a process to the record of its name, making one if there is none.
///
/// Such a record has the version `latest` unless the process sets one.
pub(crate) fn add_free(
    records: &mut Vec<Record>,
    process: &str,
    free: &[SubscriptionSpec],
    place: &Place,
) {
    if free.is_empty() {
        return;
    }
    let endpoints = free.iter().map(subscription);
    if let Some(own) = records.iter_mut().find(|record| record.name == process) {
        own.endpoints.extend(endpoints);
        return;
    }
    records.push(Record {
        name: process.to_owned(),
        version: place.version.clone().unwrap_or_else(|| "latest".to_owned()),
        endpoints: endpoints.collect(),
        nodes: vec![node(process, place)],
        ..Record::default()
    });
}

fn node(service: &str, place: &Place) -> Node {
    Node {
        id: format!("{service}-{}", place.node),
        address: place.address.clone(),
        metadata: place.metadata.clone(),
    }
}

fn endpoint(spec: &EndpointSpec) -> Endpoint {
    let mut metadata = pairs(spec.metadata);
    let mut set = |key: &str, value: &str| drop(metadata.insert(key.to_owned(), value.to_owned()));
    if let Some(kind) = spec.kind.streams() {
        set("stream", "true");
        set("kind", kind);
    }
    if !spec.description.is_empty() {
        set("description", spec.description);
    }
    if let Some(example) = spec.example {
        set("example", example);
    }
    if let Some(scopes) = spec.scopes {
        set("scopes", &scopes.join(","));
    }
    if spec.deprecated {
        set("deprecated", "true");
    }
    Endpoint {
        name: spec.name.to_owned(),
        request: Some(value(&(spec.request)())),
        response: Some(value(&(spec.response)())),
        metadata,
    }
}

fn subscription(spec: &SubscriptionSpec) -> Endpoint {
    let mut metadata = pairs(spec.metadata);
    metadata.insert("subscriber".to_owned(), "true".to_owned());
    metadata.insert("topic".to_owned(), spec.topic.to_owned());
    if let Some(queue) = spec.queue {
        metadata.insert("queue".to_owned(), queue.to_owned());
    }
    if !spec.description.is_empty() {
        metadata.insert("description".to_owned(), spec.description.to_owned());
    }
    Endpoint { name: spec.name.to_owned(), request: None, response: None, metadata }
}

fn value(schema: &Schema) -> Value {
    Value {
        name: schema.name.clone(),
        kind: schema.kind.clone(),
        values: schema.values.iter().map(value).collect(),
    }
}

fn pairs(metadata: &[(&str, &str)]) -> BTreeMap<String, String> {
    metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::descriptor::{CallKind, Overflow};

    const ENDPOINT: EndpointSpec = EndpointSpec {
        name: "Orders.Watch",
        kind: CallKind::ServerStream,
        request: Schema::default,
        response: Schema::default,
        doc: "Watches.\n\nMore.",
        description: "Watches.",
        example: Some("{}"),
        scopes: Some(&["a", "b"]),
        public: false,
        timeout: None,
        idempotent: false,
        detached: false,
        deprecated: false,
        metadata: &[("k", "v")],
    };

    const SUBSCRIPTION: SubscriptionSpec = SubscriptionSpec {
        name: "Orders.OnPaid",
        topic: "paid",
        queue: Some("orders"),
        concurrency: 0,
        overflow: Overflow::Block,
        manual_ack: false,
        doc: "",
        description: "",
        metadata: &[],
    };

    const ORDERS: ServiceDescriptor = ServiceDescriptor {
        name: "orders",
        version: "1.2.3",
        type_name: "Orders",
        doc: "",
        endpoints: &[ENDPOINT],
        subscriptions: &[SUBSCRIPTION],
        metadata: &[],
    };

    fn place() -> Place {
        Place { node: "n1".into(), address: "h:1".into(), ..Place::default() }
    }

    #[test]
    fn metadata_has_the_keys_of_go_micro() {
        let record = record(&ORDERS, &place());
        assert_eq!(record.nodes[0].id, "orders-n1");
        let endpoint = &record.endpoints[0].metadata;
        for (key, value) in [
            ("stream", "true"),
            ("kind", "server-stream"),
            ("description", "Watches."),
            ("example", "{}"),
            ("scopes", "a,b"),
            ("k", "v"),
        ] {
            assert_eq!(endpoint.get(key).map(String::as_str), Some(value), "{key}");
        }
        let subscription = &record.endpoints[1].metadata;
        assert_eq!(subscription.get("subscriber").map(String::as_str), Some("true"));
        assert_eq!(subscription.get("topic").map(String::as_str), Some("paid"));
    }

    #[test]
    fn free_subscribers_stand_under_the_name_of_the_process() {
        let free = [SubscriptionSpec { name: "Audit", topic: "audit.*", ..SUBSCRIPTION }];
        let mut records = vec![record(&ORDERS, &place())];
        add_free(&mut records, "shop", &[], &place());
        assert_eq!(records.len(), 1);
        add_free(&mut records, "shop", &free, &place());
        let own = &records[1];
        assert_eq!((own.name.as_str(), own.version.as_str()), ("shop", "latest"));
        assert_eq!(
            (own.nodes[0].id.as_str(), own.endpoints[0].name.as_str()),
            ("shop-n1", "Audit")
        );
        let metadata = &own.endpoints[0].metadata;
        assert_eq!(metadata.get("topic").map(String::as_str), Some("audit.*"));
        assert_eq!(metadata.get("subscriber").map(String::as_str), Some("true"));
        add_free(&mut records, "orders", &free, &place());
        assert_eq!((records.len(), records[0].endpoints.len()), (2, 3));
    }

    #[test]
    fn a_version_of_the_process_replaces_that_of_the_service() {
        assert_eq!(record(&ORDERS, &place()).version, "1.2.3");
        let place = Place { version: Some("2.0.0".into()), ..place() };
        assert_eq!(record(&ORDERS, &place).version, "2.0.0");
    }
}
