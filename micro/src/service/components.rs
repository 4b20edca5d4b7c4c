//! The components a service is given in code, before any that is configured.

use crate::auth::{Auth, Proof, Rules};
use crate::broker::Broker;
use crate::codec::Codec;
use crate::debug::{Check, Recorder};
use crate::registry::Registry;
use crate::selector::Selector;
use crate::service::builder::Service;
use crate::store::Store;
use crate::transport::Transport;
use std::sync::Arc;

impl Service {
    /// Uses a registry, whatever is configured.
    #[must_use]
    pub fn registry(self, registry: impl Registry) -> Self {
        self.shared_registry(Arc::new(registry))
    }

    /// Uses a registry that others use too.
    #[must_use]
    pub fn shared_registry(mut self, registry: Arc<dyn Registry>) -> Self {
        self.given.registry = Some(registry);
        self
    }

    /// Uses a broker, whatever is configured.
    #[must_use]
    pub fn broker(self, broker: impl Broker) -> Self {
        self.shared_broker(Arc::new(broker))
    }

    /// Uses a broker that others use too; it stays open when this process stops.
    #[must_use]
    pub fn shared_broker(mut self, broker: Arc<dyn Broker>) -> Self {
        self.given.broker = Some(broker);
        self
    }

    /// Keeps records in a store, whatever is configured.
    ///
    /// The service works in a database of its name; `Store` as a field of a wired struct, and
    /// [`Running::store`](crate::service::Running::store), are handles to it.
    ///
    /// ```
    /// use micro::prelude::*;
    ///
    /// /// Counts visits.
    /// #[service]
    /// struct Visits {
    ///     store: Store,
    /// }
    ///
    /// #[service]
    /// impl Visits {
    ///     /// Counts one more.
    ///     #[handler]
    ///     async fn visit(&self, who: String) -> Result<u32> {
    ///         self.store.update(&who, |n: Option<u32>| n.unwrap_or_default() + 1).await
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// # let service = Service::new("visits").registry(micro::registry::Memory::new()).no_env();
    /// let service = service.store(micro::store::Memory::new()).wire::<Visits>();
    /// let running = service.start().await?;
    /// let visits: VisitsClient = running.client();
    /// assert_eq!(visits.visit("ada".to_owned()).await?, 1);
    /// assert_eq!(running.store().get::<u32>("ada").await?, Some(1));
    /// running.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn store(self, store: impl Store) -> Self {
        self.shared_store(Arc::new(store))
    }

    /// Keeps records in a store that others use too; it stays open when this process stops.
    #[must_use]
    pub fn shared_store(mut self, store: Arc<dyn Store>) -> Self {
        self.given.store = Some(store);
        self
    }

    /// Hands log records and spans to a recorder, by default to rings in memory.
    ///
    /// A program that installs a `tracing` subscriber of its own wraps it by
    /// [`debug::Capture`](crate::debug::Capture) with the same recorder, so that the log reaches it.
    #[must_use]
    pub fn recorder(self, recorder: impl Recorder) -> Self {
        self.shared_recorder(Arc::new(recorder))
    }

    /// Hands log records and spans to a recorder that others use too.
    #[must_use]
    pub fn shared_recorder(mut self, recorder: Arc<dyn Recorder>) -> Self {
        self.given.recorder = Some(recorder);
        self
    }

    /// Adds a check of health; what follows from its failure is its
    /// [`CheckKind`](crate::debug::CheckKind).
    ///
    /// Checks run when somebody asks, such as `/readyz` and `Debug.Health`, at most once a second.
    #[must_use]
    pub fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// Knows the accounts of callers, whatever is configured.
    ///
    /// Callers from other hosts have to prove to be one, but for what is `public`; the scopes of
    /// handlers hold for callers on this machine too. Without rules of its own the process follows
    /// those in table `rules` of database `micro.auth` of its store.
    #[must_use]
    pub fn auth(self, auth: impl Auth) -> Self {
        self.shared_auth(Arc::new(auth))
    }

    /// Knows the accounts that others know too.
    #[must_use]
    pub fn shared_auth(mut self, auth: Arc<dyn Auth>) -> Self {
        self.given.auth.auth = Some(auth);
        self
    }

    /// Decides by these rules; without accounts of its own the process knows nobody.
    #[must_use]
    pub fn rules(mut self, rules: impl Rules) -> Self {
        self.given.auth.rules = Some(Arc::new(rules));
        self
    }

    /// Makes calls as an account of the process's auth, whatever is configured.
    #[must_use]
    pub fn call_as(mut self, proof: Proof) -> Self {
        self.given.auth.proof = Some(proof);
        self
    }

    /// Uses a transport for calls to other nodes, whatever is configured; a transport other than
    /// the native one also serves.
    #[must_use]
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.given.transport = Some(Arc::new(transport));
        self
    }

    /// Chooses nodes by a policy, whatever is configured.
    #[must_use]
    pub fn selector(mut self, selector: impl Selector) -> Self {
        self.given.selector = Some(Arc::new(selector));
        self
    }

    /// Knows one more codec, for calls it serves and calls it makes.
    #[must_use]
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.given.codecs.register(Arc::new(codec));
        self
    }
}
