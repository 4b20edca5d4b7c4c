//! A process that joins an authority and keeps its certificate young.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::auth::authority::{JoinToken, Request, Signed};
use crate::client::{Builder, Client};
use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::net::Address;
use crate::core::secret::Secret;
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::service::backends::Backends;
use crate::service::identity::desk::{DeskClient, Joining};
use crate::store::Handle;
use crate::transport::tls::{Identity, Pinned, Tls, fingerprint};

/// How long a start waits for an authority that is not reached.
const JOIN_WAIT: Duration = Duration::from_secs(10);

/// How long one call of the authority may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between looks at what the authority has revoked.
const REVOKED_INTERVAL: Duration = Duration::from_secs(30);

/// Who holds the identity that the task follows when nobody else does any more: the task, and the
/// transport that it calls the authority by.
const OWN_HOLDERS: usize = 2;

/// The shortest pause of the task that follows the authority.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The table of the certificates of this store's processes, by the name of the process.
const TABLE: &str = "identity";

/// A certificate as a member keeps it.
#[derive(Serialize, Deserialize)]
struct Held {
    signed: Signed,
    pkcs8: Vec<u8>,
}

/// What a member works with.
pub(super) struct Member {
    table: Handle,
    process: String,
    /// What calls are made with, but for their transport.
    calls: Box<dyn Fn() -> Builder + Send + Sync>,
    handshakes_max: usize,
    tasks: TaskTracker,
    shutdown: Shutdown,
}

impl Member {
    pub(super) fn new(
        at: Option<Address>,
        database: &Handle,
        process: &str,
        backends: &Backends,
    ) -> Result<Self> {
        let calling = backends.clone();
        Ok(Self {
            table: database.table(TABLE)?,
            process: process.to_owned(),
            calls: Box::new(move || match &at {
                Some(address) => calling.client().address(address.clone()),
                None => calling.client(),
            }),
            handshakes_max: backends.limits.connection.tls_handshakes_max,
            tasks: backends.tasks.clone(),
            shutdown: backends.shutdown.clone(),
        })
    }

    /// Takes up the certificate that was kept, or joins by a token; goes on as a task.
    ///
    /// # Errors
    /// 401 when the authority refuses the token, 412 without one, 503 when it is not reached.
    pub(super) async fn join(self, join: Option<&Secret<String>>) -> Result<Arc<Identity>> {
        let identity = match (self.kept().await, join) {
            (Some(identity), _) => identity,
            (None, Some(token)) => self.join_by(&JoinToken::parse(token.expose())?).await?,
            (None, None) => {
                let detail = "to become a member takes a token of the authority: `micro.auth_join`";
                return Err(Error::precondition_failed("micro.auth", detail));
            }
        };
        let identity = Arc::new(identity);
        let (tasks, shutdown) = (self.tasks.clone(), self.shutdown.clone());
        let followed = Arc::clone(&identity);
        tasks.spawn("identity", async move {
            tokio::select! {
                () = self.follow(&followed) => {}
                () = shutdown.closed() => {}
            }
        });
        Ok(identity)
    }

    /// Takes up the certificate of an earlier run, if it is still good.
    async fn kept(&self) -> Option<Identity> {
        let held = match self.table.get::<Held>(&self.process).await {
            Ok(held) => held?,
            Err(error) => {
                tracing::warn!(%error, "the certificate that was kept is unreadable");
                return None;
            }
        };
        let taken = self.identity(&held.signed, &Secret::new(held.pkcs8));
        taken.inspect_err(|error| tracing::info!(%error, "the certificate kept is no good")).ok()
    }

    fn identity(&self, signed: &Signed, key: &Secret<Vec<u8>>) -> Result<Identity> {
        let (certificate, root) = signed.certificates()?;
        let identity = Identity::new(signed.name()?, &root, self.handshakes_max)?;
        identity.install(&certificate, key)?;
        identity.revoked().replace(signed.revoked.clone());
        Ok(identity)
    }

    async fn join_by(&self, token: &JoinToken) -> Result<Identity> {
        let transport = Arc::new(Pinned::new(&token.hash)?);
        let desk: DeskClient = self.client((self.calls)().transport(transport));
        let request = Request::new()?;
        let until = clock::after(clock::now(), JOIN_WAIT);
        let mut pauses = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        // Progress: each turn ends by the time there is, or after a pause.
        let signed = loop {
            let joining =
                Joining { secret: token.secret.expose().clone(), request: request.text() };
            match desk.join(joining).timeout(CALL_TIMEOUT).await {
                Err(error) if is_away(&error) && clock::now() < until => {
                    tracing::info!(%error, "the authority is not reached");
                    clock::sleep(pauses.next_delay()).await;
                }
                signed => break signed?,
            }
        };
        let (_, root) = signed.certificates()?;
        if fingerprint(&root) != token.hash {
            let detail = "the authority answered by the certificate of another";
            return Err(Error::unauthorized("micro.auth", detail));
        }
        let identity = self.identity(&signed, &request.key)?;
        self.keep(signed, &request.key).await;
        Ok(identity)
    }

    fn client(&self, builder: Builder) -> DeskClient {
        let client: Client = builder.build();
        client.into()
    }

    async fn keep(&self, signed: Signed, key: &Secret<Vec<u8>>) {
        let held = Held { signed, pkcs8: key.expose().clone() };
        if let Err(error) = self.table.put(&self.process, &held).await {
            tracing::warn!(%error, "the certificate is not kept: a restart takes another token");
        }
    }

    /// Renews the certificate at two thirds of its life, and asks who was revoked; ends when nobody
    /// uses the identity any more.
    async fn follow(&self, identity: &Arc<Identity>) {
        let transport = Arc::new(Tls::new(Arc::clone(identity)));
        let desk = self.client((self.calls)().transport(transport));
        let mut pauses = Backoff::new(PAUSE_MIN * 5, REVOKED_INTERVAL);
        let mut failed = false;
        // Progress: each turn waits at least the shortest pause.
        loop {
            let pause = if failed { pauses.next_delay() } else { until_due(identity) };
            clock::sleep(bounded(pause)).await;
            if Arc::strong_count(identity) <= OWN_HOLDERS {
                return;
            }
            let done = if is_due(identity) {
                self.renew(&desk, identity).await
            } else {
                let revoked = desk.revoked().timeout(CALL_TIMEOUT).await;
                revoked.map(|names| identity.revoked().replace(names))
            };
            failed = done.is_err();
            match done {
                Ok(()) => pauses.reset(),
                Err(error) => tracing::warn!(%error, "the authority does not answer as it should"),
            }
        }
    }

    async fn renew(&self, desk: &DeskClient, identity: &Identity) -> Result<()> {
        let request = Request::new()?;
        let signed = desk.renew(request.text()).timeout(CALL_TIMEOUT).await?;
        let (certificate, _) = signed.certificates()?;
        identity.install(&certificate, &request.key)?;
        identity.revoked().replace(signed.revoked.clone());
        self.keep(signed, &request.key).await;
        tracing::info!(name = %identity.name(), "the certificate was renewed");
        Ok(())
    }
}

fn is_away(error: &Error) -> bool {
    matches!(error.code(), 404 | 408 | 503)
}

/// Returns how long it is until two thirds of the certificate's life are over.
fn until_due(identity: &Identity) -> Duration {
    let life = identity.shown(|shown| (shown.issued(), shown.until()));
    let (issued, until) = life.unwrap_or_default();
    due(issued, until).saturating_sub(clock::unix_now())
}

/// Returns when two thirds of a life are over, since 1970-01-01 UTC as its ends are.
fn due(issued: Duration, until: Duration) -> Duration {
    issued.saturating_add(until.saturating_sub(issued) / 3 * 2)
}

/// Bounds a pause, however near or far what is waited for: who was revoked is asked meanwhile.
fn bounded(pause: Duration) -> Duration {
    pause.clamp(PAUSE_MIN, REVOKED_INTERVAL)
}

/// Returns whether two thirds of the certificate's life are over.
pub(super) fn is_due(identity: &Identity) -> bool {
    until_due(identity).is_zero()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_certificate_is_due_at_two_thirds_of_its_life_and_not_before() {
        for (life, wanted) in [(3, 2), (60, 40), (3600, 2400), (86_400, 57_600), (0, 0)] {
            for issued in [0, 1, 1_700_000_000] {
                let due = due(seconds(issued), seconds(issued + life));
                assert_eq!(due, seconds(issued + wanted), "{life} s from {issued}");
            }
        }
        // A third that is no whole number is cut to the nanosecond below.
        assert_eq!(due(seconds(10), seconds(20)), Duration::new(16, 666_666_666));
        // Ends that are turned around are due at once.
        assert_eq!(due(seconds(20), seconds(10)), seconds(20));
    }

    #[test]
    fn a_pause_is_bounded_both_ways_and_a_retry_stays_within() {
        assert_eq!(bounded(Duration::ZERO), PAUSE_MIN);
        assert_eq!(bounded(PAUSE_MIN), PAUSE_MIN);
        assert_eq!(bounded(seconds(1_000_000)), REVOKED_INTERVAL);
        let mut pauses = Backoff::new(PAUSE_MIN * 5, REVOKED_INTERVAL);
        for _ in 0..1000 {
            let pause = bounded(pauses.next_delay());
            assert!((PAUSE_MIN..=REVOKED_INTERVAL).contains(&pause), "{pause:?}");
        }
    }
}
