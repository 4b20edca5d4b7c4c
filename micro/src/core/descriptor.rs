//! What the macros write down of a service: its endpoints and subscriptions, all `'static`.

use std::time::Duration;

/// How many messages go each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "one or many, each way: there is no fifth kind")]
pub enum CallKind {
    /// One request, one response.
    Unary,
    /// One request, a stream of responses.
    ServerStream,
    /// A stream of requests, one response.
    ClientStream,
    /// A stream each way.
    Bidi,
}

impl CallKind {
    /// Returns whether the request is a stream.
    pub const fn streams_requests(self) -> bool {
        matches!(self, Self::ClientStream | Self::Bidi)
    }

    /// Returns whether the response is a stream.
    pub const fn streams_responses(self) -> bool {
        matches!(self, Self::ServerStream | Self::Bidi)
    }

    /// Returns how the registry names a kind that streams, `None` for [`CallKind::Unary`].
    pub const fn streams(self) -> Option<&'static str> {
        match self {
            Self::Unary => None,
            Self::ServerStream => Some("server-stream"),
            Self::ClientStream => Some("client-stream"),
            Self::Bidi => Some("bidi"),
        }
    }

    /// Returns the kind that the registry names so.
    pub fn parse(name: &str) -> Option<Self> {
        let kinds = [Self::ServerStream, Self::ClientStream, Self::Bidi];
        kinds.into_iter().find(|kind| kind.streams() == Some(name))
    }
}

/// The shape of a message as far as it is known: its name, its type, its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// The name of the field or message.
    pub name: String,
    /// The name of its type.
    pub kind: String,
    /// The shapes of its fields.
    pub values: Vec<Self>,
    /// Its JSON Schema (2020-12), where its type has one; what it refers to stands under `$defs`.
    pub json: Option<serde_json::Value>,
}

/// One endpoint, as its `#[handler]` declares it.
#[derive(Clone, Copy, Debug)]
pub struct EndpointSpec {
    /// The wire name, such as `Greeter.Hello`.
    pub name: &'static str,
    /// How many messages go each way.
    pub kind: CallKind,
    /// Makes the shape of the request.
    pub request: fn() -> Schema,
    /// Makes the shape of the response.
    pub response: fn() -> Schema,
    /// The doc comment.
    pub doc: &'static str,
    /// The first paragraph of the doc comment.
    pub description: &'static str,
    /// An example request in JSON.
    pub example: Option<&'static str>,
    /// Scopes of which the caller needs one; `None` leaves it to the policy of the process.
    pub scopes: Option<&'static [&'static str]>,
    /// Whether anyone may call it.
    pub public: bool,
    /// The deadline of a call that brings none, and the longest one it may bring.
    pub timeout: Option<Duration>,
    /// Whether running it twice is as good as running it once.
    pub idempotent: bool,
    /// Whether it runs to its end when the caller goes away.
    pub detached: bool,
    /// Whether callers should move away from it.
    pub deprecated: bool,
    /// Facts for the registry.
    pub metadata: &'static [(&'static str, &'static str)],
}

/// What happens to messages that a slow subscription has no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Publishers wait, for a limited time.
    #[default]
    Block,
    /// The subscription ends; what waits for it is dropped and counted.
    Disconnect,
    /// The message that has waited longest is dropped and counted.
    DropOldest,
}

/// One subscription, as its `#[subscriber]` declares it.
#[derive(Clone, Copy, Debug)]
pub struct SubscriptionSpec {
    /// The name in the registry, such as `Mailer.OnCreated`.
    pub name: &'static str,
    /// The topic or pattern.
    pub topic: &'static str,
    /// The group of which one member gets each event; `None` means every subscriber does.
    pub queue: Option<&'static str>,
    /// How many events are handled at a time; `0` means the default.
    pub concurrency: usize,
    /// What happens when events come faster than they are handled.
    pub overflow: Overflow,
    /// Whether the handler acknowledges through its `Event`.
    pub manual_ack: bool,
    /// The doc comment.
    pub doc: &'static str,
    /// The first paragraph of the doc comment.
    pub description: &'static str,
    /// Facts for the registry.
    pub metadata: &'static [(&'static str, &'static str)],
}

/// One service, as its `#[service]` declares it.
#[derive(Clone, Copy, Debug)]
pub struct ServiceDescriptor {
    /// The name under which it registers.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The name of the Rust type or contract.
    pub type_name: &'static str,
    /// The doc comment.
    pub doc: &'static str,
    /// What can be called.
    pub endpoints: &'static [EndpointSpec],
    /// What it listens to.
    pub subscriptions: &'static [SubscriptionSpec],
    /// Facts for the registry.
    pub metadata: &'static [(&'static str, &'static str)],
}

impl ServiceDescriptor {
    /// Finds an endpoint by its wire name.
    pub fn endpoint(&self, name: &str) -> Option<&'static EndpointSpec> {
        self.endpoints.iter().find(|e| e.name == name)
    }
}
