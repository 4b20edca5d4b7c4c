//! Runs what documents ask for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Extra, Inbound, Outgoing, Target};
use crate::server::http::body::too_large;
use crate::server::http::call::outcome;
use crate::server::http::face::Peer;
use crate::server::http::head::Head;
use crate::server::http::rpc::document::{Document, Refused, Request, read};
use crate::server::http::rpc::reply::{self, Fault};
use crate::server::router::{Arrival, Router};

/// Requests of one batch, and documents of one connection, that run at a time: 16. The others wait
/// for their turn, so that nobody takes all slots of the process at once.
pub(in crate::server::http) const PARALLEL_MAX: usize = 16;

/// Who asks, and what all requests of one HTTP request have in common.
#[derive(Debug)]
pub(in crate::server::http) struct Caller {
    pub(in crate::server::http) router: Arc<Router>,
    pub(in crate::server::http) peer: Peer,
    extra: Option<Box<Extra>>,
    /// How long the caller waits for each answer.
    timeout: Option<Duration>,
}

impl Caller {
    pub(in crate::server::http) fn new(
        router: &Arc<Router>,
        peer: &Peer,
        head: Head,
        now: Instant,
    ) -> Self {
        let timeout = head.deadline.map(|deadline| clock::remaining(now, deadline));
        Self { router: Arc::clone(router), peer: peer.clone(), extra: head.extra, timeout }
    }

    /// Calls an endpoint.
    async fn call(&self, request: &Request) -> Result<Bytes, Fault> {
        let (target, path) = self.resolve(&request.method)?;
        if target.kind != CallKind::Unary {
            let detail = format!(
                "the endpoint streams, which JSON-RPC has no form for; call it at {path} by \
                 WebSocket, or by HTTP"
            );
            return Err(Fault::of(&Error::unimplemented("micro.server", detail)));
        }
        self.run(target, request.body.clone()).await.map_err(|error| Fault::of(&error))
    }

    /// Finds the endpoint of a method, with its path.
    fn resolve(&self, method: &str) -> Result<(Target, String), Fault> {
        let found = self.router.table.named(method);
        found.ok_or_else(|| {
            let error = self.router.missing(method, self.peer.origin);
            Fault::Method(error.detail().to_owned(), error.to_json())
        })
    }

    async fn run(&self, target: Target, body: Bytes) -> Result<Bytes> {
        let (router, peer, now) = (&self.router, &self.peer, clock::now());
        let entry = router.entry(target)?;
        let account = router.admit(entry, self.extra.as_deref(), peer.caller())?;
        router.claim(&peer.seat, account.as_deref())?;
        let inbound = Inbound {
            target,
            now,
            deadline: self.timeout.map(|timeout| clock::after(now, timeout)),
            content_type: ContentType::Json,
            extra: self.extra.clone(),
            body,
            messages: None,
            remote: Arc::clone(&peer.remote),
        };
        let arrival = Arrival {
            origin: peer.origin,
            proven: &peer.proven,
            account,
            request: None,
            response: None,
        };
        let running = router.run(inbound, arrival)?;
        let max = router.limits.message.bytes_max;
        match outcome(router, running, target).await? {
            Outgoing::Message(bytes) if bytes.len() > max => Err(too_large(max)),
            Outgoing::Message(bytes) => Ok(bytes),
            Outgoing::Stream(_) => {
                Err(Error::internal("micro.server", "a single call was answered by a stream"))
            }
        }
    }
}

/// Answers a document; `None` where there is nothing to say.
pub(in crate::server::http) async fn answer(
    caller: &Arc<Caller>,
    document: &Bytes,
) -> Option<String> {
    match read(document) {
        Document::One(one) => answer_one(caller, one).await,
        Document::Batch(batch) => answer_all(caller, batch).await,
    }
}

async fn answer_one(caller: &Caller, one: Result<Request, Refused>) -> Option<String> {
    let request = match one {
        Ok(request) => request,
        Err(refused) => return Some(reply::error(refused.id.as_deref(), &refused.fault)),
    };
    let result = caller.call(&request).await;
    let id = request.id.as_deref()?;
    Some(match result {
        Ok(bytes) => reply::result(id, &bytes),
        Err(fault) => reply::error(Some(id), &fault),
    })
}

/// Answers a batch in the order of its requests, several of which run at a time.
///
/// All answers together are one message and have its limit: those past it are errors.
async fn answer_all(caller: &Arc<Caller>, batch: Vec<Result<Request, Refused>>) -> Option<String> {
    let max = caller.router.limits.message.bytes_max;
    let (mut waiting, mut running) = (batch.into_iter(), VecDeque::new());
    let mut answers = String::new();
    // Progress: each turn ends a request.
    loop {
        while running.len() < PARALLEL_MAX
            && let Some(one) = waiting.next()
        {
            let id = one.as_ref().map_or_else(|refused| refused.id.clone(), |one| one.id.clone());
            let caller_of_task = Arc::clone(caller);
            let task = async move { answer_one(&caller_of_task, one).await };
            running.push_back((id, caller.router.tasks.spawn("rpc", task).abort_on_drop()));
        }
        let Some((id, task)) = running.pop_front() else { break };
        let answer = match task.await {
            Ok(answer) => answer,
            // The server stops: every other answer says so as well.
            Err(error) => Some(reply::error(id.as_deref(), &Fault::of(&error))),
        };
        let Some(mut answer) = answer else { continue };
        if answers.len().saturating_add(answer.len()) > max {
            let detail = format!("the answers of a batch may have {max} bytes in all");
            let error = Error::too_large("micro.server", detail);
            answer = reply::error(id.as_deref(), &Fault::of(&error));
        }
        answers.push(if answers.is_empty() { '[' } else { ',' });
        answers.push_str(&answer);
    }
    if answers.is_empty() {
        return None;
    }
    answers.push(']');
    Some(answers)
}
