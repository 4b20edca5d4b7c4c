//! Streams are admitted again and again: credentials end, accounts are revoked, rules change.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use crate::core::account::Account;
use crate::core::clock;
use crate::core::clock::Sleep;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Inbound, Outgoing};
use crate::core::future::BoxFuture;
use crate::core::metadata::Metadata;
use crate::core::proven::Proven;
use crate::core::stream::{BoxSource, MessageSource};
use crate::server::policy::{Access, Caller, Origin, Rule};
use crate::server::table::Entry;

/// How long a stream may go on after its caller is not admitted any more.
const INTERVAL: Duration = Duration::from_secs(30);

/// Asks the policy again about one call.
pub(super) struct Recheck {
    rule: Rule,
    entry: Arc<Entry>,
    headers: Metadata,
    remote: Arc<str>,
    off_host: bool,
    proven: Proven,
    account: Option<Arc<Account>>,
    timer: Pin<Box<Sleep>>,
}

/// Shows who calls what; the headers may be credentials.
impl fmt::Debug for Recheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recheck")
            .field("endpoint", &self.entry.id)
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

impl Recheck {
    /// Begins to check a call that was admitted; `None` for one that no policy decides on, or that
    /// has one request and one response: its deadline bounds it.
    pub(super) fn of(
        rule: &Rule,
        entry: &Arc<Entry>,
        call: &Inbound,
        caller: Caller<'_>,
        account: Option<&Arc<Account>>,
    ) -> Option<Box<Self>> {
        let kind = entry.spec.kind;
        let streams = kind.streams_requests() || kind.streams_responses();
        if !streams || !matches!(rule, Rule::Asked(_)) {
            return None;
        }
        Some(Box::new(Self {
            rule: rule.clone(),
            entry: Arc::clone(entry),
            headers: call.extra.as_ref().map(|extra| extra.headers.clone()).unwrap_or_default(),
            remote: Arc::clone(&call.remote),
            off_host: caller.origin == Origin::OffHost,
            proven: caller.proven.clone(),
            account: account.cloned(),
            timer: Box::pin(clock::sleep_until(clock::after(call.now, INTERVAL))),
        }))
    }

    /// Waits for the moment at which the call is not admitted any more.
    fn poll(&mut self, task: &mut Task<'_>) -> Poll<Error> {
        // Progress: each turn sets the timer ahead.
        loop {
            std::task::ready!(self.timer.as_mut().poll(task));
            self.timer.as_mut().reset(clock::after(clock::now(), INTERVAL));
            let admitted = self.rule.admit(&Access {
                endpoint: &self.entry.id,
                spec: Some(self.entry.spec),
                method: "",
                path: "",
                headers: &self.headers,
                remote: &self.remote,
                off_host: self.off_host,
                proven: &self.proven,
            });
            let same = |now: &Option<Arc<Account>>| {
                now.as_ref().map(|account| &account.id)
                    == self.account.as_ref().map(|account| &account.id)
            };
            match admitted {
                Ok(account) if same(&account) => {}
                Ok(_) => return Poll::Ready(self.ended("the credentials are of another account")),
                // The handler has run: this is no refusal that is safe to retry.
                Err(error) => return Poll::Ready(error.with_retry(Retry::Never)),
            }
        }
    }

    fn ended(&self, detail: &str) -> Error {
        Error::unauthorized(self.entry.id.clone(), detail)
    }
}

/// Runs a handler, and the stream it returns, until they end or the call is not admitted any more.
pub(super) async fn rechecked(
    mut handler: BoxFuture<'static, Result<Outgoing>>,
    mut recheck: Box<Recheck>,
) -> Result<Outgoing> {
    let outgoing = std::future::poll_fn(|task| {
        if let Poll::Ready(outgoing) = handler.as_mut().poll(task) {
            return Poll::Ready(outgoing);
        }
        recheck.poll(task).map(Err)
    });
    Ok(match outgoing.await? {
        Outgoing::Stream(source) => Outgoing::Stream(Box::pin(Rechecked { source, recheck })),
        message => message,
    })
}

/// A stream of responses that ends with an error when its call is not admitted any more.
struct Rechecked {
    source: BoxSource,
    recheck: Box<Recheck>,
}

impl MessageSource for Rechecked {
    fn poll_encode(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Option<Result<()>>> {
        // First: a source that is always ready must not outlive its admission.
        if let Poll::Ready(error) = self.recheck.poll(task) {
            return Poll::Ready(Some(Err(error)));
        }
        self.source.as_mut().poll_encode(task, out)
    }
}
