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
//! 1. `POST /{service}/{Type.Method}`, looked up exactly, body by `Content-Type`; for an endpoint that
//!    is declared idempotent also `GET` and `HEAD`, the fields of the request as a query;
//! 2. `GET /healthz` (the process lives) and `GET /readyz` (it takes work), both to the end of a stop;
//! 3. `POST /?id=<node>`: an event for a subscription of a broker that is reached this way;
//! 4. calls of go-micro's clients, with the feature `mucp`: headers such as `Micro-Endpoint` at `/`, or
//!    at any path where the user has no routes, and go-micro's envelopes at `POST /`;
//! 5. the user's own `axum::Router`;
//! 6. `POST /rpc`: JSON-RPC 2.0;
//! 7. `GET /metrics` (the numbers of the process, for Prometheus), for local callers and for those
//!    with an account, and `GET /openapi.json` (what is served, as OpenAPI 3.1), where strangers see
//!    what is public;
//! 8. a JSON 404 that lists what exists.
//!
//! **Bodies.** A missing `Content-Type`, and the one that `curl -d` sends by itself, mean JSON. The
//! response comes in the format of the request unless `Accept` names another one that there is. With
//! the feature `compression` requests may come in `gzip` and `deflate`, within limits of what they
//! become, and responses of a kilobyte or more are compressed for those who ask.
//!
//! **Queries.** `?text=a&page=2&tags=x&tags=y`: the type of a field says what its text means; a list
//! takes a parameter as often as it is given, a field with fields of its own is JSON, an option whose
//! parameter is empty is none. Responses are JSON unless `Accept` says otherwise.
//!
//! **Streams.** Requests stream as one JSON value a line, or as MessagePack values in a row; responses
//! so too (`application/x-ndjson`, `application/msgpack`), or as server-sent events when `Accept`
//! asks for `text/event-stream` (`data`, then one `end` or `error` event). A stream that fails ends
//! with the line `{"error": ..}`, in MessagePack with an extension value of type 101 that holds that
//! error as JSON. Streams both ways at once need HTTP/2 or WebSocket.
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
//! loopback. [`Cors`] says which pages may call, and what they may send and see.
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
//! # WebSocket
//!
//! With the feature `ws`, a WebSocket (over HTTP/1.1) to `/{service}/{Type.Method}` is one call of
//! any kind. The headers of its handshake are those of the call.
//!
//! **Messages.** Each message is one request or one response: in text messages as JSON, or in binary
//! messages by a subprotocol such as `micro.msgpack`, which names the codec of
//! `application/msgpack`. No message is longer than the limit; compression is not offered.
//!
//! **Ends.** An *empty text message* ends the requests; a call with a single request needs none. The
//! server closes with 1000 after its last response. An error is a last text message,
//! `{"error": ..}` with go-micro's JSON, and the close code 4000 + its HTTP status, such as 4404,
//! with its detail as the reason. A caller that closes gives up its call. 1001 says that the server
//! stops or that the connection is too old; 1002, 1003, 1007 and 1009 are the standard's.
//!
//! **Browsers** cannot set headers. They send a token as a subprotocol beside the one they want,
//! `new WebSocket(url, ["micro.json", "micro.bearer." + token])`; it is treated as the header would
//! be, and is not said again. Origins are checked as for every request.
//!
//! **Silence.** A peer that says nothing for the keep-alive interval is sent a ping and has to
//! answer, be it by anything, in time. A message that drips in ends the connection as well. One that
//! does not read is waited for: its producer is held
//! back, and a write without progress ends the connection.
//!
//! A WebSocket to `/` by the subprotocol `micro.native` carries the native protocol, which is what
//! [`transport::WebSocket`](crate::transport) dials.
//!
//! # JSON-RPC 2.0
//!
//! `POST /rpc`, and each text message of a WebSocket to `/rpc`, is a document of JSON-RPC: a request,
//! a notification, or a batch of at most 100, of which 16 run at a time. A WebSocket answers up to 16
//! documents at a time, in the order in which they are done.
//!
//! A method is `service.Type.Method`, or `Type.Method` where one service alone has it. `params` by
//! name is the request; by position, `[request]`, or the fields of the request in their order where
//! there are none or several. Endpoints that stream are refused. Each request is admitted, limited and
//! counted as a call by itself. Notifications are answered by nothing: a 204.
//!
//! | code | |
//! |---|---|
//! | -32700, -32600 | no JSON; no request |
//! | -32601 | no such endpoint |
//! | -32602 | the request is not one of the endpoint |
//! | -32603 | the handler failed with a 500 |
//! | -32000 | any other error |
//!
//! `data` is go-micro's JSON of the error.
//!
//! # Other protocols
//!
//! [`Builder::protocol`] adds a [`Protocol`] that this crate does not know. It is recognised by its
//! first bytes and dispatches to the same handlers.
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
mod loopback;
mod policy;
mod protocol;
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
pub use self::http::{Cors, HttpNext};
pub use self::layer::{Next, Request};
pub(crate) use self::loopback::Loopback;
pub use self::policy::{Access, Policy};
pub use self::protocol::{Accepted, FIRST_BYTES_MAX, Protocol, Pulse, Recognised, Wire};
pub use self::router::Router;
pub use self::serve::{Endpoint, Incoming, IntoError, Serve, Shared};
pub use self::subscription::{Subscribed, Subscriber, Subscription, Surroundings};

/// Glue that macro output names.
pub mod glue {
    pub use super::serve::{decode, inbound, respond, respond_stream};
    pub use super::subscription::{acked, envelope, event};
}
