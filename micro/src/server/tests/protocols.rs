//! A protocol that was added lives by the rules of the port.

use std::pin::Pin;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::*;
use crate::core::content_type::ContentType;
use crate::core::exchange::{Dispatch, Inbound, Outgoing};
use crate::core::future::BoxFuture;
use crate::server::protocol::{Accepted, Protocol, Recognised};

/// `?ENDPOINT BODY` on a line calls, `!` on a line is a ping; the answer is a line.
#[derive(Debug)]
struct Lines;

impl Protocol for Lines {
    fn name(&self) -> &'static str {
        "lines"
    }

    fn recognise(&self, first: &[u8]) -> Recognised {
        match first {
            [b'?' | b'!', ..] => Recognised::Yes,
            [b'~'] => Recognised::NeedMore,
            [b'~', b'p', ..] => panic!("on purpose"),
            _ => Recognised::No,
        }
    }

    fn serve(self: Arc<Self>, at: Accepted, door: Arc<dyn Dispatch>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut wire = BufReader::new(at.stream);
            loop {
                let mut line = String::new();
                tokio::select! {
                    read = wire.read_line(&mut line) => if !matches!(read, Ok(1..)) { return },
                    () = at.scope.shutdown.draining() => return,
                }
                if line.starts_with('!') {
                    at.pulse.settled();
                    continue;
                }
                let (name, body) = line[1..].trim_end().split_once(' ').unwrap();
                let answered = tokio::select! {
                    answered = call(&door, name, body, &at.remote) => answered,
                    _gone = wire.fill_buf() => return,
                };
                let mut answer = answered.unwrap_or_else(|error| error.to_json().into());
                answer.push(b'\n');
                if wire.write_all(&answer).await.is_err() {
                    return;
                }
            }
        })
    }
}

async fn call(
    door: &Arc<dyn Dispatch>,
    name: &str,
    body: &str,
    remote: &Arc<str>,
) -> crate::core::error::Result<Vec<u8>> {
    let target = door.resolve("sample", &format!("Sample.{name}"))?;
    let body = Bytes::copy_from_slice(body.as_bytes());
    let mut call = Inbound::new(target, clock::now(), ContentType::Json, body, Arc::clone(remote));
    if name == "Brief" {
        call.deadline = Some(after(1));
    }
    match door.dispatch(call)?.await? {
        Outgoing::Message(reply) => Ok(reply.to_vec()),
        Outgoing::Stream(mut source) => {
            let mut all = Vec::new();
            let mut next = async || {
                std::future::poll_fn(|task| Pin::as_mut(&mut source).poll_encode(task, &mut all))
                    .await
            };
            while let Some(message) = next().await {
                message?;
            }
            Ok(all)
        }
    }
}

fn rig(change: impl FnOnce(&mut Limits)) -> Rig {
    let mut limits = Limits::default();
    change(&mut limits);
    Rig::new(|builder| builder.limits(limits).protocol(Arc::new(Lines)))
}

async fn line(wire: &mut BufReader<Pipe>) -> String {
    let mut line = String::new();
    let _end = wire.read_line(&mut line).await;
    line.trim_end().to_owned()
}

async fn asked(wire: &mut BufReader<Pipe>, asked: &str) -> String {
    let _closed = wire.write_all(asked.as_bytes()).await;
    line(wire).await
}

#[tokio::test(start_paused = true)]
async fn it_is_recognised_beside_the_others_and_calls_the_same_handlers() {
    let rig = rig(|_| {});
    let mut wire = BufReader::new(rig.dial());
    assert_eq!(asked(&mut wire, "?Echo \"x\"\n").await, "\"x\"");
    assert_eq!(asked(&mut wire, "?Count 3\n").await, "012");
    let error = crate::core::error::Error::parse(&asked(&mut wire, "?Fail 1\n").await);
    assert_eq!(error.code(), 409);
    let error = crate::core::error::Error::parse(&asked(&mut wire, "?Nothing 1\n").await);
    assert_eq!(error.code(), 404);
    assert_eq!(rig.call("Echo", "\"x\"").await.status, 200);
    assert_eq!(rig.native().call("Echo", None).await.unwrap(), "\"x\"");
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_deadline_and_with_its_connection() {
    let rig = rig(|_| {});
    let mut wire = BufReader::new(rig.dial());
    let start = clock::now();
    let late = crate::core::error::Error::parse(&asked(&mut wire, "?Brief 1\n").await);
    assert_eq!((late.code(), (clock::now() - start).as_secs()), (408, 1));
    assert_eq!((rig.started(), rig.dropped(), rig.server.in_flight()), (1, 1, 0));
    wire.write_all(b"?Hang 1\n").await.unwrap();
    rig.until_started(2).await;
    drop(wire);
    clock::sleep(Duration::from_millis(1)).await;
    assert_eq!((rig.dropped(), rig.server.in_flight(), rig.server.connections()), (2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn its_connections_are_closed_when_silent_slow_idle_or_old() {
    for (bytes, drip, seconds) in [
        ("?Ec", "", 5),
        ("?", "x", 5),
        ("!\n?", "x", 6),
        ("?Echo \"x\"\n", "", 300),
        ("!\n", "!\n", 1800),
    ] {
        let rig = rig(|limits| limits.connection.age_jitter_percent = 0);
        let (mut pipe, start) = (rig.dial(), clock::now());
        pipe.write_all(bytes.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        loop {
            let reading = async { while let Ok(1..) = pipe.read_buf(&mut all).await {} };
            if clock::timeout(Duration::from_secs(1), reading).await.is_ok() {
                break;
            }
            let _closed = pipe.write_all(drip.as_bytes()).await;
        }
        let took = (clock::now() - start).as_secs();
        assert!((seconds..=seconds + 4).contains(&took), "{bytes:?} {drip:?}: {took}");
        clock::sleep(Duration::from_secs(1)).await;
        assert_eq!(rig.server.connections(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_one_gives_way_where_the_port_is_full_and_a_busy_one_does_not() {
    let rig = rig(|limits| limits.connection.total_max = 2);
    let (mut idle, mut busy) = (BufReader::new(rig.dial()), BufReader::new(rig.dial()));
    assert_eq!(asked(&mut idle, "?Echo \"x\"\n").await, "\"x\"");
    busy.write_all(b"?Hang 1\n").await.unwrap();
    rig.until_started(1).await;
    assert_eq!(rig.call("Echo", "\"x\"").await.status, 200);
    assert_eq!(line(&mut idle).await, "", "it is closed");
    rig.seen.release.notify_waiters();
    assert_eq!(line(&mut busy).await, "\"done\"");
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_its_calls_and_ends_its_connections() {
    let rig = rig(|_| {});
    let (mut idle, mut busy) = (BufReader::new(rig.dial()), BufReader::new(rig.dial()));
    assert_eq!(asked(&mut idle, "?Echo \"x\"\n").await, "\"x\"");
    busy.write_all(b"?Hang 1\n").await.unwrap();
    rig.until_started(1).await;
    let start = clock::now();
    let release = async {
        clock::sleep(Duration::from_secs(3)).await;
        assert_eq!(line(&mut idle).await, "");
        rig.seen.release.notify_waiters();
        line(&mut busy).await
    };
    let (left, last) = tokio::join!(rig.server.drain(after(30)), release);
    assert_eq!((left, last.as_str()), (0, "\"done\""));
    assert!((clock::now() - start).as_secs() < 5);
    assert_eq!(rig.server.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_it_looks_ends_that_connection_alone() {
    let rig = rig(|_| {});
    let mut pipe = rig.dial();
    pipe.write_all(b"~").await.unwrap();
    clock::sleep(Duration::from_millis(1)).await;
    pipe.write_all(b"p").await.unwrap();
    assert_eq!(pipe.read(&mut [0; 9]).await.unwrap_or(0), 0);
    assert_eq!(rig.call("Echo", "\"x\"").await.status, 200);
    assert_eq!(rig.server.port.scope.tasks.names().get("accept"), Some(&1));
}

#[cfg(feature = "tls")]
#[tokio::test(start_paused = true)]
async fn it_is_recognised_inside_of_tls_too() {
    use crate::transport::tls::Roots;
    use crate::transport::tls::files::tests::{Office, Wanted};
    let office = Office::open();
    office.keep("server", &Wanted::of("127.0.0.1"));
    let files = office.files();
    let rig = Rig::new(|builder| builder.protocol(Arc::new(Lines)).certificate(files));
    let roots = Roots::open(office.client()).unwrap();
    let stream = roots.secure(Stream::Pipe(rig.dial()), "127.0.0.1", &[]).await.unwrap();
    let mut wire = BufReader::new(stream);
    wire.write_all(b"?Echo \"x\"\n").await.unwrap();
    let mut line = String::new();
    wire.read_line(&mut line).await.unwrap();
    assert_eq!(line, "\"x\"\n");
}
