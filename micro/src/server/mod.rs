//! Serves what is mounted: one port for every protocol, one router behind it.
//!
//! [`Builder`] takes services and makes a [`Server`]; [`Server::listen`] binds a port. Whatever a
//! connection speaks, its calls meet the same rules in the same order: policy, limits, layers,
//! then the handler. Without layers and policy a call costs its context and one box.
//!
//! # Who may call
//!
//! With no configuration a caller on another host gets 401 for everything that is not `public`,
//! while loopback, Unix sockets and memory are open: who runs code on the machine reaches the
//! process anyway. A reverse proxy or tunnel on the machine makes its callers local ones.
//! [`Builder::open_to_network`] and [`Builder::policy`] change that.
//!
//! Scopes bind callers who have an account. While no [`Policy`] is installed nobody has one: a
//! handler with scopes then refuses callers from other hosts, even on an open server, and serves
//! local ones. [`Guard`] is the policy of accounts, tokens and rules.
//!
//! Every call is admitted by itself, before its body is read. A stream is admitted again every
//! thirty seconds while it lasts, and ends with the refusal.
//!
//! # HTTP
//!
//! A request is served by the first of these that applies:
//!
//! 1. `POST /{service}/{Type.Method}`, looked up exactly, body by `Content-Type`;
//! 2. `GET /healthz` (the process lives) and `GET /readyz` (it takes work), both to the end of a stop;
//! 3. `POST /?id=<node>`: an event for a subscription of a broker that is reached this way;
//! 4. the user's own `axum::Router`;
//! 5. `GET /metrics` (the numbers of the process, for Prometheus), for local callers and for those
//!    with an account;
//! 6. a JSON 404 that lists what exists.
//!
//! **Bodies.** A missing `Content-Type`, and the one that `curl -d` sends by itself, mean JSON. The
//! response comes in the format of the request unless `Accept` names another one that there is.
//!
//! **Streams.** Requests stream as one JSON value a line; responses as one JSON value a line
//! (`application/x-ndjson`), as server-sent events when `Accept` asks for `text/event-stream`
//! (`data`, then one `end` or `error` event), or as MessagePack values in a row. A stream that
//! fails ends with the line `{"error": ..}`. Streams both ways at once need HTTP/2.
//!
//! **Errors** are go-micro's JSON with the status of their code, whatever the format of the call.
//! `micro-retry: safe` says that no handler saw the request.
//!
//! **Headers.** `timeout` is the time the caller waits: nanoseconds as go-micro writes them, or a
//! number with a unit (`500ms`, `2s`). `traceparent` and `baggage` are W3C's; baggage becomes
//! persistent metadata, from other hosts only for authenticated callers. `authorization` is seen by
//! the policy alone. Every other header becomes metadata of the call, except those that belong to
//! HTTP, browsers and proxies: they never leak into metadata.
//!
//! **Browsers.** A page of another origin, a host name that is not this server's, or
//! `Sec-Fetch-Site: cross-site` get 403 unless allowed, so that no web page calls a service on
//! loopback.
//!
//! **gRPC** (feature `grpc`). A request over HTTP/2 whose content type is `application/grpc`, or that
//! with a codec behind a `+`, is a call before it is anything else of these. `/{service}.{Type}/{Method}`
//! is looked up exactly; where what stands before the last dot is no mounted service it is passed over,
//! and `{Type}/{Method}` has to be one service's alone. A response is compressed for those who compress.
//! `grpc-message` is the detail of the error, and the first of the details go-micro's `errors.Error`.
//! Trailers `micro-retry: safe` and `grpc-retry-pushback-ms` are what HTTP has headers for. A caller's
//! deadline bounds its stream of responses, too. `grpc.health.v1` answers what `/readyz` does, by
//! services as well; reflection is there once `Builder::descriptors` gave it something.
//!
//! A client that disconnects drops its handler, unless the endpoint is `detached` or the server is
//! by its [`Cancellation`].
//!
//! # Limits
//!
//! Those of [`Limits`](crate::core::limits::Limits) hold for every protocol. A call past the
//! process's limit waits for a slot (then 503) in a queue as long as the limit (then 429); both are
//! safe to retry. A stream of requests without a deadline of its own may last as long as the longest
//! one that is accepted; once a stream of responses has begun no deadline bounds it.

mod builder;
mod cancellation;
mod gate;
#[cfg(feature = "grpc")]
mod grpc;
mod guard;
mod handle;
mod http;
mod inbox;
mod layer;
mod listen;
mod policy;
mod recheck;
mod roster;
mod router;
#[cfg(feature = "tls")]
mod secret;
mod serve;
mod sniff;
mod stream;
mod subscription;
mod table;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use self::builder::Builder;
pub use self::cancellation::Cancellation;
pub use self::guard::Guard;
pub use self::handle::Server;
pub use self::http::HttpNext;
pub use self::layer::{Next, Request};
pub use self::policy::{Access, Policy};
pub use self::router::Router;
pub use self::serve::{Endpoint, Incoming, IntoError, Serve, Shared};
pub use self::subscription::{Subscribed, Subscriber, Subscription, Surroundings};

/// Glue that macro output names.
pub mod glue {
    pub use super::serve::{decode, inbound, respond, respond_stream};
    pub use super::subscription::{acked, envelope, event};
}
