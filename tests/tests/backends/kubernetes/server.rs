//! A stand-in of the server of Kubernetes: lists and watches of endpoint slices, as the
//! documentation of its API describes them: pages, resource versions, bookmarks, 410.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use micro::core::clock;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// A running stand-in, on a port of its own; it may be stopped and started again.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Inner>,
    runtime: Option<Runtime>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    /// Counts changes and wakes the watches.
    changes: watch::Sender<u64>,
    /// Ends all watches that began before it changed.
    epoch: watch::Sender<u64>,
    is_failing: AtomicBool,
    is_forbidden: AtomicBool,
    lists: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    version: u64,
    slices: BTreeMap<String, Value>,
    /// What happened, each with its version; a watch from before the first is `410 Gone`.
    log: VecDeque<(u64, &'static str, Value)>,
    forgotten: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    watch: Option<String>,
    label_selector: Option<String>,
    resource_version: Option<String>,
    allow_watch_bookmarks: Option<bool>,
    timeout_seconds: Option<u64>,
    limit: Option<usize>,
    #[serde(rename = "continue")]
    next: Option<String>,
}

impl State {
    fn put(&mut self, mut slice: Value) {
        self.version += 1;
        let name = slice["metadata"]["name"].as_str().unwrap().to_owned();
        slice["metadata"]["resourceVersion"] = self.version.to_string().into();
        let kind = if self.slices.contains_key(&name) { "MODIFIED" } else { "ADDED" };
        self.log.push_back((self.version, kind, slice.clone()));
        self.slices.insert(name, slice);
    }

    fn remove(&mut self, name: &str) {
        let Some(mut slice) = self.slices.remove(name) else { return };
        self.version += 1;
        slice["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.log.push_back((self.version, "DELETED", slice));
    }

    fn compact(&mut self) {
        self.version += 1;
        self.log.clear();
        self.forgotten = self.version;
    }
}

/// Returns whether a selector of one label takes a slice: `key` or `key=value`.
fn takes(selector: Option<&str>, slice: &Value) -> bool {
    let Some(selector) = selector.filter(|selector| !selector.is_empty()) else { return true };
    let (key, value) = selector.split_once('=').map_or((selector, None), |(k, v)| (k, Some(v)));
    let label = slice["metadata"]["labels"][key].as_str();
    label.is_some() && value.is_none_or(|value| label == Some(value))
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

fn answer(code: u16, body: &Value) -> Response {
    let code = StatusCode::from_u16(code).unwrap();
    (code, [("content-type", "application/json")], body.to_string()).into_response()
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn list(&self, options: &Options) -> Response {
        self.lists.fetch_add(1, SeqCst);
        let state = self.state();
        let from = options.next.clone().unwrap_or_default();
        let limit = options.limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let selector = options.label_selector.as_deref();
        let rest: Vec<_> =
            state.slices.range(from..).filter(|(_, slice)| takes(selector, slice)).collect();
        let next = rest.get(limit).map(|(name, _)| (*name).clone()).unwrap_or_default();
        let items: Vec<_> = rest.iter().take(limit).map(|(_, slice)| *slice).collect();
        answer(
            200,
            &json!({
                "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
                "metadata": {"resourceVersion": state.version.to_string(), "continue": next},
                "items": items,
            }),
        )
    }

    fn watch(self: Arc<Self>, options: Options) -> Response {
        let since = options.resource_version.as_deref().and_then(|text| text.parse().ok());
        let since: u64 = since.unwrap_or(0);
        let gone = status(410, "Expired", "too old resource version");
        if since < self.state().forgotten {
            // The one or the other, as servers do.
            if since.is_multiple_of(2) {
                return answer(410, &gone);
            }
            let line = json!({"type": "ERROR", "object": gone}).to_string() + "\n";
            return (StatusCode::OK, line).into_response();
        }
        let seconds = options.timeout_seconds.unwrap_or(300);
        let end = clock::now() + Duration::from_secs(seconds);
        let (changes, epoch) = (self.changes.subscribe(), self.epoch.subscribe());
        let place = (self, options, changes, epoch, since);
        let lines = stream::unfold(place, move |place| {
            let gone = gone.clone();
            async move {
                let (shared, options, mut changes, mut epoch, since) = place;
                if since == u64::MAX {
                    return None;
                }
                loop {
                    changes.borrow_and_update();
                    let (lines, version) = {
                        let state = shared.state();
                        if since < state.forgotten {
                            // The stream ends by it: nothing is later than this point.
                            let line = json!({"type": "ERROR", "object": gone}).to_string() + "\n";
                            let place = (Arc::clone(&shared), options, changes, epoch, u64::MAX);
                            return Some((Ok(Bytes::from(line)), place));
                        }
                        let later = state.log.iter().filter(|(version, ..)| *version > since);
                        let selector = options.label_selector.as_deref();
                        let taken = later.filter(|(.., slice)| takes(selector, slice));
                        let line = |(_, kind, slice): &(u64, &str, Value)| {
                            json!({"type": kind, "object": slice}).to_string() + "\n"
                        };
                        (taken.map(line).collect::<String>(), state.version)
                    };
                    if !lines.is_empty() {
                        let line = Ok::<_, Infallible>(Bytes::from(lines));
                        return Some((
                            line,
                            (Arc::clone(&shared), options, changes, epoch, version),
                        ));
                    }
                    if version > since && options.allow_watch_bookmarks == Some(true) {
                        let mark = json!({"type": "BOOKMARK", "object": {
                            "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
                            "metadata": {"resourceVersion": version.to_string()},
                            "addressType": "IPv4", "endpoints": [],
                        }});
                        let line = Ok(Bytes::from(mark.to_string() + "\n"));
                        return Some((
                            line,
                            (Arc::clone(&shared), options, changes, epoch, version),
                        ));
                    }
                    tokio::select! {
                        biased;
                        _ = epoch.changed() => return None,
                        _ = changes.changed() => {}
                        () = clock::sleep_until(end) => return None,
                    }
                }
            }
        });
        let body = Body::from_stream(lines);
        ([("content-type", "application/json;stream=watch")], body).into_response()
    }
}

async fn slices(
    Shared(shared): Shared<Arc<Inner>>,
    Path(namespace): Path<String>,
    Query(options): Query<Options>,
) -> Response {
    if shared.is_forbidden.load(SeqCst) {
        return answer(403, &status(403, "Forbidden", "endpointslices is forbidden"));
    }
    if shared.is_failing.load(SeqCst) {
        return answer(500, &status(500, "InternalError", "etcdserver: request timed out"));
    }
    if namespace != "shop" {
        let empty = json!({"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
            "metadata": {"resourceVersion": "1"}, "items": []});
        return answer(200, &empty);
    }
    match options.watch.as_deref() {
        Some("true" | "1") => shared.watch(options),
        _ => shared.list(&options),
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Inner::default());
        shared.state().version = 100;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut server = Self { address, shared, runtime: None };
        server.start_again();
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn writer(&self) -> Writer {
        Writer(Arc::clone(&self.shared))
    }

    /// Ends the stand-in with all connections; it keeps its state.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) fn start_again(&mut self) {
        let path = "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices";
        let app = Router::new().route(path, get(slices)).with_state(Arc::clone(&self.shared));
        let workers = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let address = self.address;
        let (ready, is_ready) = std::sync::mpsc::channel();
        workers.spawn(async move {
            let listener = loop {
                // The port may be busy for a moment after the end of the last one.
                match tokio::net::TcpListener::bind(address).await {
                    Ok(listener) => break listener,
                    Err(_busy) => tokio::task::yield_now().await,
                }
            };
            ready.send(()).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
        is_ready.recv().unwrap();
        self.runtime = Some(workers);
    }

    pub(crate) fn fail(&self, is_failing: bool) {
        self.shared.is_failing.store(is_failing, SeqCst);
    }

    pub(crate) fn forbid(&self, is_forbidden: bool) {
        self.shared.is_forbidden.store(is_forbidden, SeqCst);
    }

    /// Ends all watches, as a server does now and then.
    pub(crate) fn end_watches(&self) {
        self.shared.epoch.send_modify(|epoch| *epoch += 1);
    }

    /// How many lists were asked for.
    pub(crate) fn lists(&self) -> usize {
        self.shared.lists.load(SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Changes what the stand-in tells.
#[derive(Clone, Debug)]
pub(crate) struct Writer(Arc<Inner>);

impl Writer {
    pub(crate) fn put(&self, slice: Value) {
        self.0.change(|state| state.put(slice));
    }

    pub(crate) fn remove(&self, name: &str) {
        self.0.change(|state| state.remove(name));
    }

    /// Forgets what happened, so that watches must list again.
    pub(crate) fn compact(&self) {
        self.0.change(State::compact);
    }
}
