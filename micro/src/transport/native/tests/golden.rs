//! Both sides write the bytes of `golden.txt`, and read them as what they mean.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Retry};
use crate::core::exchange::{Exchange, Extra, Head, Route};
use crate::core::limits::Limits;
use crate::core::metadata::Metadata;
use crate::core::stream::{BoxSource, Streaming};
use crate::core::trace::Trace;
use crate::transport::native::frame::{FLAG_EXTRA, HEADER_BYTES, Header, Kind, PREFACE};
use crate::transport::native::head::{self, Reading};
use crate::transport::native::hello::Hello;
use crate::transport::native::names::NamesIn;
use crate::transport::native::tests::lab::{Lab, opened, reply, source};
use crate::transport::native::tests::raw::{
    Raw, Real, client, hello, open, open_with, server, whole,
};

/// The vectors by name.
struct Golden(HashMap<String, Vec<u8>>);

impl Golden {
    fn read() -> Self {
        let (mut vectors, mut name) = (HashMap::new(), String::new());
        for line in include_str!("golden.txt").lines().filter(|line| !line.starts_with('#')) {
            if let Some(next) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                next.clone_into(&mut name);
                assert!(vectors.insert(name.clone(), Vec::new()).is_none(), "{name} twice");
            } else if !line.trim().is_empty() {
                parse(line, vectors.get_mut(&name).expect("a name first"));
            }
        }
        Self(vectors)
    }

    fn get(&self, name: &str) -> &[u8] {
        self.0.get(name).unwrap_or_else(|| panic!("no vector {name}"))
    }

    fn payload(&self, name: &str) -> (Header, Bytes) {
        let bytes = self.get(name);
        let header = Header::read(bytes).unwrap();
        assert_eq!(header.length + HEADER_BYTES, bytes.len(), "{name} states its length");
        (header, Bytes::copy_from_slice(&bytes[HEADER_BYTES..]))
    }
}

fn parse(line: &str, out: &mut Vec<u8>) {
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut escaped = false;
            let end = quoted.find(|c| !std::mem::replace(&mut escaped, c == '\\') && c == '"');
            let (text, after) = quoted.split_at(end.expect("a closing quote"));
            out.extend(text.replace("\\\"", "\"").bytes());
            rest = after[1..].trim_start();
            continue;
        }
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let (hex, count) = word.split_once('*').unwrap_or((word, "1"));
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(digit).collect();
        out.extend(bytes.repeat(count.parse().unwrap()));
        rest = after.trim_start();
    }
}

fn extra(trace: bool) -> Box<Extra> {
    let map = |key: &str, value: &str| {
        let mut map = Metadata::new();
        map.insert(key, value).unwrap();
        map
    };
    let trace_id = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10;
    Box::new(Extra {
        metadata: map("tenant", "acme"),
        persistent: map("user", "ada"),
        headers: map("authorization", "Bearer x"),
        trace: trace.then(|| Trace::from_parts(trace_id, 0x1112_1314_1516_1718, 1).unwrap()),
    })
}

/// A client whose bytes a test compares with the vectors.
struct Script {
    golden: Golden,
    raw: Raw,
    real: Real,
}

impl Script {
    fn start(&self, route: &Arc<Route>, body: &[u8], extra: Option<Box<Extra>>) -> Exchange {
        let content_type = match &extra {
            Some(extra) if extra.trace.is_none() => ContentType::Json,
            _ => ContentType::MsgPack,
        };
        let head = head_of(route, content_type, extra);
        self.real.connection().start(&head, &Bytes::copy_from_slice(body), None).unwrap()
    }

    fn stream(&self, route: &Arc<Route>, requests: BoxSource) -> Exchange {
        let head = head_of(route, ContentType::MsgPack, None);
        self.real.connection().start(&head, &Bytes::new(), Some(requests)).unwrap()
    }

    async fn writes(&mut self, name: &str) {
        let frame = self.raw.frame().await.unwrap();
        assert_eq!(frame, self.golden.get(name), "{name}");
    }

    async fn reads(&mut self, name: &str) {
        assert!(self.raw.send(self.golden.get(name)).await);
    }

    async fn ends(&mut self, exchange: Exchange) {
        drop(exchange);
        assert!(self.raw.frame_of(Kind::Reset).await.is_some());
    }
}

fn head_of<'a>(
    route: &'a Arc<Route>,
    content_type: ContentType,
    extra: Option<Box<Extra>>,
) -> Head<'a> {
    let now = clock::now();
    let deadline = Some(now + Duration::from_secs(10));
    Head { route, now, deadline, content_type, extra, waker: None }
}

#[tokio::test(start_paused = true)]
async fn a_client_writes_the_vectors_and_reads_those_of_the_server() {
    let (raw, real) = client(&Limits::default());
    let mut script = Script { golden: Golden::read(), raw, real };
    assert_eq!(script.raw.bytes(PREFACE.len()).await.unwrap(), script.golden.get("preface"));
    script.writes("hello").await;
    script.reads("hello").await;
    // The pong shows that the hello was read.
    script.reads("ping-other").await;
    script.writes("pong-other").await;

    let echo = Route::new("lab", "Echo", CallKind::Unary);
    let first = script.start(&echo, b"hi", None);
    script.writes("open-first").await;
    script.reads("answer").await;
    assert_eq!(reply(first).await.unwrap(), "hi");
    let second = script.start(&echo, b"yo", None);
    script.writes("open-known").await;
    drop(second);
    script.writes("reset-cancelled").await;
    for (name, trace) in [("open-extra", true), ("open-extra-known", false)] {
        let exchange = script.start(&echo, b"hi", Some(extra(trace)));
        script.writes(name).await;
        script.ends(exchange).await;
    }
    let other = ContentType::Other("application/cbor".into());
    let head = Head { deadline: None, ..head_of(&echo, other, None) };
    let exchange = script.real.connection().start(&head, &Bytes::new(), None).unwrap();
    script.writes("open-content-type").await;
    script.ends(exchange).await;

    requests(&mut script, &echo).await;
    let late = script.start(&echo, b"hi", None);
    script.raw.frame().await.unwrap();
    // Nothing is read for 10 s, so that a ping goes out with the reset.
    script.writes("reset-deadline").await;
    script.writes("ping").await;
    assert_eq!(reply(late).await.unwrap_err().code(), 408);
}

async fn requests(script: &mut Script, echo: &Arc<Route>) {
    let sum = Route::new("lab", "Sum", CallKind::ClientStream);
    let exchange = script.stream(&sum, source(Streaming::from_iter([vec![1, 2, 3]])));
    for name in ["open-stream", "data", "end"] {
        script.writes(name).await;
    }
    script.ends(exchange).await;
    let exchange = script.start(echo, &[b'a'; 131_072], None);
    for name in ["open-fragmented", "data-fragment"] {
        script.writes(name).await;
    }
    script.ends(exchange).await;
    let (requests, failing) = Streaming::channel(1);
    let exchange = script.stream(&sum, source(failing));
    requests.fail(Error::conflict("user", "changed")).await.unwrap();
    for name in ["open-requests-fail", "end-requests-failed"] {
        script.writes(name).await;
    }
    script.ends(exchange).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_reads_what_the_server_writes() {
    let (raw, real) = client(&Limits::default());
    let mut script = Script { golden: Golden::read(), raw, real };
    script.raw.welcome().await;
    let route = |name, kind| Route::new("lab", name, kind);
    let unary = route("Echo", CallKind::Unary);
    let _answered = script.start(&unary, b"", None);
    let responses = script.start(&route("Count", CallKind::ServerStream), b"", None);
    let failed = script.start(&unary, b"", None);
    let refused = script.start(&unary, b"", None);
    let (_sender, requests) = Streaming::channel(1);
    let half = script.stream(&route("Hold", CallKind::Bidi), source(requests));
    let hopeless = script.start(&unary, b"", None);
    for name in ["accept", "response-0", "response-1", "responses-end", "end-error"] {
        script.reads(name).await;
    }
    script.reads("end-error-safe").await;
    script.reads("end-error-final").await;
    let responses = opened(responses).await.collect(9).await.unwrap();
    assert_eq!(responses.concat(), [0, 1]);
    let error = reply(failed).await.unwrap_err();
    assert_eq!((error.code(), error.retry(), error.id()), (409, Retry::Never, "lab"));
    let error = reply(refused).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (429, Retry::Safe));
    assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
    let error = reply(hopeless).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Never));
    let tasks = script.real.scope.tasks.len();
    script.reads("half-reset").await;
    script.reads("goaway-draining").await;
    script.reads("ping-other").await;
    script.raw.frame_of(Kind::Pong).await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(script.real.scope.tasks.len(), tasks - 1, "the pump of requests has ended");
    assert!(!script.real.connection().is_open());
    drop(half);
}

#[tokio::test(start_paused = true)]
async fn a_server_writes_the_vectors() {
    let golden = Golden::read();
    let (mut raw, real) = server(&Limits::default());
    let writes = async |raw: &mut Raw, name: &str| {
        assert_eq!(raw.frame().await.unwrap(), golden.get(name), "{name}");
    };
    assert!(raw.send(golden.get("preface")).await);
    assert!(raw.send(golden.get("hello")).await);
    writes(&mut raw, "hello").await;
    assert!(raw.send(golden.get("open-first")).await);
    writes(&mut raw, "answer").await;
    assert!(raw.send(&open(1, "Count", &[2])).await);
    for name in ["accept", "response-0", "response-1", "responses-end"] {
        writes(&mut raw, name).await;
    }
    assert!(raw.send(&open(2, "Conflict", b"")).await);
    writes(&mut raw, "end-error").await;
    assert!(raw.send(&open(3, "Refuse", b"")).await);
    writes(&mut raw, "end-error-safe").await;
    assert!(raw.send(&open(5, "Final", b"")).await);
    writes(&mut raw, "end-error-final").await;
    assert!(raw.send(&open_with(4, "Ignore", 0, b"")).await);
    writes(&mut raw, "half-reset").await;
    assert!(raw.send(&open_with(6, "Sum", 0, b"")).await);
    assert!(raw.send(&whole(Kind::Data, 0, 6, &[0; 990]).repeat(33)).await);
    writes(&mut raw, "credit").await;
    assert!(raw.send(&open_with(5, "Echo", 0x06, b"begun")).await);
    assert!(raw.send(&whole(Kind::Reset, 0, 4, &[1])).await);
    writes(&mut raw, "reset-unfinished").await;
    real.scope.shutdown.drain();
    // The stream that is still open has been silent for 10 s too.
    assert_eq!(raw.frame_of(Kind::GoAway).await.unwrap(), golden.get("goaway-draining"));
    assert!(raw.send(golden.get("open-known")).await);
    let answer = raw.frame_of(Kind::Data).await.unwrap();
    assert_eq!(&answer[HEADER_BYTES..], b"yo", "calls that were on their way are served");
    assert!(raw.send(&hello(&Limits::default())).await);
    assert_eq!(raw.frame_of(Kind::GoAway).await.unwrap(), golden.get("goaway-protocol"));
    assert!(raw.kinds_to_end().await.is_empty());
}

#[test]
fn heads_are_read_as_what_they_mean() {
    let golden = Golden::read();
    let (lab, limits, mut names) = (Lab::default(), Limits::default(), NamesIn::default());
    let (now, mut kinds) = (tokio::time::Instant::now(), Vec::new());
    let ten = Some(now + Duration::from_secs(10));
    let cases = [
        ("open-first", ten, ContentType::MsgPack, None, "hi"),
        ("open-known", ten, ContentType::MsgPack, None, "yo"),
        ("open-extra", ten, ContentType::MsgPack, Some(extra(true)), "hi"),
        ("open-extra-known", ten, ContentType::Json, Some(extra(false)), "hi"),
        ("open-content-type", None, ContentType::Other("application/cbor".into()), None, ""),
        ("open-stream", ten, ContentType::MsgPack, None, ""),
    ];
    for (name, deadline, content_type, extra, body) in cases {
        let (header, payload) = golden.payload(name);
        assert_eq!(header.kind, Kind::Open);
        let mut input = &*payload;
        let reading = Reading {
            dispatch: &lab,
            limits: &limits.stream,
            timeout_max: limits.call.timeout_max,
        };
        let has_extra = header.has(FLAG_EXTRA);
        let opened = head::take(&mut input, has_extra, now, &mut names, &reading).unwrap();
        kinds.push(opened.target.unwrap().kind);
        assert_eq!((opened.deadline, opened.content_type), (deadline, content_type), "{name}");
        assert_eq!(opened.extra.unwrap(), extra, "{name}");
        assert_eq!(input, body.as_bytes(), "{name}");
    }
    assert_eq!(kinds[..5], [CallKind::Unary; 5]);
    assert_eq!(kinds[5], CallKind::ClientStream);
}

#[test]
fn every_vector_is_one_whole_frame() {
    let golden = Golden::read();
    for name in golden.0.keys().filter(|name| *name != "preface") {
        golden.payload(name);
    }
    let (_, payload) = golden.payload("hello");
    let limits = Limits::default();
    assert_eq!(Hello::take(&payload, &limits).unwrap(), Hello::of(&limits));
}
