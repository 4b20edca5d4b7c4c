//! Nodes as Consul keeps them, in the form of go-micro: what has no place of its own there stands
//! in tags, a letter and a dash before packed JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::core::error::{Error, Result};
use crate::driver::escaped;
use crate::registry::check::{ERROR_ID, RECORD_BYTES_MAX};
use crate::registry::packed;
use crate::registry::record::{Endpoint, Node, Record};

/// Pairs of metadata that Consul takes for a service.
const META_PAIRS_MAX: usize = 64;
/// Bytes of a key of Consul's metadata: letters, digits, `-` and `_`.
const META_KEY_BYTES_MAX: usize = 128;
/// Bytes of a value of Consul's metadata.
const META_VALUE_BYTES_MAX: usize = 512;
/// Consul removes what was critical for this long, at least; it takes no less than a minute.
const REMOVED_AFTER_MIN: Duration = Duration::from_secs(65);
/// The grace above the time to live before a node is removed.
const REMOVED_GRACE: Duration = Duration::from_secs(5);
/// The status of a check that failed.
const CRITICAL: &str = "critical";

/// The body of a registration.
#[derive(Serialize)]
struct Registration<'a> {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Name")]
    name: &'a str,
    #[serde(rename = "Tags")]
    tags: Vec<String>,
    #[serde(rename = "Address")]
    address: &'a str,
    #[serde(rename = "Port")]
    port: u16,
    #[serde(rename = "Meta")]
    meta: BTreeMap<&'a str, &'a str>,
    #[serde(rename = "Check")]
    check: Check,
}

#[derive(Serialize)]
struct Check {
    #[serde(rename = "TTL")]
    ttl: String,
    /// A check begins as critical otherwise, and the node would be away until its next heartbeat.
    #[serde(rename = "Status")]
    status: &'static str,
    #[serde(rename = "DeregisterCriticalServiceAfter")]
    removed_after: String,
}

/// A node in the answer about a service; null stands for what is empty.
#[derive(Deserialize)]
pub(super) struct Entry {
    #[serde(rename = "Node")]
    host: Host,
    #[serde(rename = "Service")]
    service: Service,
    #[serde(rename = "Checks", default)]
    checks: Option<Vec<Status>>,
}

#[derive(Deserialize)]
struct Host {
    #[serde(rename = "Address", default)]
    address: String,
}

/// A service of one agent.
#[derive(Deserialize)]
pub(super) struct Service {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "Service", default)]
    name: String,
    #[serde(rename = "Tags", default)]
    tags: Option<Vec<String>>,
    #[serde(rename = "Address", default)]
    address: String,
    #[serde(rename = "Port", default)]
    port: u16,
    #[serde(rename = "Meta", default)]
    meta: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(rename = "Status", default)]
    status: String,
}

/// A check in the list of all.
#[derive(Deserialize)]
pub(super) struct Found {
    #[serde(rename = "Node", default)]
    host: String,
    #[serde(rename = "ServiceID", default)]
    id: String,
    #[serde(rename = "ServiceName", default)]
    name: String,
    #[serde(rename = "ServiceTags", default)]
    tags: Option<Vec<String>>,
    #[serde(rename = "Status", default)]
    status: String,
    #[serde(rename = "ModifyIndex", default)]
    changed: u64,
}

/// A service as the list of all checks shows it: which of its nodes are well, and as of when.
pub(super) type Shape = Vec<(String, String, bool, u64)>;

/// Returns the id of a node among all services of an agent: a process registers several under one
/// id of its own.
pub(super) fn id(service: &str, node: &str) -> String {
    format!("{}/{node}", escaped(service, ""))
}

/// Returns the body that registers the single node of a record.
pub(super) fn registration(record: &Record, node: &Node, ttl: Duration) -> Result<String> {
    let (address, port) = parts(&node.address);
    let mut tags = Vec::new();
    for (key, value) in &node.metadata {
        tags.push(tag('t', &BTreeMap::from([(key, value)]))?);
    }
    for endpoint in &record.endpoints {
        tags.push(tag('e', endpoint)?);
    }
    // A reader that does not know the letter passes over it, as go-micro does.
    if !record.metadata.is_empty() {
        tags.push(tag('m', &record.metadata)?);
    }
    tags.push(packed_tag('v', record.version.as_bytes()));
    let fits = |key: &str, value: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        !key.is_empty()
            && key.len() <= META_KEY_BYTES_MAX
            && key.chars().all(plain)
            && value.len() <= META_VALUE_BYTES_MAX
    };
    let pairs = node.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let meta = pairs.filter(|(key, value)| fits(key, value)).take(META_PAIRS_MAX).collect();
    let removed_after = ttl.saturating_add(REMOVED_GRACE).max(REMOVED_AFTER_MIN);
    let check = Check { ttl: span(ttl), status: "passing", removed_after: span(removed_after) };
    let id = id(&record.name, &node.id);
    let body = Registration { id, name: &record.name, tags, address, port, meta, check };
    let body = serde_json::to_string(&body).map_err(unwritable)?;
    if body.len() > RECORD_BYTES_MAX {
        let detail = format!("the record of {} has more than {RECORD_BYTES_MAX} bytes", node.id);
        return Err(Error::too_large(ERROR_ID, detail));
    }
    Ok(body)
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::internal(ERROR_ID, "a record cannot be written as JSON").with_source(error)
}

fn tag(letter: char, value: &impl Serialize) -> Result<String> {
    Ok(packed_tag(letter, &serde_json::to_vec(value).map_err(unwritable)?))
}

fn packed_tag(letter: char, text: &[u8]) -> String {
    // What was packed is hex.
    format!("{letter}-{}", String::from_utf8(packed::pack(text)).unwrap_or_default())
}

/// Writes a time as Go reads it.
fn span(time: Duration) -> String {
    match (time.as_secs(), time.subsec_millis()) {
        (seconds, 0) => format!("{}s", seconds.max(1)),
        (..) => format!("{}ms", time.as_millis()),
    }
}

/// Splits `host:port`; other addresses have no port there.
fn parts(address: &str) -> (&str, u16) {
    let split = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match split {
        Some((host, port)) if !address.starts_with("unix:") => {
            (host.trim_start_matches('[').trim_end_matches(']'), port)
        }
        _ => (address, 0),
    }
}

/// Returns what a tag of a letter holds, packed or, as older ones do, plain.
fn content(tag: &str, letter: char) -> Option<Vec<u8>> {
    let rest = tag.strip_prefix(letter)?;
    match rest.strip_prefix('=') {
        Some(plain) => Some(plain.as_bytes().to_vec()),
        None => packed::unpack(rest.strip_prefix('-')?.as_bytes(), RECORD_BYTES_MAX),
    }
}

fn value<T: DeserializeOwned>(tag: &str, letter: char) -> Option<T> {
    serde_json::from_slice(&content(tag, letter)?).ok()
}

impl Service {
    /// Returns whether it is at an address.
    pub(super) fn is_at(&self, address: &str) -> bool {
        (self.address.as_str(), self.port) == parts(address)
    }
}

impl Entry {
    /// Reads the node, if it is well and a service of ours or of go-micro, which have a version.
    pub(super) fn record(&self) -> Option<Record> {
        if self.checks.iter().flatten().any(|check| check.status == CRITICAL) {
            return None;
        }
        let service = &self.service;
        let tags = || service.tags.iter().flatten().map(String::as_str);
        let version = tags().find_map(|tag| content(tag, 'v'))?;
        let mut metadata = service.meta.clone().unwrap_or_default();
        metadata.extend(tags().filter_map(|t| value::<BTreeMap<String, String>>(t, 't')).flatten());
        let host = if service.address.is_empty() { &self.host.address } else { &service.address };
        let address = match service.port {
            0 => host.clone(),
            port if host.contains(':') => format!("[{host}]:{port}"),
            port => format!("{host}:{port}"),
        };
        let prefix = id(&service.name, "");
        let id = service.id.strip_prefix(&prefix).unwrap_or(&service.id).to_owned();
        Some(Record {
            name: service.name.clone(),
            version: String::from_utf8(version).ok()?,
            metadata: tags().find_map(|tag| value(tag, 'm')).unwrap_or_default(),
            endpoints: tags().filter_map(|tag| value::<Endpoint>(tag, 'e')).collect(),
            nodes: vec![Node { id, address, metadata }],
        })
    }
}

/// Sorts all checks by service, those without a version left out; a node is well if no check of it
/// or of its host is critical.
pub(super) fn shapes(checks: &[Found]) -> BTreeMap<&str, Shape> {
    let is_critical = |check: &&Found| check.status == CRITICAL;
    let sick: Vec<_> =
        checks.iter().filter(is_critical).filter(|check| check.id.is_empty()).collect();
    let mut shapes: BTreeMap<&str, Shape> = BTreeMap::new();
    for check in checks.iter().filter(|check| !check.id.is_empty()) {
        let versioned = |tag: &String| tag.starts_with("v-") || tag.starts_with("v=");
        if !check.tags.iter().flatten().any(versioned) {
            continue;
        }
        let sick = sick.iter().any(|host| host.host == check.host);
        let well = check.status != CRITICAL && !sick;
        let shape = (check.host.clone(), check.id.clone(), well, check.changed);
        shapes.entry(&check.name).or_default().push(shape);
    }
    for shape in shapes.values_mut() {
        shape.sort_unstable();
    }
    shapes
}

/// Returns whether any node of a service is well: each of its checks passes.
pub(super) fn is_served(shape: &Shape) -> bool {
    let mut nodes: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for (host, id, well, _) in shape {
        *nodes.entry((host, id)).or_insert(true) &= well;
    }
    nodes.into_values().any(|well| well)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What go-micro registers, its tags packed by zlib itself and, in part, plain as before.
    const GO: &str = r#"{"Node":{"Node":"n1","Address":"10.0.0.9"},"Service":{"ID":"greeter-1",
        "Service":"greeter","Tags":["t={\"protocol\":\"mucp\"}","e={\"name\":\"Greeter.Hello\",\"metadata\":null}",
        "v-789c33d433d033000002ce00ee","other"],"Address":"10.0.0.5","Port":37787,"Meta":{"zone":"a"}},
        "Checks":[{"Status":"passing"}]}"#;

    fn read(json: &str) -> Option<Record> {
        serde_json::from_str::<Entry>(json).unwrap().record()
    }

    #[test]
    fn a_node_of_go_micro_is_read() {
        let record = read(GO).unwrap();
        assert_eq!((record.name.as_str(), record.version.as_str()), ("greeter", "1.0.0"));
        assert_eq!(record.endpoints[0].name, "Greeter.Hello");
        let node = &record.nodes[0];
        assert_eq!((node.id.as_str(), node.address.as_str()), ("greeter-1", "10.0.0.5:37787"));
        assert_eq!(node.metadata["protocol"], "mucp");
        assert_eq!(node.metadata["zone"], "a");
        let bare = GO.replace("\"10.0.0.5\"", "\"\"");
        assert_eq!(read(&bare).unwrap().nodes[0].address, "10.0.0.9:37787");
    }

    #[test]
    fn nodes_that_are_critical_or_have_no_version_are_passed_over() {
        assert!(read(&GO.replace("passing", "critical")).is_none());
        assert!(read(&GO.replace("passing", "warning")).is_some());
        assert!(read(&GO.replace("v-789c33d433d033000002ce00ee", "x")).is_none());
        assert!(read(&GO.replace("v-789c33d433d033000002ce00ee", "v-00")).is_none());
        assert!(read(&GO.replace("v-789c33d433d033000002ce00ee", "v=2")).is_some());
    }

    #[test]
    fn what_is_registered_has_the_form_of_go_micro() {
        let node = Node {
            id: "greeter-1".into(),
            address: "10.0.0.5:37787".into(),
            metadata: [("protocol".into(), "mucp".into()), ("a.b".into(), "c".into())].into(),
        };
        let record = Record {
            name: "greeter".into(),
            version: "1.0.0".into(),
            nodes: vec![node.clone()],
            ..Record::default()
        };
        let body = registration(&record, &node, Duration::from_secs(15)).unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["ID"], "greeter/greeter-1");
        assert_eq!(
            (body["Address"].as_str(), body["Port"].as_u64()),
            (Some("10.0.0.5"), Some(37787))
        );
        assert_eq!(body["Meta"], serde_json::json!({"protocol": "mucp"}), "Consul takes no dots");
        let check = serde_json::json!({
            "TTL": "15s", "Status": "passing", "DeregisterCriticalServiceAfter": "65s",
        });
        assert_eq!(body["Check"], check);
        let tags: Vec<&str> =
            body["Tags"].as_array().unwrap().iter().flat_map(|t| t.as_str()).collect();
        assert!(tags.iter().all(|tag| tag[2..].starts_with("789c")), "{tags:?}");
        assert_eq!(content(tags[0], 't').unwrap(), br#"{"a.b":"c"}"#);
        assert_eq!(content(tags[2], 'v').unwrap(), b"1.0.0");
    }

    #[test]
    fn addresses_are_split_and_joined() {
        for (address, host, port) in [
            ("10.0.0.5:80", "10.0.0.5", 80),
            ("[::1]:80", "::1", 80),
            ("unix:/run/a.sock", "unix:/run/a.sock", 0),
            ("memory:a", "memory:a", 0),
        ] {
            assert_eq!(parts(address), (host, port));
        }
        assert_eq!(span(Duration::from_millis(800)), "800ms");
        assert_eq!(span(Duration::from_millis(1500)), "1500ms");
    }

    #[test]
    fn ids_of_two_services_never_meet() {
        assert_ne!(id("a/b", "c"), id("a", "b/c"));
        assert_ne!(id("a%2Fb", "c"), id("a/b", "c"));
    }
}
