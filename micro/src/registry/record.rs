//! The record of a service in go-micro's JSON, and the flat view of it that selection reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

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
    pub request: Option<Value>,
    /// The shape of the response.
    pub response: Option<Value>,
    /// Facts such as `stream`, `description` and `scopes`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub metadata: BTreeMap<String, String>,
}

/// The shape of a message: a name, a type, and the shapes of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// The name of the field or message.
    pub name: String,
    /// The name of its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The shapes of its fields.
    #[serde(default, deserialize_with = "null_as_default")]
    pub values: Vec<Value>,
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The value of the node metadata key `state` while a node finishes its work before it stops.
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
                draining: node.metadata.get("state").is_some_and(|s| s == STATE_DRAINING),
            })
        };
        self.nodes.iter().map(instance).collect()
    }
}
