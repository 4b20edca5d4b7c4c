//! A protocol that the crate does not know: one line asks, one line answers.
//!
//! `bell/1 SERVICE ENDPOINT MILLISECONDS JSON` is answered by `ok JSON` or `no ERROR`; who hangs up
//! takes back the call.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use micro::Client;
use micro::codec::Codecs;
use micro::core::clock;
use micro::core::content_type::ContentType;
use micro::core::exchange::{Connection, Dispatch, Exchange, Head, Inbound, Outgoing};
use micro::core::future::BoxFuture;
use micro::core::net::Address;
use micro::core::shutdown::TaskTracker;
use micro::core::stream::BoxSource;
use micro::prelude::*;
use micro::server::{Accepted, Protocol, Recognised};
use micro::transport::{Scope, Transport};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

const HELLO: &str = "bell/1 ";
const LINE_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug)]
struct Bell;

impl Protocol for Bell {
    fn name(&self) -> &'static str {
        "bell"
    }

    fn recognise(&self, first: &[u8]) -> Recognised {
        match first {
            _ if first.starts_with(HELLO.as_bytes()) => Recognised::Yes,
            _ if HELLO.as_bytes().starts_with(first) => Recognised::NeedMore,
            _ => Recognised::No,
        }
    }

    fn serve(self: Arc<Self>, at: Accepted, dispatch: Arc<dyn Dispatch>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut wire = BufReader::new(at.stream);
            loop {
                let mut line = String::new();
                let mut reading = (&mut wire).take(LINE_BYTES_MAX);
                tokio::select! {
                    _ = reading.read_line(&mut line) => {}
                    () = at.scope.shutdown.draining() => return,
                }
                let Some(asked) = line.strip_suffix('\n') else { return };
                let answer = tokio::select! {
                    answer = answer(asked, &at.remote, &dispatch) => answer,
                    _hung_up = wire.fill_buf() => return,
                };
                let line = match answer {
                    Ok(reply) => [b"ok ", &reply[..], b"\n"].concat(),
                    Err(error) => format!("no {}\n", error.to_json()).into_bytes(),
                };
                let _gone = wire.write_all(&line).await;
            }
        })
    }
}

async fn answer(line: &str, remote: &Arc<str>, dispatch: &Arc<dyn Dispatch>) -> Result<Bytes> {
    let parts: Vec<_> = line.splitn(5, ' ').collect();
    let [_, service, endpoint, millis, body] = parts[..] else {
        return Err(Error::bad_request("bell", "a line has five parts"));
    };
    let millis = millis.parse().map_err(|_| Error::bad_request("bell", "no milliseconds"))?;
    let (target, now) = (dispatch.resolve(service, endpoint)?, clock::now());
    let body = Bytes::copy_from_slice(body.as_bytes());
    let mut call = Inbound::new(target, now, ContentType::Json, body, Arc::clone(remote));
    call.deadline = Some(clock::after(now, Duration::from_millis(millis)));
    match dispatch.dispatch(call)?.await? {
        Outgoing::Message(reply) => Ok(reply),
        Outgoing::Stream(_) => Err(Error::unimplemented("bell", "one line answers")),
    }
}

impl Transport for Bell {
    fn name(&self) -> &'static str {
        "bell"
    }

    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>>> {
        let node: Arc<dyn Connection> = Arc::new(Node(address.to_string(), scope.tasks.clone()));
        Box::pin(async { Ok(node) })
    }

    fn listen<'a>(
        &'a self,
        _: &'a Address,
        _: Arc<dyn Dispatch>,
        _: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        Box::pin(async { Err(Error::unimplemented("bell", "it is served on the one port")) })
    }
}

/// Rings anew for each call, so that there is nothing to close.
#[derive(Debug)]
struct Node(String, TaskTracker);

impl Connection for Node {
    fn start(
        self: Arc<Self>,
        head: &Head<'_>,
        body: &Bytes,
        _: Option<BoxSource>,
    ) -> Result<Exchange> {
        let (service, endpoint) = (head.route.service(), head.route.endpoint());
        let millis = head.deadline.map_or(9999, |at| clock::remaining(head.now, at).as_millis());
        let body = std::str::from_utf8(body).map_err(|_| Error::internal("bell", "not JSON"))?;
        let line = format!("{HELLO}{service} {endpoint} {millis} {body}\n");
        let address = self.0.clone();
        Ok(Exchange::relayed(&self.1, "bell", 1, head.deadline, |reply| async move {
            reply.reply(ring(&address, &line).await);
        }))
    }

    fn is_open(&self) -> bool {
        true
    }
    fn is_full(&self) -> bool {
        false
    }
    fn ready(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
    fn drain(&self) {}
    fn close(&self) {}
}

async fn ring(address: &str, line: &str) -> Result<Bytes> {
    let mut wire = BufReader::new(TcpStream::connect(address).await?);
    wire.write_all(line.as_bytes()).await?;
    let mut answer = String::new();
    wire.take(LINE_BYTES_MAX).read_line(&mut answer).await?;
    match answer.trim_end().split_once(' ') {
        Some(("ok", reply)) => Ok(Bytes::copy_from_slice(reply.as_bytes())),
        Some(("no", error)) => Err(Error::parse(error)),
        _ => Err(Error::unavailable("bell", "the node hung up")),
    }
}

#[derive(Clone)]
struct Alarm(Arc<Semaphore>);

#[service(name = "alarm")]
impl Alarm {
    #[handler]
    async fn set(&self, at: String) -> Result<String> {
        (!at.is_empty()).then(|| format!("at {at}")).ok_or(Error::conflict("alarm", "no time"))
    }

    #[handler]
    async fn wait(&self) -> Result<()> {
        let _until_dropped = self.0.acquire().await.unwrap();
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_protocol_from_outside_calls_the_handlers_of_the_one_port() {
    let alarm = Alarm(Arc::new(Semaphore::new(1)));
    let service = Service::new("bells").no_env().registry(micro::registry::Memory::new());
    let running = service.mount(alarm.clone()).protocol(Bell).start().await.unwrap();
    let json = Codecs::default().format(&ContentType::Json).unwrap();
    let client = Client::builder().transport(Arc::new(Bell)).format(json);
    let bells: AlarmClient = client.address(running.address().clone()).build().into();
    assert_eq!(bells.set("seven".to_owned()).await.unwrap(), "at seven");
    assert_eq!(bells.set(String::new()).await.unwrap_err().code(), 409);
    let soon = Duration::from_millis(100);
    assert_eq!(bells.wait().timeout(soon).await.unwrap_err().code(), 408);
    drop(alarm.0.acquire().await.unwrap());
    let waiting = TaskTracker::new().spawn("call", bells.wait().timeout(soon * 1000));
    while alarm.0.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    waiting.abort();
    drop(alarm.0.acquire().await.unwrap());
    let native: AlarmClient = running.client();
    assert_eq!(native.set("eight".to_owned()).await.unwrap(), "at eight", "on the same port");
    running.stop().await;
}
