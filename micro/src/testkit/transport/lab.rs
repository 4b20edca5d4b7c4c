//! A node whose endpoints show one behaviour each.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::watch;

use crate::core::clock;
use crate::core::context::{Context, Parts};
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Dispatch, Inbound, Outgoing, Running, Target};
use crate::core::metadata::Metadata;
use crate::core::stream::Streaming;
use crate::testkit::transport::sources::{self, Alive, Progress};

/// The service that a lab is.
pub(super) const SERVICE: &str = "lab";

/// The endpoints, each by what it shows.
pub(super) const ENDPOINTS: [(&str, CallKind); 17] = [
    ("Lab.Echo", CallKind::Unary),
    ("Lab.Later", CallKind::Unary),
    ("Lab.Gate", CallKind::Unary),
    ("Lab.Describe", CallKind::Unary),
    ("Lab.Fail", CallKind::Unary),
    ("Lab.Panic", CallKind::Unary),
    ("Lab.Refuse", CallKind::Unary),
    ("Lab.Long", CallKind::Unary),
    ("Lab.Count", CallKind::ServerStream),
    ("Lab.Flood", CallKind::ServerStream),
    ("Lab.Breaks", CallKind::ServerStream),
    ("Lab.Denies", CallKind::ServerStream),
    ("Lab.Grows", CallKind::ServerStream),
    ("Lab.Sum", CallKind::ClientStream),
    ("Lab.Hold", CallKind::ClientStream),
    ("Lab.First", CallKind::ClientStream),
    ("Lab.Mirror", CallKind::Bidi),
];

/// How long a call waits that is answered later.
const LATER: Duration = Duration::from_millis(20);

/// The pause that a refusal asks for.
pub(super) const PAUSE: Duration = Duration::from_secs(2);

/// What the endpoints have seen.
pub(super) struct Lab {
    /// Handlers that were called.
    called: AtomicUsize,
    /// Handlers that were not dropped.
    alive: Arc<AtomicUsize>,
    /// Streams of requests that were read to a clean end.
    pub(super) ended: Arc<AtomicUsize>,
    /// The floods.
    pub(super) flood: Progress,
    /// Lets the calls go that wait at the gate.
    gate: watch::Sender<bool>,
}

impl Lab {
    pub(super) fn new() -> Self {
        Self {
            called: AtomicUsize::new(0),
            alive: Arc::default(),
            ended: Arc::default(),
            flood: Progress::default(),
            gate: watch::Sender::new(false),
        }
    }

    /// Returns how many handlers were called.
    pub(super) fn called(&self) -> usize {
        self.called.load(Ordering::SeqCst)
    }

    /// Returns how many handlers run.
    pub(super) fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }

    /// Answers the calls that wait at the gate, those to come included.
    pub(super) fn open_gate(&self) {
        self.gate.send_replace(true);
    }
}

impl fmt::Debug for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lab")
    }
}

impl Dispatch for Lab {
    fn resolve(&self, service: &str, endpoint: &str) -> Result<Target> {
        let known = ENDPOINTS.iter().zip(0..).filter(|_| service == SERVICE);
        let found = known.into_iter().find(|((name, _), _)| *name == endpoint);
        let unknown = || Error::not_found(SERVICE, format!("there is no {service} {endpoint}"));
        found.map(|((_, kind), index)| Target::new(index, *kind)).ok_or_else(unknown)
    }

    fn dispatch(&self, call: Inbound) -> Result<Running> {
        let index = usize::try_from(call.target.index).unwrap_or(usize::MAX);
        let Some((endpoint, _)) = ENDPOINTS.get(index) else {
            return Err(Error::internal(SERVICE, "a target that was never resolved"));
        };
        if *endpoint == "Lab.Refuse" {
            let busy = Error::too_many_requests(SERVICE, "busy").with_retry_after(PAUSE);
            return Err(busy.with_retry(Retry::Safe));
        }
        self.called.fetch_add(1, Ordering::SeqCst);
        let alive = Alive::new(&self.alive);
        let seen = Seen {
            ended: Arc::clone(&self.ended),
            flood: self.flood.clone(),
            gate: self.gate.subscribe(),
        };
        let context = Context::from_parts(Parts { deadline: call.deadline, ..Parts::default() });
        let handler = async move {
            let _alive = alive;
            handle(endpoint, call, seen).await
        };
        Ok(Running::new(context, Box::pin(handler)))
    }
}

/// What a handler tells the lab and waits for.
struct Seen {
    ended: Arc<AtomicUsize>,
    flood: Progress,
    gate: watch::Receiver<bool>,
}

async fn handle(endpoint: &str, call: Inbound, mut seen: Seen) -> Result<Outgoing> {
    match endpoint {
        "Lab.Echo" => Ok(Outgoing::Message(call.body)),
        "Lab.Later" => {
            clock::sleep(LATER).await;
            Ok(Outgoing::Message(call.body))
        }
        "Lab.Gate" => {
            let opened = seen.gate.wait_for(|open| *open).await.map(drop);
            let shut = |_| Error::internal(SERVICE, "the gate is gone");
            opened.map_err(shut).map(|()| Outgoing::Message(call.body))
        }
        "Lab.Describe" => Ok(Outgoing::Message(describe(&call).into())),
        "Lab.Fail" => Err(failure(number(&call.body)?)),
        "Lab.Panic" => panics(),
        "Lab.Long" => Ok(Outgoing::Message(long(number(&call.body)?))),
        "Lab.Count" => Ok(Outgoing::Stream(sources::numbers(number(&call.body)?, None))),
        "Lab.Flood" => Ok(Outgoing::Stream(sources::flood(&seen.flood))),
        "Lab.Breaks" => {
            Ok(Outgoing::Stream(sources::numbers(3, Some(failure(number(&call.body)?)))))
        }
        "Lab.Denies" => Err(failure(number(&call.body)?)),
        "Lab.Grows" => {
            let short = "\"short\"".to_owned();
            let long = String::from_utf8_lossy(&long(number(&call.body)?)).into_owned();
            Ok(Outgoing::Stream(sources::texts(Streaming::from_iter([short, long]))))
        }
        _ => read(endpoint, call, &seen).await,
    }
}

/// The endpoints that read a stream of requests.
async fn read(endpoint: &str, call: Inbound, seen: &Seen) -> Result<Outgoing> {
    let missing = || Error::internal(SERVICE, "the call came without its requests");
    let mut messages = call.messages.ok_or_else(missing)?;
    match endpoint {
        "Lab.Sum" => {
            let mut sum = 0;
            while let Some(message) = messages.next().await {
                sum += number(&message?)?;
            }
            seen.ended.fetch_add(1, Ordering::SeqCst);
            Ok(Outgoing::Message(sum.to_string().into()))
        }
        "Lab.Hold" => {
            // Reads nothing until it is dropped.
            let _messages = messages;
            std::future::pending().await
        }
        "Lab.First" => {
            let first = messages.next().await.ok_or_else(missing)??;
            Ok(Outgoing::Message(first))
        }
        _ => {
            let texts = messages.map(|message| String::from_utf8_lossy(&message).into_owned());
            Ok(Outgoing::Stream(sources::texts(texts)))
        }
    }
}

/// An error that says all that an error can say.
pub(super) fn failure(code: usize) -> Error {
    let code = u16::try_from(code).unwrap_or(500);
    Error::new("lab.shelf", code, "only 3 are left").with_details(&json!({ "left": 3 }))
}

/// A JSON text of `length` bytes.
pub(super) fn long(length: usize) -> Bytes {
    format!("\"{}\"", "x".repeat(length.saturating_sub(2))).into()
}

fn number(body: &[u8]) -> Result<usize> {
    let text = String::from_utf8_lossy(body);
    text.trim()
        .parse()
        .map_err(|_no_number| Error::bad_request(SERVICE, format!("{text} is no number")))
}

#[allow(clippy::panic, reason = "what a panic does is what is examined")]
fn panics() -> ! {
    panic!("as asked")
}

/// What came with a call, as JSON.
fn describe(call: &Inbound) -> String {
    let left = call.deadline.map(|deadline| clock::remaining(call.now, deadline).as_secs_f64());
    let extra = call.extra.as_deref();
    let map = |metadata: &Metadata| {
        metadata.iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
    };
    let map = |part: Option<&Metadata>| part.map(map).unwrap_or_default();
    let metadata: serde_json::Map<String, serde_json::Value> = map(extra.map(|e| &e.metadata));
    let persistent: serde_json::Map<String, serde_json::Value> = map(extra.map(|e| &e.persistent));
    json!({
        "left": left,
        "content_type": call.content_type.as_str(),
        "metadata": metadata,
        "persistent": persistent,
        "authorization": extra.and_then(|e| e.headers.get("authorization")),
        "trace": extra.and_then(|e| e.trace).map(|trace| trace.to_string()),
        "remote": &*call.remote,
    })
    .to_string()
}
