//! The record of a service in go-micro's JSON, and the flat view of it that selection reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::core::error::Result;
use crate::core::net::Address;

/// A service as the registry keeps it: name, version, endpoints and the nodes that serve them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The name of the service, such as `greeter`.
    pub name: String,
    /// The version of the service.
    #[serde(default)]
    pub version: String,
    /// Facts about the service.
    #[serde(default, deserialize_with = "null_as_default")]
    pub metadata: BTreeMap<String, String>,
    /// What can be called or is subscribed to.
    #[serde(default, deserialize_with = "null_as_default")]
    pub endpoints: Vec<Endpoint>,
    /// Where it runs.
    #[serde(default, deserialize_with = "null_as_default")]
    pub nodes: Vec<Node>,
}

/// One process that serves a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Unique among the nodes of the service.
    pub id: String,
    /// `host:port`, or `unix:/path`.
    pub address: String,
    /// Facts about the node, such as `protocol`, `zone` and `state`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub metadata: BTreeMap<String, String>,
}

/// One endpoint of a record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The wire name, such as `Greeter.Hello`.
    pub name: String,
    /// The shape of the request.
    #[serde(default)]
    pub request: Option<Value>,
    /// The shape of the response.
    #[serde(default)]
    pub response: Option<Value>,
    /// Facts such as `stream`, `description` and `scopes`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub metadata: BTreeMap<String, String>,
}

/// The shape of a message: a name, a type, and the shapes of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// The name of the field or message.
    #[serde(default)]
    pub name: String,
    /// The name of its type.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// The shapes of its fields.
    #[serde(default, deserialize_with = "null_as_default")]
    pub values: Vec<Self>,
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The node metadata key that says in which state a node is; absent while it serves.
pub(crate) const STATE: &str = "state";

/// The value of the node metadata key [`STATE`] while a node finishes its work before it stops.
pub(crate) const STATE_DRAINING: &str = "draining";

/// One node of a service as selection sees it; immutable and shared.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// The id of the node.
    pub id: String,
    /// The name of the service.
    pub service: Arc<str>,
    /// The version of the service this node runs.
    pub version: Arc<str>,
    /// `host:port`, or `unix:/path`.
    pub address: String,
    /// Facts about the node.
    pub metadata: BTreeMap<String, String>,
    /// What this node serves, shared by the nodes of one version.
    pub endpoints: Arc<[Endpoint]>,
    /// Whether the node asked not to be chosen for new calls.
    pub draining: bool,
}

/// The nodes of a service at one moment; immutable and shared.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The name of the service.
    pub service: Arc<str>,
    /// Grows with each change; `0` before the first answer of the registry.
    pub revision: u64,
    /// All nodes, sorted by id, draining ones included.
    pub instances: Arc<[Arc<Instance>]>,
}

impl Instance {
    /// Returns the address as clients dial it.
    ///
    /// Nodes of this framework speak everything at their address. Those of others say by
    /// `protocol` and `transport` in their metadata what they speak: `grpc` is dialed as
    /// `grpc://..`, `http` as `http://..`, and go-micro's `mucp` over `http` as `mucp://..`.
    ///
    /// # Errors
    /// 400 when the address cannot be read.
    pub fn dialed(&self) -> Result<Address> {
        let address = self.address.parse()?;
        let fact = |key: &str| self.metadata.get(key).map(String::as_str);
        let scheme = match (fact("server"), fact("protocol"), fact("transport")) {
            (Some("micro"), ..) => return Ok(address),
            (_, Some("grpc"), _) => "grpc",
            (_, Some("http"), _) => "http",
            (_, Some("mucp"), Some("http")) => "mucp",
            _ => return Ok(address),
        };
        match address {
            Address::Scheme { .. } => Ok(address),
            plain => Ok(Address::Scheme { scheme: scheme.to_owned(), rest: plain.to_string() }),
        }
    }
}

impl Snapshot {
    /// Returns the snapshot of a service of which nothing is known yet: no nodes, revision 0.
    pub fn empty(service: &str) -> Self {
        Self { service: service.into(), revision: 0, instances: Arc::from([]) }
    }

    /// Returns whether the service has no nodes.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }
}

impl Record {
    /// Returns the nodes of this record, each joined with what the record says of all of them.
    pub fn instances(&self) -> Vec<Arc<Instance>> {
        let service: Arc<str> = self.name.as_str().into();
        let version: Arc<str> = self.version.as_str().into();
        let endpoints: Arc<[Endpoint]> = self.endpoints.clone().into();
        let instance = |node: &Node| {
            Arc::new(Instance {
                id: node.id.clone(),
                service: Arc::clone(&service),
                version: Arc::clone(&version),
                address: node.address.clone(),
                metadata: node.metadata.clone(),
                endpoints: Arc::clone(&endpoints),
                draining: node.metadata.get(STATE).is_some_and(|s| s == STATE_DRAINING),
            })
        };
        self.nodes.iter().map(instance).collect()
    }

    /// Returns the records of the single nodes of this record.
    pub fn split(&self) -> impl Iterator<Item = Self> + '_ {
        self.nodes.iter().map(|node| Self {
            name: self.name.clone(),
            version: self.version.clone(),
            metadata: self.metadata.clone(),
            endpoints: self.endpoints.clone(),
            nodes: vec![node.clone()],
        })
    }

    /// Joins records of nodes that have service, version, metadata and endpoints in common.
    ///
    /// The result is sorted by name and version, its nodes by id. Nodes of one version that differ
    /// in the rest, as during a rolling restart, stay in separate records, so that none is said to
    /// serve what it does not.
    pub fn merge(records: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut records: Vec<Self> = records.into_iter().collect();
        records.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        let mut merged: Vec<Self> = Vec::new();
        for mut record in records {
            let same_version = |m: &&mut Self| m.name == record.name && m.version == record.version;
            let twin = merged
                .iter_mut()
                .rev()
                .take_while(same_version)
                .find(|m| m.metadata == record.metadata && m.endpoints == record.endpoints);
            match twin {
                Some(twin) => twin.nodes.append(&mut record.nodes),
                None => merged.push(record),
            }
        }
        for record in &mut merged {
            record.nodes.sort_by(|a, b| a.id.cmp(&b.id));
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(version: &str, node: &str) -> Record {
        Record {
            name: "greeter".into(),
            version: version.into(),
            nodes: vec![Node { id: node.into(), address: "10.0.0.5:1".into(), ..Node::default() }],
            ..Record::default()
        }
    }

    #[test]
    fn the_json_is_go_micros() {
        let json = r#"{"name":"greeter","version":"1.0.0","metadata":{},"endpoints":[{"name":"Greeter.Hello","request":{"name":"Req","type":"Req","values":[{"name":"name","type":"string","values":null}]},"response":null,"metadata":{"stream":"true"}}],"nodes":[{"metadata":{"protocol":"mucp"},"id":"greeter-1","address":"10.0.0.5:37787"}]}"#;
        let record: Record = serde_json::from_str(json).unwrap();
        let values = &record.endpoints[0].request.as_ref().unwrap().values;
        assert_eq!(values[0].kind, "string");
        let again = serde_json::to_string(&record).unwrap();
        assert!(again.contains(r#""request":{"name":"Req","type":"Req","values":[{"name":"name","type":"string","values":[]}]}"#));
        assert_eq!(serde_json::from_str::<Record>(&again).unwrap(), record);
    }

    #[test]
    fn a_record_of_go_micro_is_read_in_either_order_and_written_in_the_first() {
        let first = r#"{"name":"greeter","version":"1.0.0","metadata":{},"endpoints":[{"name":"Greeter.Count","request":{"name":"Context","type":"Context","values":[]},"response":{"name":"Stream","type":"Stream","values":[]},"metadata":{"stream":"true"}}],"nodes":[{"id":"greeter-1","address":"127.0.0.1:35459","metadata":{"broker":"http","protocol":"mucp","registry":"memory","server":"mucp","transport":"http"}}]}"#;
        let later = r#"{"name":"greeter","version":"1.0.0","metadata":null,"endpoints":[{"request":{"name":"Context","type":"Context","values":null},"response":{"name":"Stream","type":"Stream","values":null},"metadata":{"stream":"true"},"name":"Greeter.Count"}],"nodes":[{"metadata":{"broker":"http","protocol":"mucp","registry":"memory","server":"mucp","transport":"http"},"id":"greeter-1","address":"127.0.0.1:35459"}]}"#;
        let record: Record = serde_json::from_str(first).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), first);
        assert_eq!(serde_json::from_str::<Record>(later).unwrap(), record);
        let dialed = record.instances()[0].dialed().unwrap();
        assert_eq!(dialed.to_string(), "mucp://127.0.0.1:35459");
    }

    #[test]
    fn nulls_stand_for_empty() {
        let json = r#"{"name":"a","version":"","metadata":null,"endpoints":null,"nodes":null}"#;
        let record: Record = serde_json::from_str(json).unwrap();
        assert_eq!(record, Record { name: "a".into(), ..Record::default() });
    }

    #[test]
    fn nodes_merge_by_version_and_split_again() {
        let all = [record("2", "c"), record("1", "b"), record("1", "a")];
        let merged = Record::merge(all.clone());
        assert_eq!(merged.len(), 2);
        assert_eq!(merged[0].nodes.iter().map(|n| n.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let split: Vec<Record> = merged.iter().flat_map(Record::split).collect();
        assert_eq!(split.len(), 3);
        assert!(all.iter().all(|r| split.contains(r)));
    }

    #[test]
    fn nodes_of_one_version_with_other_endpoints_stay_apart() {
        let mut newer = record("1", "b");
        newer.endpoints.push(Endpoint { name: "Greeter.Bye".into(), ..Endpoint::default() });
        assert_eq!(Record::merge([record("1", "a"), newer]).len(), 2);
    }

    #[test]
    fn a_draining_node_is_marked() {
        let mut leaving = record("1", "a");
        leaving.nodes[0].metadata.insert(STATE.into(), STATE_DRAINING.into());
        assert!(leaving.instances()[0].draining);
        assert!(!record("1", "a").instances()[0].draining);
    }

    #[test]
    fn nodes_of_other_frameworks_are_dialed_by_what_they_speak() {
        for (facts, expected) in [
            (&[][..], "10.0.0.5:80"),
            (&[("protocol", "mucp"), ("server", "micro"), ("transport", "http")], "10.0.0.5:80"),
            (
                &[("protocol", "mucp"), ("server", "mucp"), ("transport", "http")],
                "mucp://10.0.0.5:80",
            ),
            (&[("protocol", "grpc"), ("transport", "grpc")], "grpc://10.0.0.5:80"),
            (&[("protocol", "http")], "http://10.0.0.5:80"),
            (&[("protocol", "mucp")], "10.0.0.5:80"),
        ] {
            let metadata = facts.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let node = Node { id: "a".into(), address: "10.0.0.5:80".into(), metadata };
            let record = Record { name: "shop".into(), nodes: vec![node], ..Record::default() };
            let dialed = record.instances()[0].dialed().unwrap();
            assert_eq!(dialed.to_string(), expected, "{facts:?}");
        }
    }
}
