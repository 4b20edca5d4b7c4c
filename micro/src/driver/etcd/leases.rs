//! Leases: granted, revoked, and all of them kept alive on one stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tonic::{Status, Streaming};

use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::driver::etcd::fault::{self, Effect};
use crate::driver::etcd::link::{Session, Shared};
use crate::driver::etcd::messages::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseRevokeRequest, LeaseRevokeResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use crate::driver::etcd::{ANSWER_TIMEOUT, ERROR_ID, Etcd};

const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

/// Renewals that wait to be sent; more are a 429.
pub(super) const RENEWALS_QUEUED_MAX: usize = 1024;

/// Renewals that wait for their answers; more are a 429.
const RENEWALS_OPEN_MAX: usize = 16 * 1024;

/// The longest lease that etcd grants, in seconds; a longer one is cut to that.
const LEASE_SECONDS_MAX: i64 = 9_000_000_000;

/// What the servers say of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseLife {
    /// What is left of it, at least: whole seconds, rounded down.
    pub(crate) left: Duration,
    /// What it has after each renewal.
    pub(crate) granted: Duration,
}

/// One lease to be renewed, and who wants to know how that went.
pub(super) struct Renewal {
    id: i64,
    answer: oneshot::Sender<Result<i64>>,
}

impl Etcd {
    /// Grants a lease of at least `ttl`, in whole seconds, and returns its id.
    pub(crate) async fn grant(&self, ttl: Duration) -> Result<i64> {
        let granted: LeaseGrantResponse = self
            .shared()
            .ask(
                "/etcdserverpb.Lease/LeaseGrant",
                LeaseGrantRequest { ttl: seconds(ttl) },
                Effect::Writes,
            )
            .await?;
        if granted.error.is_empty() && granted.ttl > 0 {
            return Ok(granted.id);
        }
        let detail = format!("etcd grants no lease: {}", granted.error.escape_debug());
        Err(Error::internal(ERROR_ID, detail))
    }

    /// Ends a lease, and with it the keys that have it; an absent one is no error.
    pub(crate) async fn revoke(&self, id: i64) -> Result<()> {
        let question = LeaseRevokeRequest { id };
        let path = "/etcdserverpb.Lease/LeaseRevoke";
        match self.shared().ask(path, question, Effect::Writes).await {
            Ok(LeaseRevokeResponse {}) => Ok(()),
            Err(error) if error.code() == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Asks how long a lease has left; `None` where it is over.
    pub(crate) async fn lease_life(&self, id: i64) -> Result<Option<LeaseLife>> {
        let question = LeaseTimeToLiveRequest { id };
        let path = "/etcdserverpb.Lease/LeaseTimeToLive";
        match self.shared().ask(path, question, Effect::Reads).await {
            Ok(LeaseTimeToLiveResponse { ttl, granted }) => {
                let seconds = |whole: i64| u64::try_from(whole).ok().map(Duration::from_secs);
                let life = seconds(ttl).zip(seconds(granted));
                Ok(life.map(|(left, granted)| LeaseLife { left, granted }))
            }
            Err(error) if error.code() == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Renews a lease; returns whether there still was one.
    pub(crate) async fn keep_alive(&self, id: i64) -> Result<bool> {
        let (answer, answered) = oneshot::channel();
        if self.renewals().try_send(Renewal { id, answer }).is_err() {
            return Err(too_many());
        }
        match clock::timeout(ANSWER_TIMEOUT, answered).await {
            Ok(Ok(ttl)) => Ok(ttl? > 0),
            Ok(Err(_ended)) => Err(fault::unsent("the connection to etcd is closed")),
            Err(_elapsed) => {
                self.shared().doubt();
                Err(fault::late(KEEP_ALIVE, ANSWER_TIMEOUT, Effect::Reads))
            }
        }
    }
}

fn seconds(ttl: Duration) -> i64 {
    let whole = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0));
    i64::try_from(whole).unwrap_or(LEASE_SECONDS_MAX).clamp(1, LEASE_SECONDS_MAX)
}

fn too_many() -> Error {
    Error::too_many_requests(ERROR_ID, "too many leases of etcd are being renewed")
        .with_retry(crate::core::error::Retry::Safe)
}

/// Renews what is asked for, for as long as it is polled: one stream for each session.
pub(super) async fn renew(shared: Arc<Shared>, mut renewals: mpsc::Receiver<Renewal>) {
    while let Some(first) = renewals.recv().await {
        match shared.session().await {
            Ok(session) => Renewing::run(&shared, &session, first, &mut renewals).await,
            // Who asked may have left.
            Err(error) => drop(first.answer.send(Err(error))),
        }
    }
}

/// The stream of one session.
struct Renewing {
    questions: mpsc::Sender<LeaseKeepAliveRequest>,
    /// Asked and not answered yet, oldest first: etcd answers in this order.
    open: VecDeque<Renewal>,
}

impl Renewing {
    async fn run(
        shared: &Shared,
        session: &Arc<Session>,
        first: Renewal,
        renewals: &mut mpsc::Receiver<Renewal>,
    ) {
        let (questions, sent) = mpsc::channel(RENEWALS_QUEUED_MAX);
        let mut renewing = Self { questions, open: VecDeque::new() };
        renewing.ask(first);
        let opened = session.stream(KEEP_ALIVE, sent);
        let failure = match clock::timeout(ANSWER_TIMEOUT, opened).await {
            Ok(Ok(mut answers)) => renewing.serve(shared, session, &mut answers, renewals).await,
            Ok(Err(status)) => status,
            Err(_elapsed) => Status::unavailable("the stream of leases did not open in time"),
        };
        shared.doubt();
        for renewal in renewing.open {
            let error = fault::error(KEEP_ALIVE, &failure, Effect::Reads);
            // Who asked may have left.
            drop(renewal.answer.send(Err(error)));
        }
    }

    fn ask(&mut self, renewal: Renewal) {
        let question = LeaseKeepAliveRequest { id: renewal.id };
        if self.open.len() >= RENEWALS_OPEN_MAX || self.questions.try_send(question).is_err() {
            // Who asked may have left.
            drop(renewal.answer.send(Err(too_many())));
            return;
        }
        self.open.push_back(renewal);
    }

    /// Asks and hears until the stream ends, and returns how it did.
    async fn serve(
        &mut self,
        shared: &Shared,
        session: &Arc<Session>,
        answers: &mut Streaming<LeaseKeepAliveResponse>,
        renewals: &mut mpsc::Receiver<Renewal>,
    ) -> Status {
        loop {
            // Cancel safety: `recv` and `message` keep what they do not return.
            tokio::select! {
                renewal = renewals.recv() => match renewal {
                    Some(renewal) => self.ask(renewal),
                    None => return Status::unavailable("the connection is closed"),
                },
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => self.hear(answer),
                    Ok(None) => return Status::unavailable("the stream of leases ended"),
                    Err(status) => return status,
                },
                () = shared.ended(session) => {
                    return Status::unavailable("the server does not answer");
                }
            }
        }
    }

    fn hear(&mut self, answer: LeaseKeepAliveResponse) {
        let at = self.open.iter().position(|renewal| renewal.id == answer.id);
        if let Some(renewal) = at.and_then(|at| self.open.remove(at)) {
            // Who asked may have left.
            drop(renewal.answer.send(Ok(answer.ttl)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_last_whole_seconds_and_at_least_as_long_as_asked_for() {
        for (ttl, granted) in [
            (Duration::from_millis(1), 1),
            (Duration::from_secs(2), 2),
            (Duration::from_millis(2001), 3),
            (Duration::MAX, LEASE_SECONDS_MAX),
        ] {
            assert_eq!(seconds(ttl), granted);
        }
    }

    #[test]
    fn renewals_without_answers_are_limited() {
        let (questions, mut sent) = mpsc::channel(1);
        let mut renewing = Renewing { questions, open: VecDeque::new() };
        let mut waiting = Vec::new();
        for id in 0..i64::try_from(RENEWALS_OPEN_MAX).unwrap() + 1 {
            let (answer, answered) = oneshot::channel();
            renewing.ask(Renewal { id, answer });
            waiting.push(answered);
            assert_eq!(sent.try_recv().is_ok(), id < i64::try_from(RENEWALS_OPEN_MAX).unwrap());
        }
        assert_eq!(renewing.open.len(), RENEWALS_OPEN_MAX);
        let last = waiting.pop().unwrap().blocking_recv().unwrap();
        assert_eq!(last.unwrap_err().code(), 429);
        renewing.hear(LeaseKeepAliveResponse { id: 5, ttl: 7 });
        assert_eq!(waiting.swap_remove(5).blocking_recv().unwrap().unwrap(), 7);
    }
}
