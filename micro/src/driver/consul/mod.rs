//! Connections to an agent of Consul, over its HTTP API.

mod wire;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::Full;
use tokio::sync::watch;

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::shutdown::{TaskHandle, TaskTracker};
use crate::driver::consul::wire::{Lost, Wire};
use crate::driver::server_url::Server;
use crate::driver::shared::Link;

/// The id of errors that the driver makes.
const ERROR_ID: &str = "micro.consul";
/// Bytes of an answer: more than ten thousand nodes need; a longer one is a 503.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of an answer's text that an error repeats.
const REASON_BYTES_MAX: usize = 256;
/// A connection is there within this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// An answer that nobody waits for on purpose is there within this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// Connections that are kept for the next request; further ones are closed.
const IDLE_MAX: usize = 4;
/// How often an agent is asked whether it is well, while it is.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// The longest first pause after a failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_BASE: Duration = Duration::from_millis(50);
/// The longest pause after a failure: an agent that returns is noticed within it.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long a question waits for a change before it is answered all the same.
const WAIT: Duration = Duration::from_secs(20);
/// How much longer than [`WAIT`] an answer may take: an agent adds a sixteenth.
const WAIT_SLACK: Duration = Duration::from_secs(5);

/// An agent of Consul, or several of which one is used at a time. Clones share the connections.
///
/// Whatever is asked while the agent is away fails within 4 s with a 503.
#[derive(Clone)]
pub struct Consul {
    inner: Arc<Inner>,
    /// Looks after the agent until the last clone is gone.
    _keeper: Arc<TaskHandle<()>>,
}

struct Inner {
    server: Server,
    tasks: TaskTracker,
    /// Which host is used, counted on as each fails.
    host: AtomicUsize,
    idle: Mutex<Vec<Wire>>,
    is_up: AtomicBool,
    /// Counts how often the agent was there again.
    returns: watch::Sender<u64>,
}

/// What an agent answered.
#[derive(Debug)]
pub(crate) struct Answer {
    status: u16,
    /// Whether the question changed nothing.
    is_read: bool,
    /// The point of Consul's state, to wait for a later one.
    index: Option<u64>,
    body: Bytes,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns from where to wait for the next change, after a question that waited since `last`.
    ///
    /// An index that goes back, or is zero, means that Consul's state was replaced: begin anew.
    pub(crate) fn resume(&self, last: u64) -> u64 {
        self.index.filter(|index| *index >= last).unwrap_or(0)
    }
}

impl Consul {
    /// The port of an agent whose URL has none.
    pub(crate) const PORT: u16 = 8500;

    /// Makes the connections to an agent by themselves, in a task of `tasks`; nothing is awaited.
    ///
    /// A password is the token of Consul's access control, sent with every request.
    ///
    /// # Errors
    /// 412 if the token is none that a header can hold.
    pub fn open(server: &Server, tasks: &TaskTracker) -> Result<Self> {
        let inner = Arc::new(Inner {
            server: server.clone(),
            tasks: tasks.clone(),
            host: AtomicUsize::new(0),
            idle: Mutex::default(),
            is_up: AtomicBool::new(false),
            returns: watch::Sender::new(0),
        });
        inner.request(&Method::GET, "/", Bytes::new()).map_err(|_not_a_header| {
            Error::precondition_failed(ERROR_ID, "the token of consul is none that it takes")
        })?;
        let keeper = tasks.spawn("driver.consul", keep(Arc::clone(&inner))).abort_on_drop();
        Ok(Self { inner, _keeper: Arc::new(keeper) })
    }

    /// Returns where the agent is.
    pub(crate) fn server(&self) -> &Server {
        &self.inner.server
    }

    /// Reads the value of a key; `None` where there is none.
    ///
    /// # Errors
    /// 503 while the agent is away, 403 without the right to do so.
    pub async fn read(&self, key: &str) -> Result<Option<Bytes>> {
        Ok(self.read_after(key, 0).await?.0)
    }

    /// Reads the value of a key once the state is later than `index`, or after a while; at once
    /// where that is 0. Returns from where to wait on.
    pub(crate) async fn read_after(&self, key: &str, index: u64) -> Result<(Option<Bytes>, u64)> {
        let path = format!("/v1/kv/{}?raw", escaped(key, "/"));
        match self.wait(&path, index).await? {
            answer if answer.status == 404 => Ok((None, answer.resume(index))),
            answer => {
                let next = answer.resume(index);
                Ok((Some(answer.accepted()?.body), next))
            }
        }
    }

    /// Writes the value of a key.
    ///
    /// # Errors
    /// 503 while the agent is away, 413 above Consul's 512 KiB, 403 without the right to do so.
    pub async fn write(&self, key: &str, value: Bytes) -> Result<()> {
        let path = format!("/v1/kv/{}", escaped(key, "/"));
        self.ask(&Method::PUT, &path, value).await.map(drop)
    }

    /// Removes a key; an absent one is no error.
    ///
    /// # Errors
    /// 503 while the agent is away, 403 without the right to do so.
    pub async fn delete(&self, key: &str) -> Result<()> {
        let path = format!("/v1/kv/{}", escaped(key, "/"));
        self.ask(&Method::DELETE, &path, Bytes::new()).await.map(drop)
    }

    /// Returns a counter that changes whenever the agent is there again.
    pub(crate) fn returns(&self) -> watch::Receiver<u64> {
        self.inner.returns.subscribe()
    }

    /// Asks once; an answer that is no success is an error.
    ///
    /// What is asked must be right to repeat: a kept connection that turns out to be closed has it
    /// asked again on another.
    pub(crate) async fn ask(&self, method: &Method, path: &str, body: Bytes) -> Result<Answer> {
        self.tell(method, path, body).await?.accepted()
    }

    /// Asks once, as [`Self::ask`] does; the answer is as it came.
    pub(crate) async fn tell(&self, method: &Method, path: &str, body: Bytes) -> Result<Answer> {
        self.inner.exchange(method, path, body, ANSWER_TIMEOUT).await
    }

    /// Asks for what is later than `index`, at once where that is 0; the answer is as it came.
    pub(crate) async fn wait(&self, path: &str, index: u64) -> Result<Answer> {
        if index == 0 {
            return self.inner.exchange(&Method::GET, path, Bytes::new(), ANSWER_TIMEOUT).await;
        }
        let mark = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{mark}index={index}&wait={}s", WAIT.as_secs());
        self.inner.exchange(&Method::GET, &path, Bytes::new(), WAIT + WAIT_SLACK).await
    }
}

impl Answer {
    /// Turns an answer that is no success into an error.
    pub(crate) fn accepted(self) -> Result<Self> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let cut = self.body.get(..REASON_BYTES_MAX).unwrap_or(&self.body);
        let reason = String::from_utf8_lossy(cut);
        let detail = format!("consul answers {}: {}", self.status, reason.trim());
        Err(match self.status {
            400 | 409 | 413 => Error::new(ERROR_ID, self.status, detail),
            401 | 403 => Error::forbidden(ERROR_ID, detail),
            404 => Error::not_found(ERROR_ID, detail),
            429 => Error::too_many_requests(ERROR_ID, detail).with_retry(Retry::Safe),
            500.. if self.is_read => Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe),
            500.. => Error::unavailable(ERROR_ID, detail),
            _ => Error::internal(ERROR_ID, detail),
        })
    }
}

impl Inner {
    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<Answer> {
        let request = self.request(method, path, body)?;
        let done = clock::timeout(patience, self.send(request)).await;
        let done = done.unwrap_or_else(|_elapsed| {
            let detail = format!("consul did not answer within {patience:?}");
            Err(Error::unavailable(ERROR_ID, detail))
        });
        self.observe(done.is_ok());
        // A read may be repeated, whatever became of it.
        let is_read = *method == Method::GET;
        done.map_err(|error| if is_read { error.of_a_read() } else { error })
    }

    /// Sends a request on a kept connection, or, where that has ended, on a fresh one.
    async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Answer> {
        let again = request.clone();
        while let Some(mut wire) = self.kept() {
            match wire.exchange(request).await {
                Ok(answer) => return Ok(self.keep(wire, answer)),
                // The agent closed it meanwhile, as after a restart.
                Err(Lost::Unsent(unsent, _)) => request = *unsent,
                Err(Lost::Unanswered(_)) => request = again.clone(),
            }
        }
        let mut wire = self.connect().await?;
        match wire.exchange(request).await {
            Ok(answer) => Ok(self.keep(wire, answer)),
            Err(Lost::Unsent(_, error) | Lost::Unanswered(error)) => Err(error),
        }
    }

    async fn connect(&self) -> Result<Wire> {
        let opened = Wire::open(&self.address(), &self.tasks).await;
        if opened.is_err() {
            self.host.fetch_add(1, Relaxed);
        }
        opened
    }

    /// Returns the address of the host in use.
    fn address(&self) -> String {
        let hosts: Vec<_> = self.server.addresses().collect();
        let at = self.host.load(Relaxed).checked_rem(hosts.len()).unwrap_or(0);
        hosts.into_iter().nth(at).unwrap_or_default()
    }

    fn request(&self, method: &Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, self.address());
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = self.server.password().filter(|token| !token.expose().is_empty()) {
            request = request.header("x-consul-token", token.expose());
        }
        request.body(Full::new(body)).map_err(|error| {
            Error::bad_request(ERROR_ID, format!("consul cannot be asked for this: {error}"))
        })
    }

    /// Takes a connection that is kept.
    fn kept(&self) -> Option<Wire> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(Wire::is_open);
        idle.pop()
    }

    fn keep(&self, wire: Wire, answer: Answer) -> Answer {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(wire);
        }
        answer
    }

    fn observe(&self, is_up: bool) {
        if self.is_up.swap(is_up, Relaxed) == is_up {
            return;
        }
        let server = &self.server;
        if is_up {
            tracing::info!(%server, "consul answers");
            self.returns.send_modify(|returns| *returns = returns.wrapping_add(1));
        } else {
            tracing::warn!(%server, "consul does not answer");
        }
    }
}

/// Notices that the agent is there, goes and comes back, forever.
async fn keep(inner: Arc<Inner>) {
    let mut backoff = Backoff::new(PAUSE_BASE, PAUSE_MAX);
    loop {
        // The connection is this task's own, so that its end tells of a restart at once.
        if let Ok(mut wire) = inner.connect().await {
            while probe(&inner, &mut wire).await {
                backoff.reset();
                inner.observe(true);
                // Cancel safety: the end of the connection is only waited for.
                if clock::timeout(PROBE_INTERVAL, wire.ended()).await.is_ok() {
                    break;
                }
            }
        }
        inner.observe(false);
        clock::sleep(backoff.next_delay()).await;
    }
}

/// Asks whether the agent knows a leader, without which it can do little.
async fn probe(inner: &Inner, wire: &mut Wire) -> bool {
    let Ok(request) = inner.request(&Method::GET, "/v1/status/leader", Bytes::new()) else {
        return false;
    };
    match clock::timeout(ANSWER_TIMEOUT, wire.exchange(request)).await {
        Ok(Ok(answer)) => answer.status == 200 && answer.body.trim_ascii() != b"\"\"",
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Encodes text as a part of a path; what is in `kept` stays as it is.
pub(crate) fn escaped(text: &str, kept: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if plain || kept.as_bytes().contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

impl Link for Consul {
    fn vendor(&self) -> &'static str {
        "consul"
    }

    fn is_up(&self) -> bool {
        self.inner.is_up.load(Relaxed)
    }
}

impl fmt::Debug for Consul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consul").field("server", &self.inner.server).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, index: Option<u64>) -> Answer {
        Answer { status, is_read: false, index, body: Bytes::from_static(b"said\n") }
    }

    #[test]
    fn an_index_that_goes_back_begins_anew() {
        for (last, index, next) in
            [(0, Some(7), 7), (7, Some(7), 7), (7, Some(6), 0), (7, Some(0), 0), (7, None, 0)]
        {
            assert_eq!(answer(200, index).resume(last), next, "{last} {index:?}");
        }
    }

    #[test]
    fn answers_are_told_apart() {
        assert!(answer(200, None).accepted().is_ok());
        for (status, code, retry) in [
            (400, 400, Retry::Never),
            (403, 403, Retry::Never),
            (404, 404, Retry::Never),
            (429, 429, Retry::Safe),
            (500, 503, Retry::Unknown),
            (301, 500, Retry::Never),
        ] {
            let error = answer(status, None).accepted().unwrap_err();
            assert_eq!((error.code(), error.retry()), (code, retry));
            assert!(error.detail().ends_with(": said"), "{error}");
        }
        let read = Answer { is_read: true, ..answer(500, None) };
        assert_eq!(read.accepted().unwrap_err().retry(), Retry::Safe);
    }

    #[test]
    fn paths_are_encoded() {
        assert_eq!(escaped("a/b \u{e4}%", ""), "a%2Fb%20%C3%A4%25");
        assert_eq!(escaped("a/b-c.d", "/"), "a/b-c.d");
    }

    #[tokio::test]
    async fn an_agent_that_is_not_there_fails_at_once_and_nothing_was_sent() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let tasks = TaskTracker::new();
        let consul = Consul::open(&Server::new("127.0.0.1", port), &tasks).unwrap();
        let error = consul.read("key").await.unwrap_err();
        assert_eq!((error.code(), error.retry()), (503, Retry::Safe));
        assert!(!consul.is_up());
        drop(consul);
        let end = clock::after(clock::now(), Duration::from_secs(60));
        assert_eq!(tasks.wait(end).await, 0, "the task ends with the last clone");
    }
}
