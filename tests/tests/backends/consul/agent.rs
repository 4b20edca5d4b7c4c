//! A stand-in of an agent of Consul: it answers as the public description of its HTTP API says,
//! blocking queries, resets of the index and errors included.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State as Shared};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use micro::core::clock;
use serde::Deserialize;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::state::{State, span};

/// How long a query blocks if it does not say: five minutes.
const WAIT: Duration = Duration::from_secs(300);

/// A running stand-in, on a port of its own; it may be stopped and started again.
#[derive(Debug)]
pub(crate) struct Agent {
    address: SocketAddr,
    shared: Arc<Inner>,
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Counts changes and wakes whoever waits for one.
    changes: watch::Sender<u64>,
    /// The token that is asked for.
    token: Option<String>,
    /// Whether there is no leader: then nothing is answered but errors.
    is_leaderless: AtomicBool,
    /// Whether answers are held back, as by an agent that is stopped.
    is_paused: watch::Sender<bool>,
}

#[derive(Deserialize)]
struct Options {
    index: Option<u64>,
    wait: Option<String>,
    raw: Option<String>,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Changes the state and wakes whoever waits.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.state());
        self.changes.send_modify(|changes| *changes += 1);
        done
    }

    /// Waits as a blocking query does, and returns what `read` says then with the index.
    async fn block(&self, options: &Options, read: impl Fn(&State) -> Response) -> Response {
        let wait = options.wait.as_deref().and_then(span).unwrap_or(WAIT);
        let deadline = clock::now() + wait + wait / 16;
        let mut changes = self.changes.subscribe();
        let mut resets = false;
        loop {
            changes.borrow_and_update();
            let next = {
                let mut state = self.state();
                let before = state.index;
                let next = state.expire();
                let is_due = options.index.is_none_or(|index| index == 0 || state.index > index);
                // What went back is told, too.
                if is_due || resets || clock::now() >= deadline {
                    let mut answer = read(&state);
                    let headers = answer.headers_mut();
                    headers.insert("x-consul-index", state.index.into());
                    headers.insert("x-consul-knownleader", "true".parse().unwrap());
                    headers.insert("x-consul-lastcontact", 0.into());
                    return answer;
                }
                assert!(state.index >= before);
                next
            };
            let until = next.map_or(deadline, |next| next.min(deadline));
            let last = self.state().index;
            tokio::select! {
                _ = changes.changed() => resets = self.state().index < last,
                () = clock::sleep_until(until) => {}
            }
        }
    }
}

impl Agent {
    pub(crate) fn start() -> Self {
        Self::guarded(None)
    }

    /// Starts a stand-in that asks for a token.
    pub(crate) fn guarded(token: Option<&str>) -> Self {
        let shared = Arc::new(Inner {
            state: Mutex::new(State::new()),
            changes: watch::Sender::new(0),
            token: token.map(str::to_owned),
            is_leaderless: AtomicBool::new(false),
            is_paused: watch::Sender::new(false),
        });
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut agent = Self { address, shared, runtime: None };
        agent.start_again();
        agent
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the stand-in with all connections; it keeps its state, as an agent does on its disk.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) fn start_again(&mut self) {
        let workers = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let app = router(Arc::clone(&self.shared));
        let address = self.address;
        let listener = loop {
            // The port may be busy for a moment after the end of the last one.
            match workers.block_on_elsewhere(tokio::net::TcpListener::bind(address)) {
                Ok(listener) => break listener,
                Err(_busy) => std::thread::yield_now(),
            }
        };
        workers.spawn(async move { axum::serve(listener, app).await.unwrap() });
        self.runtime = Some(workers);
    }

    /// Holds all answers back, or lets them go.
    pub(crate) fn pause(&self, is_paused: bool) {
        self.shared.is_paused.send_replace(is_paused);
    }

    pub(crate) fn lose_leader(&self, is_lost: bool) {
        self.shared.is_leaderless.store(is_lost, SeqCst);
        self.shared.change(|_| ());
    }

    /// Forgets all services, as an agent does that lost its disk.
    pub(crate) fn forget(&self) {
        self.shared.change(|state| {
            let ids: Vec<String> = state.services.keys().cloned().collect();
            for id in ids {
                assert!(state.deregister(&id));
            }
        });
    }

    /// Lets the index go back, as where the state is restored from a snapshot.
    pub(crate) fn restore_older_index(&self) {
        self.shared.change(|state| state.index = 1);
    }

    pub(crate) fn register(&self, definition: Value) {
        self.shared.change(|state| state.register(definition)).unwrap();
    }

    pub(crate) fn put(&self, key: &str, value: &[u8]) {
        self.shared.change(|state| state.put(key, value));
    }

    /// The bodies of all registrations.
    pub(crate) fn definitions(&self) -> Vec<Value> {
        let state = self.shared.state();
        state.services.values().map(|service| service.definition.clone()).collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a future to its end on a runtime, wherever the caller runs.
trait Elsewhere {
    fn block_on_elsewhere<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T;
}

impl Elsewhere for Runtime {
    fn block_on_elsewhere<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let (done, result) = std::sync::mpsc::channel();
        self.spawn(async move { done.send(future.await) });
        result.recv().unwrap()
    }
}

fn router(shared: Arc<Inner>) -> Router {
    Router::new()
        .route("/v1/status/leader", get(leader))
        .route("/v1/agent/service/register", put(register))
        .route("/v1/agent/service/deregister/{id}", put(deregister))
        .route("/v1/agent/service/{id}", get(service))
        .route("/v1/agent/check/pass/{check}", put(pass))
        .route("/v1/health/service/{name}", get(health))
        .route("/v1/health/state/any", get(state_any))
        .route("/v1/kv/{*key}", get(read_key).put(write_key).delete(delete_key))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), admit))
        .with_state(shared)
}

fn text(status: u16, text: impl Into<Body>) -> Response {
    (StatusCode::from_u16(status).unwrap(), text.into()).into_response()
}

fn json(value: &Value) -> Response {
    ([("content-type", "application/json")], value.to_string()).into_response()
}

/// What comes before every answer: a pause, the token, the leader.
async fn admit(Shared(shared): Shared<Arc<Inner>>, request: Request, next: Next) -> Response {
    let mut paused = shared.is_paused.subscribe();
    paused.wait_for(|paused| !paused).await.unwrap();
    let given = request.headers().get("x-consul-token").and_then(|token| token.to_str().ok());
    let is_status = request.uri().path() == "/v1/status/leader";
    if !is_status && shared.token.is_some() && given != shared.token.as_deref() {
        return text(403, "Permission denied: token lacks permission");
    }
    if shared.is_leaderless.load(SeqCst) && !is_status {
        return text(500, "No cluster leader");
    }
    let answer = next.run(request).await;
    paused.wait_for(|paused| !paused).await.unwrap();
    answer
}

async fn leader(Shared(shared): Shared<Arc<Inner>>) -> Response {
    let is_lost = shared.is_leaderless.load(SeqCst);
    json(&Value::from(if is_lost { "" } else { "10.1.10.12:8300" }))
}

async fn register(Shared(shared): Shared<Arc<Inner>>, body: Bytes) -> Response {
    let Ok(definition) = serde_json::from_slice(&body) else {
        return text(400, "Request decode failed");
    };
    match shared.change(|state| state.register(definition)) {
        Ok(()) => text(200, ""),
        Err(why) => text(400, why),
    }
}

async fn deregister(Shared(shared): Shared<Arc<Inner>>, Path(id): Path<String>) -> Response {
    match shared.change(|state| state.deregister(&id)) {
        true => text(200, ""),
        false => text(404, format!("Unknown service ID {id:?}")),
    }
}

async fn service(Shared(shared): Shared<Arc<Inner>>, Path(id): Path<String>) -> Response {
    match shared.state().service(&id) {
        Some(service) => json(&service),
        None => text(404, format!("unknown service ID: {id}")),
    }
}

async fn pass(Shared(shared): Shared<Arc<Inner>>, Path(check): Path<String>) -> Response {
    shared.state().expire();
    match shared.change(|state| state.pass(&check)) {
        true => text(200, ""),
        false => text(404, format!("Unknown check ID {check:?}")),
    }
}

async fn health(
    Shared(shared): Shared<Arc<Inner>>,
    Path(name): Path<String>,
    Query(options): Query<Options>,
) -> Response {
    shared.block(&options, |state| json(&state.health(&name))).await
}

async fn state_any(Shared(shared): Shared<Arc<Inner>>, Query(options): Query<Options>) -> Response {
    shared.block(&options, |state| json(&state.all_checks())).await
}

async fn read_key(
    Shared(shared): Shared<Arc<Inner>>,
    Path(key): Path<String>,
    Query(options): Query<Options>,
) -> Response {
    assert!(options.raw.is_some(), "values come as base64 otherwise, which this cannot");
    let read = |state: &State| match state.keys.get(&key) {
        Some((value, _)) => text(200, value.clone()),
        None => text(404, ""),
    };
    shared.block(&options, read).await
}

async fn write_key(
    Shared(shared): Shared<Arc<Inner>>,
    Path(key): Path<String>,
    body: Bytes,
) -> Response {
    if body.len() > 512 * 1024 {
        return text(413, "Request body too large, max allowed is 524288 bytes");
    }
    shared.change(|state| state.put(&key, &body));
    text(200, "true")
}

async fn delete_key(Shared(shared): Shared<Arc<Inner>>, Path(key): Path<String>) -> Response {
    shared.change(|state| state.remove(&key));
    text(200, "true")
}
