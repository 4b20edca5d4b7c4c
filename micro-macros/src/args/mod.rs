//! The grammar of attribute arguments, read one comma-separated piece at a time so that one bad
//! argument hides no other.

mod pieces;
mod values;

use crate::errors::Errors;
use crate::errors::Id;
use pieces::read;
use proc_macro2::Ident;
use proc_macro2::TokenStream;
use std::time::Duration;
use syn::LitStr;
use syn::Path;

pub(crate) use pieces::pieces;
pub(crate) use pieces::split;

const SERVICE: &[&str] =
    &["name", "version", "scope", "public", "timeout", "metadata", "client", "crate"];
const HANDLER: &[&str] =
    &["name", "scope", "public", "timeout", "idempotent", "detached", "metadata"];
const SUBSCRIBER: &[&str] = &["topic", "queue", "concurrency", "overflow", "ack"];
const FREE_SUBSCRIBER: &[&str] = &["topic", "queue", "concurrency", "overflow", "ack", "crate"];
const WIRE: &[&str] = &["config", "default"];

/// Who may call: nothing said, everybody, or holders of one of the scopes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum Access {
    #[default]
    Unsaid,
    Public,
    Scopes(Vec<String>),
}

/// Whether a client is generated, and under which name.
#[derive(Debug, Default)]
pub(crate) enum ClientChoice {
    #[default]
    Derived,
    Named(Ident),
    Absent,
}

/// Arguments of `#[service]`.
#[derive(Debug, Default)]
pub(crate) struct ServiceArgs {
    pub(crate) krate: Option<Path>,
    pub(crate) name: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) access: Access,
    pub(crate) timeout: Option<Duration>,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) client: ClientChoice,
}

/// Arguments of `#[handler]`.
#[derive(Debug, Default)]
pub(crate) struct HandlerArgs {
    pub(crate) name: Option<LitStr>,
    pub(crate) access: Access,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idempotent: bool,
    pub(crate) detached: bool,
    pub(crate) metadata: Vec<(String, String)>,
}

/// Where events come from.
#[derive(Debug, Clone)]
pub(crate) enum TopicSource {
    Name(LitStr),
    Constant(Path),
}

/// What happens when events come faster than they are handled.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overflow {
    #[default]
    Block,
    Disconnect,
    DropOldest,
}

impl Overflow {
    /// Names the variant of the runtime.
    pub(crate) fn variant(self) -> &'static str {
        match self {
            Self::Block => "Block",
            Self::Disconnect => "Disconnect",
            Self::DropOldest => "DropOldest",
        }
    }
}

/// Arguments of `#[subscriber]`.
#[derive(Debug, Default)]
pub(crate) struct SubscriberArgs {
    pub(crate) krate: Option<Path>,
    /// Whether the key was written, be its value sound or not.
    pub(crate) topic_given: bool,
    pub(crate) topic: Option<TopicSource>,
    pub(crate) queue: Option<String>,
    /// Zero when unsaid.
    pub(crate) concurrency: u32,
    pub(crate) overflow: Overflow,
    /// The word `manual`, when the handler acknowledges by itself.
    pub(crate) manual_ack: Option<Ident>,
}

/// Arguments of `#[wire]` on a field.
#[derive(Debug, Default)]
pub(crate) enum WireArgs {
    #[default]
    Service,
    Config(String),
    Default,
}

/// Reads the arguments of `#[service]` on an `impl` or a `trait`.
pub(crate) fn service(tokens: TokenStream, errors: &mut Errors) -> ServiceArgs {
    let mut out = ServiceArgs::default();
    for arg in read(tokens, SERVICE, errors) {
        match arg.key.to_string().as_str() {
            "name" => out.name = arg.name("service", errors).map(|name| name.value()),
            "version" => out.version = arg.version(errors),
            "timeout" => out.timeout = arg.duration(errors),
            "metadata" => out.metadata = arg.metadata(errors),
            "client" => out.client = arg.client(errors),
            "crate" => out.krate = arg.krate(errors),
            _ => arg.access(&mut out.access, errors),
        }
    }
    out
}

/// Reads the arguments of `#[handler]`.
pub(crate) fn handler(tokens: TokenStream, errors: &mut Errors) -> HandlerArgs {
    let mut out = HandlerArgs::default();
    for arg in read(tokens, HANDLER, errors) {
        match arg.key.to_string().as_str() {
            "name" => out.name = arg.name("endpoint", errors),
            "timeout" => out.timeout = arg.duration(errors),
            "idempotent" => out.idempotent = arg.flag(errors),
            "detached" => out.detached = arg.flag(errors),
            "metadata" => out.metadata = arg.metadata(errors),
            _ => arg.access(&mut out.access, errors),
        }
    }
    out
}

/// Reads the arguments of `#[subscriber]`; only a free function may name the crate itself.
pub(crate) fn subscriber(tokens: TokenStream, free: bool, errors: &mut Errors) -> SubscriberArgs {
    let mut out = SubscriberArgs::default();
    for arg in read(tokens, if free { FREE_SUBSCRIBER } else { SUBSCRIBER }, errors) {
        match arg.key.to_string().as_str() {
            "topic" => {
                out.topic_given = true;
                out.topic = arg.topic(errors);
            }
            "queue" => out.queue = arg.name("queue", errors).map(|name| name.value()),
            "concurrency" => out.concurrency = arg.concurrency(errors),
            "overflow" => out.overflow = arg.overflow(errors),
            "crate" => out.krate = arg.krate(errors),
            _ => out.manual_ack = arg.manual_ack(errors),
        }
    }
    out
}

/// Reads the arguments of `#[wire]`.
pub(crate) fn wire(tokens: TokenStream, errors: &mut Errors) -> WireArgs {
    let mut out = WireArgs::Service;
    for arg in read(tokens, WIRE, errors) {
        if !matches!(out, WireArgs::Service) {
            errors.push(Id::D32, &arg.key, "`config` and `default` contradict each other");
            continue;
        }
        if arg.key == "default" {
            arg.flag(errors);
            out = WireArgs::Default;
        } else {
            let wanted = "`config` takes the path of a section such as \"smtp\"";
            out =
                WireArgs::Config(arg.string(wanted, errors).map(|s| s.value()).unwrap_or_default());
        }
    }
    out
}
