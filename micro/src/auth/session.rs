//! The tokens that calls are made with, renewed before they are over.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use crate::auth::Grant;
use crate::auth::Handle;
use crate::auth::Proof;
use crate::core::clock;
use crate::core::error::Result;
use crate::core::secret::Secret;

/// Proves with every call to be one account.
///
/// An access token is asked for when it is first needed and again when two thirds of its life are
/// over; one that is not over is used on while no other can be got.
pub struct Session {
    source: Source,
    grant: ArcSwapOption<Grant>,
    /// Held while tokens are asked for: a refresh token is good for one use.
    turn: Mutex<()>,
}

enum Source {
    Fixed(Secret<String>),
    Account { auth: Handle, proof: Proof },
}

impl Session {
    /// Proves to be an account of `auth`; nothing is asked for yet.
    pub fn new(auth: Handle, proof: Proof) -> Self {
        Self::of(Source::Account { auth, proof })
    }

    /// Uses one token for ever.
    pub fn fixed(token: Secret<String>) -> Self {
        Self::of(Source::Fixed(token))
    }

    fn of(source: Source) -> Self {
        Self { source, grant: ArcSwapOption::empty(), turn: Mutex::new(()) }
    }

    /// Returns a token that is good for a while without asking for one; `None` if that takes asking.
    pub fn ready(&self) -> Option<Secret<String>> {
        match &self.source {
            Source::Fixed(token) => Some(token.clone()),
            Source::Account { .. } => {
                let grant = self.grant.load_full()?;
                let life = grant.expiry.saturating_sub(grant.created);
                let young = clock::unix_now() < grant.created + life / 3 * 2;
                young.then(|| grant.access.clone())
            }
        }
    }

    /// Returns a token that is good for a while; cancel safe.
    ///
    /// # Errors
    /// 401 when the proof is not accepted; what the backend fails with.
    pub async fn token(&self) -> Result<Secret<String>> {
        if let Some(token) = self.ready() {
            return Ok(token);
        }
        let _turn = self.turn.lock().await;
        // Whoever held the turn before may have asked already.
        match (self.ready(), &self.source) {
            (Some(token), _) => Ok(token),
            (None, Source::Fixed(token)) => Ok(token.clone()),
            (None, Source::Account { auth, proof }) => self.ask(auth, proof).await,
        }
    }

    async fn ask(&self, auth: &Handle, proof: &Proof) -> Result<Secret<String>> {
        let before = self.grant.load_full();
        let renewed = match &before {
            // One that was used up by a call that was dropped halfway is a 401.
            Some(grant) => auth.token(&grant.proof()).await,
            None => auth.token(proof).await,
        };
        let renewed = match renewed {
            Err(error) if before.is_some() && error.code() == 401 => auth.token(proof).await,
            renewed => renewed,
        };
        match (renewed, before) {
            (Ok(grant), _) => {
                let token = grant.access.clone();
                self.grant.store(Some(Arc::new(grant)));
                Ok(token)
            }
            (Err(error), Some(grant)) if !grant.is_over(clock::unix_now()) => {
                tracing::warn!(%error, "no other token to be got; the one there is is used on");
                Ok(grant.access.clone())
            }
            (Err(error), _) => Err(error),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.source {
            Source::Fixed(_) => "fixed",
            Source::Account { .. } => "account",
        };
        f.debug_struct("Session").field("source", &kind).finish_non_exhaustive()
    }
}
