//! Nodes of a service, from its endpoint slices.

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use crate::registry::record::{Node, Record, STATE, STATE_DRAINING};

/// The label that says of which service a slice is.
pub(super) const SERVICE: &str = "kubernetes.io/service-name";
/// The label of a service that says its version, which its slices take over.
const VERSION: &str = "app.kubernetes.io/version";
/// The name of the port that is taken where none is configured.
const PORT: &str = "micro";

/// One slice: the service it is of, and its nodes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Slice {
    pub(super) service: String,
    version: String,
    nodes: Vec<Node>,
}

impl Slice {
    /// Reads a slice; `None` if it is of no service.
    pub(super) fn read(slice: &EndpointSlice, port: Option<&str>) -> Option<Self> {
        let labels = slice.metadata.labels.as_ref()?;
        let service = labels.get(SERVICE)?.clone();
        let version = labels.get(VERSION).cloned().unwrap_or_default();
        let port = chosen(slice.ports.as_deref().unwrap_or_default(), port);
        let nodes = port
            .iter()
            .flat_map(|port| slice.endpoints.iter().filter_map(|endpoint| node(endpoint, port)));
        Some(Self { service, version, nodes: nodes.collect() })
    }
}

/// A port by which the nodes of a slice are reached.
struct Chosen {
    number: u16,
    protocol: Option<&'static str>,
}

/// Chooses the port of a name; without one that of ours, or else the first.
fn chosen(ports: &[EndpointPort], wanted: Option<&str>) -> Option<Chosen> {
    let tcp = |port: &&EndpointPort| port.protocol.as_deref().is_none_or(|name| name == "TCP");
    let of = |wanted: &str| {
        ports.iter().filter(tcp).find(|port| port.name.as_deref().unwrap_or_default() == wanted)
    };
    let port = match wanted {
        Some(wanted) => of(wanted),
        None => of(PORT).or_else(|| ports.iter().find(tcp)),
    }?;
    let number = u16::try_from(port.port?).ok().filter(|number| *number != 0)?;
    let protocol = match port.app_protocol.as_deref() {
        Some("grpc") => Some("grpc"),
        Some("http") => Some("http"),
        _ => None,
    };
    Some(Chosen { number, protocol })
}

/// Makes the node of an endpoint that takes calls, or still finishes them.
fn node(endpoint: &Endpoint, port: &Chosen) -> Option<Node> {
    let conditions = endpoint.conditions.as_ref();
    // What is not said is to be taken as ready, serving as ready is, and not terminating.
    let is_ready = conditions.and_then(|said| said.ready).unwrap_or(true);
    let is_serving = conditions.and_then(|said| said.serving).unwrap_or(is_ready);
    let is_ending = conditions.and_then(|said| said.terminating).unwrap_or(false);
    let is_finishing = is_serving && is_ending;
    if !is_ready && !is_finishing {
        return None;
    }
    // Further addresses of an endpoint are not to be used.
    let host = endpoint.addresses.first()?;
    let address = match host.contains(':') {
        true => format!("[{host}]:{}", port.number),
        false => format!("{host}:{}", port.number),
    };
    let pod = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
    let id = pod.and_then(|pod| pod.name.clone()).unwrap_or_else(|| address.clone());
    let state = is_ending.then(|| STATE_DRAINING.to_owned());
    let facts = [
        ("zone", endpoint.zone.clone()),
        ("node", endpoint.node_name.clone()),
        ("protocol", port.protocol.map(str::to_owned)),
        (STATE, state),
    ];
    let said = facts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Some(Node { id, address, metadata: said.collect() })
}

/// Joins slices, in the order of their names, into records.
///
/// A node may stand in several slices, while it moves from one to another or where it has addresses
/// of two families: it counts once, rather as ready than as ending.
pub(super) fn joined<'a>(
    slices: impl IntoIterator<Item = &'a Slice>,
    nodes_max: usize,
) -> Vec<Record> {
    let mut services: BTreeMap<&str, BTreeMap<&str, (&Slice, &Node)>> = BTreeMap::new();
    let is_ending = |node: &Node| node.metadata.contains_key(STATE);
    for slice in slices {
        let service = services.entry(&slice.service).or_default();
        for node in &slice.nodes {
            let is_full = service.len() >= nodes_max;
            match service.get_mut(node.id.as_str()) {
                Some(known) if is_ending(known.1) && !is_ending(node) => *known = (slice, node),
                Some(_) => {}
                None if is_full => {
                    tracing::warn!(service = slice.service, nodes_max, "further nodes left out");
                    break;
                }
                None => {
                    service.insert(&node.id, (slice, node));
                }
            }
        }
    }
    let nodes = services.into_values().flat_map(BTreeMap::into_values);
    Record::merge(nodes.map(|(slice, node)| Record {
        name: slice.service.clone(),
        version: slice.version.clone(),
        nodes: vec![node.clone()],
        ..Record::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(json: &str) -> EndpointSlice {
        serde_json::from_str(json).unwrap()
    }

    /// As the documentation of Kubernetes shows one.
    const DOCUMENTED: &str = r#"{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":
        {"name":"example-abc","labels":{"kubernetes.io/service-name":"example"}},"addressType":"IPv4",
        "ports":[{"name":"http","protocol":"TCP","port":80}],"endpoints":[{"addresses":["10.1.2.3"],
        "conditions":{"ready":true},"hostname":"pod-1","nodeName":"node-1","zone":"us-west2-a"}]}"#;

    fn read(json: &str, port: Option<&str>) -> Vec<Node> {
        Slice::read(&slice(json), port).unwrap().nodes
    }

    #[test]
    fn the_documented_slice_is_read() {
        let nodes = read(DOCUMENTED, None);
        assert_eq!(
            (nodes[0].id.as_str(), nodes[0].address.as_str()),
            ("10.1.2.3:80", "10.1.2.3:80")
        );
        assert_eq!(nodes[0].metadata["zone"], "us-west2-a");
        let pod = DOCUMENTED
            .replace("\"hostname\"", r#""targetRef":{"kind":"Pod","name":"p"},"hostname""#);
        assert_eq!(read(&pod, None)[0].id, "p");
        assert!(Slice::read(&slice(&DOCUMENTED.replace("service-name", "x")), None).is_none());
    }

    #[test]
    fn conditions_say_which_nodes_take_calls() {
        for (said, ids, draining) in [
            ("{}", 1, false),
            (r#"{"ready":true}"#, 1, false),
            (r#"{"ready":false}"#, 0, false),
            (r#"{"ready":false,"serving":true,"terminating":true}"#, 1, true),
            (r#"{"ready":false,"serving":false,"terminating":true}"#, 0, false),
            (r#"{"ready":false,"serving":true,"terminating":false}"#, 0, false),
        ] {
            let nodes = read(&DOCUMENTED.replace(r#"{"ready":true}"#, said), None);
            assert_eq!(nodes.len(), ids, "{said}");
            assert_eq!(nodes.iter().any(|node| node.metadata.contains_key(STATE)), draining);
        }
        assert_eq!(read(&DOCUMENTED.replace(r#""conditions":{"ready":true},"#, ""), None).len(), 1);
    }

    #[test]
    fn ports_are_chosen_by_name() {
        let ports = r#"[{"name":"udp","protocol":"UDP","port":1},{"name":"http","port":2,
            "appProtocol":"http"},{"name":"micro","port":3},{"name":"far","port":70000}]"#;
        let many = DOCUMENTED.replace(r#"[{"name":"http","protocol":"TCP","port":80}]"#, ports);
        let at = |name| read(&many, name).first().map(|node| node.address.clone());
        assert_eq!(at(None).as_deref(), Some("10.1.2.3:3"));
        assert_eq!(at(Some("http")).as_deref(), Some("10.1.2.3:2"));
        assert_eq!(read(&many, Some("http"))[0].metadata["protocol"], "http");
        for none in ["udp", "far", "absent"] {
            assert_eq!(at(Some(none)), None, "{none}");
        }
    }

    #[test]
    fn a_node_in_two_slices_counts_once_and_rather_as_ready() {
        let node = |id: &str, state: Option<&str>| Node {
            id: id.into(),
            address: format!("{id}:1"),
            metadata: state.map(|state| (STATE.to_owned(), state.to_owned())).into_iter().collect(),
        };
        let slice = |nodes: Vec<Node>| Slice { service: "s".into(), version: "1".into(), nodes };
        let slices = [
            slice(vec![node("a", Some(STATE_DRAINING)), node("b", None)]),
            slice(vec![node("a", None), node("b", Some(STATE_DRAINING))]),
        ];
        let records = joined(&slices, 10);
        assert_eq!(records.len(), 1);
        assert!(records[0].nodes.iter().all(|node| node.metadata.is_empty()), "{records:?}");
        assert_eq!(records[0].nodes.len(), 2);
        let many = [slice((0..30).map(|n| node(&format!("{n:02}"), None)).collect())];
        for (limit, found) in [(30, 30), (29, 29), (3, 3)] {
            assert_eq!(joined(&many, limit)[0].nodes.len(), found);
        }
    }
}
