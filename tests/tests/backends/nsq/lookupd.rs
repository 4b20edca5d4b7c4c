//! A stand-in for nsqlookupd's HTTP, written from its public documents.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use micro::core::shutdown::TaskTracker;
use serde::Deserialize;
use tokio::net::TcpListener;

use super::nsqd::{Nsqd, Shared};

#[derive(Default)]
struct Known {
    nsqds: Mutex<Vec<Arc<Shared>>>,
    is_failing: AtomicBool,
    questions: AtomicUsize,
}

pub(crate) struct Lookupd {
    known: Arc<Known>,
    port: u16,
    tasks: TaskTracker,
}

#[derive(Deserialize)]
struct Question {
    topic: Option<String>,
}

impl Lookupd {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (port, known) = (listener.local_addr().unwrap().port(), Arc::<Known>::default());
        let router = Router::new().route("/lookup", get(lookup)).with_state(Arc::clone(&known));
        let tasks = TaskTracker::new();
        tasks
            .spawn("lookupd", async move { axum::serve(listener, router).await.unwrap() })
            .detach();
        Self { known, port, tasks }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Takes in an nsqd, as one does that registers.
    pub(crate) fn register(&self, nsqd: &Nsqd) {
        self.known.nsqds.lock().unwrap().push(nsqd.shared());
    }

    pub(crate) fn forget(&self) {
        self.known.nsqds.lock().unwrap().clear();
    }

    pub(crate) fn fail(&self, is_failing: bool) {
        self.known.is_failing.store(is_failing, SeqCst);
    }

    /// Counts the questions so far.
    pub(crate) fn questions(&self) -> usize {
        self.known.questions.load(SeqCst)
    }
}

impl Drop for Lookupd {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

async fn lookup(
    State(known): State<Arc<Known>>,
    Query(question): Query<Question>,
) -> (StatusCode, String) {
    known.questions.fetch_add(1, SeqCst);
    let said =
        |status, message: &str| (status, serde_json::json!({ "message": message }).to_string());
    if known.is_failing.load(SeqCst) {
        return said(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR");
    }
    let Some(topic) = question.topic else {
        return said(StatusCode::BAD_REQUEST, "MISSING_ARG_TOPIC");
    };
    let nsqds = known.nsqds.lock().unwrap();
    let ports = nsqds.iter().filter_map(|nsqd| nsqd.producer(&topic));
    let producers: Vec<_> = ports
        .map(|port| {
            serde_json::json!({
                "remote_address": "127.0.0.1:51996", "hostname": "one", "version": "1.3.0",
                "broadcast_address": "127.0.0.1", "tcp_port": port, "http_port": 1,
            })
        })
        .collect();
    if producers.is_empty() {
        return said(StatusCode::NOT_FOUND, "TOPIC_NOT_FOUND");
    }
    let answer = serde_json::json!({ "channels": [], "producers": producers });
    (StatusCode::OK, answer.to_string())
}
