//! HTTP/1.1 and HTTP/2 on the one port.
//!
//! A request is served by the first of these that applies:
//!
//! 1. `POST /{service}/{Type.Method}`, looked up exactly, body by `Content-Type`;
//! 2. `GET /healthz` (the process lives) and `GET /readyz` (it takes work);
//! 3. the user's own `axum::Router`;
//! 4. a JSON 404 that lists what exists.
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
//! HTTP, browsers and proxies (see `head.rs`): they never leak into metadata.
//!
//! **Browsers.** A page of another origin, a host name that is not this server's, or
//! `Sec-Fetch-Site: cross-site` get 403 unless allowed, so that no web page calls a service on
//! loopback.
//!
//! A client that disconnects drops its handler, unless the endpoint is `detached`.

mod accept;
mod baggage;
mod body;
mod browser;
mod call;
mod connection;
mod face;
mod head;
mod layer;
mod lines;
mod paced;
mod pump;
mod reply;

pub use self::layer::HttpNext;

pub(super) use self::browser::Browser;
pub(super) use self::face::{Face, Peer, Ready, Site, marked};
pub(super) use self::layer::Wrap;
