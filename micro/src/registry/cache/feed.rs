//! The task that keeps one view current: one watch, or polls where the backend cannot watch.

use std::future::Future;
use std::future::pending;
use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::Notify;

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::registry::Event;
use crate::registry::Registry;
use crate::registry::Watch;
use crate::registry::cache::Shared;
use crate::registry::cache::guard::Members;
use crate::registry::cache::view::View;
use crate::registry::check::ERROR_ID;
use crate::registry::pace::jitter;
use crate::registry::record::Record;

/// One question to the registry takes at most this long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest first pause after a failure; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_BASE: Duration = Duration::from_millis(50);
/// The longest pause after a failure: a registry that returns is noticed within it.
const BACKOFF_MAX: Duration = Duration::from_millis(1500);
/// A watch that lasted this long was a good one: the next failure starts at [`BACKOFF_BASE`].
const GOOD_WATCH: Duration = Duration::from_secs(5);
/// The first pause between questions on behalf of callers that wait for a node.
const ASK_BASE: Duration = Duration::from_millis(100);
/// The longest pause between questions on behalf of callers that wait for a node.
const ASK_MAX: Duration = Duration::from_secs(1);
/// Pause between polls of a backend that cannot watch, jittered by [`POLL_JITTER_PERCENT`].
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Jitter of polls and idle checks, either way.
pub(super) const POLL_JITTER_PERCENT: u32 = 20;
/// How often a view asks whether anyone uses it; it is dropped when two checks say no.
const IDLE_CHECK: Duration = Duration::from_secs(30);

/// Keeps one view current until the view is gone.
pub(super) struct Feed {
    inner: Arc<dyn Registry>,
    service: Arc<str>,
    /// Weak, so that the view ends the feed and not the other way round.
    view: Weak<View>,
    shared: Weak<Shared>,
    asked: Arc<Notify>,
    members: Members,
    /// Pause before the next question on behalf of waiting callers.
    ask_pause: Duration,
    ask_at: Option<Instant>,
    /// A doubted state is not confirmed before this, because the registry just failed to.
    confirm_not_before: Option<Instant>,
    idle_at: Instant,
}

/// The view is gone; the task ends.
struct Gone;

/// Why the feed woke up.
enum Wake {
    Event(Option<Event>),
    /// It is time to ask the registry for the whole state.
    Ask,
    /// Someone started to wait for a node.
    Asked,
    Idle,
}

impl Feed {
    /// Makes the feed of a view that is being built.
    pub(super) fn new(inner: Arc<dyn Registry>, view: &Arc<View>, shared: &Weak<Shared>) -> Self {
        Self {
            inner,
            service: view.service().into(),
            view: Arc::downgrade(view),
            shared: Weak::clone(shared),
            asked: view.asked(),
            members: Members::default(),
            ask_pause: ASK_BASE,
            ask_at: None,
            confirm_not_before: None,
            idle_at: clock::after(clock::now(), IDLE_CHECK),
        }
    }

    /// Runs until the view is dropped.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_MAX);
        loop {
            let start = clock::now();
            let outcome = if self.inner.capabilities().watch {
                self.follow().await
            } else {
                self.poll().await
            };
            let Ok(error) = outcome else { return };
            let Some(view) = self.view.upgrade() else { return };
            tracing::debug!(service = %self.service, %error, "registry view lost its source");
            view.fail(error);
            drop(view);
            let lasted = clock::now().duration_since(start);
            if lasted >= GOOD_WATCH {
                backoff.reset();
            }
            clock::sleep(backoff.next_delay()).await;
        }
    }

    /// Follows one watch to its end and returns why it ended.
    async fn follow(&mut self) -> Result<Error, Gone> {
        let (inner, service) = (Arc::clone(&self.inner), Arc::clone(&self.service));
        let opened = limited(async {
            let mut watch = inner.watch(Some(&service)).await?;
            let first = watch.next().await.ok_or_else(|| ended(&service))?;
            Ok((watch, first))
        });
        let (mut watch, first) = match opened.await {
            Ok(opened) => opened,
            Err(error) => return Ok(error),
        };
        self.apply(first, &mut watch)?;
        loop {
            match self.wake(Some(&mut watch), None).await? {
                Wake::Event(Some(event)) => self.apply(event, &mut watch)?,
                Wake::Event(None) => return Ok(ended(&self.service)),
                Wake::Ask => {
                    // The watch is what counts; a failing question is asked again.
                    let failed = self.ask().await?.is_some();
                    tracing::trace!(service = %self.service, failed, "asked beside the watch");
                }
                Wake::Asked => {}
                Wake::Idle => self.check_idle()?,
            }
        }
    }

    /// Asks at intervals until that fails, and returns how.
    async fn poll(&mut self) -> Result<Error, Gone> {
        loop {
            if let Some(error) = self.ask().await? {
                return Ok(error);
            }
            let next = clock::after(clock::now(), jitter(POLL_INTERVAL, POLL_JITTER_PERCENT));
            loop {
                match self.wake(None, Some(next)).await? {
                    Wake::Ask => break,
                    Wake::Idle => self.check_idle()?,
                    Wake::Asked | Wake::Event(_) => {}
                }
            }
        }
    }

    /// Waits for whatever comes first.
    async fn wake(
        &mut self,
        watch: Option<&mut Watch>,
        next: Option<Instant>,
    ) -> Result<Wake, Gone> {
        if !self.view.upgrade().ok_or(Gone)?.is_awaited() {
            (self.ask_at, self.ask_pause) = (None, ASK_BASE);
        } else if self.ask_at.is_none() {
            self.ask_at = Some(clock::after(clock::now(), jitter(self.ask_pause, 20)));
        }
        let confirm_at = self.members.confirm_at().max(self.confirm_not_before);
        let confirm_at = self.members.confirm_at().and(confirm_at);
        let ask_at = [self.ask_at, confirm_at, next].into_iter().flatten().min();
        let event = async {
            match watch {
                Some(watch) => watch.next().await,
                None => pending().await,
            }
        };
        // Cancel safety: every arm only waits. `notified` keeps its permit if it is not chosen.
        Ok(tokio::select! {
            biased;
            event = event => Wake::Event(event),
            () = until(ask_at) => Wake::Ask,
            () = clock::sleep_until(self.idle_at) => Wake::Idle,
            () = self.asked.notified() => Wake::Asked,
        })
    }

    /// Asks for the whole state; returns the error if that failed.
    async fn ask(&mut self) -> Result<Option<Error>, Gone> {
        self.ask_at = None;
        self.ask_pause = self.ask_pause.saturating_mul(2).min(ASK_MAX);
        match limited(self.inner.lookup(&self.service)).await {
            Ok(records) => {
                let changed = self.reset(&records.unwrap_or_default());
                self.publish(changed).map(|()| None)
            }
            Err(error) => {
                self.confirm_not_before = Some(clock::after(clock::now(), ASK_MAX));
                Ok(Some(error))
            }
        }
    }

    /// Applies an event and all that have arrived with it, then publishes once.
    fn apply(&mut self, first: Event, watch: &mut Watch) -> Result<(), Gone> {
        let mut changed = self.change(first);
        while let Some(event) = watch.try_next() {
            changed |= self.change(event);
        }
        self.publish(changed)
    }

    fn change(&mut self, event: Event) -> bool {
        match event {
            Event::Update(record) => record.name == *self.service && self.members.update(&record),
            Event::Remove { service, node } => {
                service == *self.service && self.members.remove(&node)
            }
            Event::Reset(records) => self.reset(&records),
        }
    }

    fn reset(&mut self, records: &[Record]) -> bool {
        let own: Vec<Record> =
            records.iter().filter(|record| record.name == *self.service).cloned().collect();
        let was_sure = self.members.doubted() == 0;
        let changed = self.members.reset(&own, clock::now());
        let missing = self.members.doubted();
        if was_sure && missing > 0 {
            tracing::warn!(service = %self.service, missing, "registry lost most nodes, kept until confirmed");
        }
        changed
    }

    fn publish(&self, changed: bool) -> Result<(), Gone> {
        let view = self.view.upgrade().ok_or(Gone)?;
        if changed || view.load().revision == 0 {
            view.publish(&self.members);
        } else {
            view.confirm();
        }
        Ok(())
    }

    fn check_idle(&mut self) -> Result<(), Gone> {
        self.idle_at = clock::after(clock::now(), jitter(IDLE_CHECK, POLL_JITTER_PERCENT));
        if let Some(shared) = self.shared.upgrade() {
            shared.release_if_unused(&self.service);
        }
        if self.view.strong_count() == 0 { Err(Gone) } else { Ok(()) }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(view) = self.view.upgrade() {
            view.close();
        }
    }
}

async fn limited<T>(question: impl Future<Output = Result<T>>) -> Result<T> {
    clock::timeout(ANSWER_TIMEOUT, question).await.unwrap_or_else(|_elapsed| {
        let detail = format!("the registry did not answer within {ANSWER_TIMEOUT:?}");
        Err(Error::timeout(ERROR_ID, detail))
    })
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => clock::sleep_until(deadline).await,
        None => pending().await,
    }
}

fn ended(service: &str) -> Error {
    Error::unavailable(ERROR_ID, format_args!("the registry ended the watch of {service}"))
}
