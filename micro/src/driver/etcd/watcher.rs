//! Changes in order, from one moment on, across whatever becomes of the connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::driver::etcd::kv::{Moment, Span};
use crate::driver::etcd::link::Session;
use crate::driver::etcd::messages::{
    Ask, WatchCreateRequest, WatchEvent, WatchRequest, WatchResponse,
};
use crate::driver::etcd::{ANSWER_TIMEOUT, Etcd};

const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// Pauses between tries to watch on while the server is there and refuses.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Changes of one batch that are put together from its parts; more are a gap.
const BATCH_EVENTS_MAX: usize = 100_000;

/// What a watcher is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// Everything that changed from one revision to another, in order.
    Batch(Vec<WatchEvent>),
    /// Changes are lost: read the present and go on from there.
    Gap,
}

/// Follows the changes of a span.
///
/// When the connection breaks it goes on after the last revision that it told, as soon as there is
/// a server. Where the server has forgotten what followed, or has another history, it tells of a
/// gap.
pub(crate) struct Watcher {
    etcd: Arc<Etcd>,
    span: Span,
    /// The last moment of which everything was told.
    told: Moment,
    stream: Option<Open>,
    backoff: Backoff,
    /// When it went on after a break; `None` before the first.
    resumed: Option<Instant>,
}

/// A stream of one session.
struct Open {
    session: Arc<Session>,
    answers: Streaming<WatchResponse>,
    /// Keeps this side of the stream open.
    _questions: mpsc::Sender<WatchRequest>,
    /// The parts of a batch that have come.
    parts: Vec<WatchEvent>,
}

/// Why a stream is no more.
enum End {
    Gap,
    Broken(Status),
}

impl Watcher {
    /// Makes a watcher that tells what follows a moment; it asks nothing yet.
    pub(crate) fn new(etcd: Arc<Etcd>, span: Span, from: Moment) -> Self {
        let backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        Self { etcd, span, told: from, stream: None, backoff, resumed: None }
    }

    /// Goes on from another moment, after a gap.
    pub(crate) fn go_on_from(&mut self, moment: Moment) {
        (self.told, self.stream) = (moment, None);
    }

    /// Returns whether it was without a server within a time before.
    pub(crate) fn resumed_within(&self, time: Duration) -> bool {
        self.resumed.is_some_and(|at| clock::now() < clock::after(at, time))
    }

    /// Waits for what is next, however long the server is away.
    ///
    /// Cancel safe: what is not returned is told again.
    pub(crate) async fn next(&mut self) -> Told {
        loop {
            let ended = match &mut self.stream {
                None => match self.open().await {
                    Ok(open) => {
                        self.stream = Some(open);
                        continue;
                    }
                    Err(end) => end,
                },
                Some(open) => match self.etcd.hear(open, &mut self.told).await {
                    Ok(batch) => {
                        self.backoff.reset();
                        return Told::Batch(batch);
                    }
                    Err(end) => end,
                },
            };
            self.stream = None;
            match ended {
                End::Gap => return Told::Gap,
                End::Broken(status) => {
                    self.resumed = Some(clock::now());
                    let reason = status.message();
                    tracing::debug!(reason, "a watch of etcd broke off and is opened again");
                    self.etcd.shared().doubt();
                    clock::sleep(self.backoff.next_delay()).await;
                }
            }
        }
    }

    async fn open(&mut self) -> Result<Open, End> {
        let session = self.etcd.shared().up().await;
        let (questions, sent) = mpsc::channel(1);
        let create = WatchCreateRequest {
            key: self.span.start.clone(),
            range_end: self.span.end.clone(),
            start_revision: self.told.revision.saturating_add(1),
            progress_notify: true,
            fragment: true,
        };
        // There is room for one.
        drop(questions.try_send(WatchRequest { ask: Some(Ask::Create(create)) }));
        let opened = clock::timeout(ANSWER_TIMEOUT, async {
            let mut answers = session.stream::<_, WatchResponse>(WATCH, sent).await?;
            let first = answers.message().await?;
            let first = first.ok_or_else(|| Status::unavailable("the watch ended at once"))?;
            Ok::<_, Status>((answers, first))
        });
        let (answers, first) = match opened.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(status)) => return Err(End::Broken(status)),
            Err(_elapsed) => {
                return Err(End::Broken(Status::unavailable("the watch did not open in time")));
            }
        };
        check(&first)?;
        let at = Moment::of(first.header);
        // A restored or replaced server has another history; one that lags is read anew, too.
        if !first.created || at.cluster != self.told.cluster || at.revision < self.told.revision {
            return Err(End::Gap);
        }
        if self.resumed.is_some() {
            self.resumed = Some(clock::now());
        }
        Ok(Open { session, answers, _questions: questions, parts: Vec::new() })
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("told", &self.told).finish_non_exhaustive()
    }
}

fn check(answer: &WatchResponse) -> Result<(), End> {
    if answer.compact_revision > 0 {
        return Err(End::Gap);
    }
    if answer.canceled {
        let reason = format!("etcd ended the watch: {}", answer.cancel_reason.escape_debug());
        return Err(End::Broken(Status::unavailable(reason)));
    }
    Ok(())
}

impl Etcd {
    /// Waits for a whole batch, and notes up to where that was told.
    async fn hear(&self, open: &mut Open, told: &mut Moment) -> Result<Vec<WatchEvent>, End> {
        loop {
            // Cancel safety: `message` keeps what it does not return, the other only waits.
            let answer = tokio::select! {
                answer = open.answers.message() => answer,
                () = self.shared().ended(&open.session) => {
                    Err(Status::unavailable("the server does not answer"))
                }
            };
            let answer = match answer {
                Ok(Some(answer)) => answer,
                Ok(None) => return Err(End::Broken(Status::unavailable("the watch ended"))),
                Err(status) => return Err(End::Broken(status)),
            };
            check(&answer)?;
            open.parts.extend(answer.events);
            if open.parts.len() > BATCH_EVENTS_MAX {
                return Err(End::Gap);
            }
            if answer.fragment {
                continue;
            }
            let batch = std::mem::take(&mut open.parts);
            // A message without events says that all up to its revision was told.
            let told_to = batch.iter().filter_map(|event| event.kv.as_ref());
            let revision = match told_to.map(|kv| kv.mod_revision).max() {
                Some(revision) => revision,
                None => Moment::of(answer.header).revision,
            };
            told.revision = told.revision.max(revision);
            if !batch.is_empty() {
                return Ok(batch);
            }
        }
    }
}
