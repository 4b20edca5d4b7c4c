//! A process that serves.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{OnceCell, watch};

use crate::auth::Handle as Auth;
#[cfg(feature = "tls")]
use crate::auth::authority::Authority;
use crate::client::{Client, Publisher};
use crate::config::Config;
use crate::core::descriptor::{ServiceDescriptor, SubscriptionSpec};
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::core::net::Address;
use crate::debug::Monitor;
use crate::server::Server;
use crate::service::backends::Backends;
use crate::service::hooks::Hooks;
use crate::service::kept::Kept;
use crate::service::listen::is_on_the_port;
use crate::service::readiness::Readiness;
use crate::service::signal::Signals;
use crate::service::stop::{self, Report};
use crate::store::Handle as Store;
#[cfg(feature = "tls")]
use crate::transport::tls::Identity;

/// A handle to a process that serves; clones share it.
///
/// Dropping every clone leaves the process running until its runtime ends: stop it with
/// [`Running::stop`].
#[derive(Clone)]
pub struct Running {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) name: String,
    pub(crate) address: Address,
    /// The port that serves HTTP, where peers dial something else.
    pub(crate) port: Option<Address>,
    pub(crate) client: Client,
    pub(crate) config: Config,
    /// The handle to the process's own database, and the store that it is in.
    pub(crate) store: Store,
    pub(crate) kept: Kept,
    pub(crate) backends: Backends,
    pub(crate) server: Server,
    pub(crate) readiness: Readiness,
    /// Handlers that were found to hold a worker.
    pub(crate) stalls: Arc<AtomicU64>,
    pub(crate) monitor: Monitor,
    pub(crate) services: Vec<&'static ServiceDescriptor>,
    pub(crate) subscribers: Vec<SubscriptionSpec>,
    pub(crate) hooks: Mutex<Hooks>,
    /// Whether somebody asked the process to stop.
    pub(crate) asked: watch::Sender<bool>,
    pub(crate) report: OnceCell<Report>,
}

impl Running {
    /// Returns a client of the process: [`Client`] itself or a generated one.
    pub fn client<C: From<Client>>(&self) -> C {
        self.inner.client.clone().into()
    }

    /// Returns the handle that publishes events.
    pub fn broker(&self) -> Publisher {
        Publisher::new(Arc::clone(&self.inner.backends.broker))
    }

    /// Returns the name of the process.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns the address that peers dial.
    pub fn address(&self) -> &Address {
        &self.inner.address
    }

    /// Returns where the process serves HTTP and everything else on a port.
    ///
    /// That is [`Running::address`] unless peers dial something else, such as a subject of NATS;
    /// `None` where no port was asked for besides.
    pub fn port(&self) -> Option<&Address> {
        let dialed = Some(&self.inner.address);
        let dialed = dialed.filter(|_| is_on_the_port(self.inner.backends.transport.as_ref()));
        self.inner.port.as_ref().or(dialed)
    }

    /// Returns the address as a URL for HTTP clients, such as `http://127.0.0.1:8080`, `https://`
    /// where a certificate in files is served; an address
    /// that no URL can name, such as `unix:/run/shop`, as it is.
    pub fn url(&self) -> String {
        match self.inner.port.as_ref().unwrap_or(&self.inner.address) {
            Address::Tcp(host) => format!("{}://{host}", self.inner.backends.scheme()),
            other => other.to_string(),
        }
    }

    /// Returns the settings of the process.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Returns the handle to the database of the process.
    pub fn store(&self) -> Store {
        self.inner.store.clone()
    }

    /// Returns the handle to accounts and rules; without any configured it knows nobody.
    pub fn auth(&self) -> Auth {
        self.inner.backends.auth.clone().unwrap_or_default()
    }

    /// Returns who the process is to its peers, if it has a certificate.
    #[cfg(feature = "tls")]
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.inner.backends.identity.as_ref()
    }

    /// Returns the authority, if this process holds it.
    #[cfg(feature = "tls")]
    pub fn authority(&self) -> Option<&Arc<Authority>> {
        self.inner.backends.authority.as_ref()
    }

    /// Lists what is served, in the order of mounting.
    pub fn services(&self) -> &[&'static ServiceDescriptor] {
        &self.inner.services
    }

    /// Lists the free functions that are subscribed.
    pub fn subscribers(&self) -> &[SubscriptionSpec] {
        &self.inner.subscribers
    }

    /// Returns whether the process is registered and takes calls.
    pub fn is_ready(&self) -> bool {
        self.inner.readiness.is_ready()
    }

    /// Returns how often a handler held a worker thread for most of a second without awaiting;
    /// the log says which.
    pub fn stalls(&self) -> u64 {
        self.inner.stalls.load(Ordering::Relaxed)
    }

    /// Returns what counts calls and knows of the health of the process.
    pub fn monitor(&self) -> &Monitor {
        &self.inner.monitor
    }

    /// Asks the process to stop, as a signal would, and returns at once.
    ///
    /// [`Running::wait`], and with it `Service::run`, stops the process then.
    pub fn shut_down(&self) {
        self.inner.readiness.stop();
        self.inner.asked.send_replace(true);
    }

    /// Stops the process: tells the registry, serves on until that has spread, finishes the calls
    /// in flight, deregisters, ends what is left.
    ///
    /// Each phase has its deadline in [`ShutdownLimits`]. Every caller gets the same report.
    /// Dropping the future pauses the stop; calling again goes on.
    ///
    /// [`ShutdownLimits`]: crate::core::limits::ShutdownLimits
    pub async fn stop(&self) -> Report {
        self.shut_down();
        *self.inner.report.get_or_init(|| self.stop_boxed()).await
    }

    /// Boxed, so that it is compiled with this crate, not again with each service.
    fn stop_boxed(&self) -> BoxFuture<'_, Report> {
        Box::pin(stop::run(self))
    }

    /// Waits for SIGTERM, SIGINT or [`Running::shut_down`], then stops the process; a second
    /// signal cuts that short.
    ///
    /// # Errors
    /// When calls were cut, so that the process ends with a failure.
    pub async fn wait(&self) -> Result<()> {
        self.wait_boxed(Signals::listen()?).await
    }

    fn wait_boxed(&self, mut signals: Signals) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.wait_for(&mut signals).await })
    }

    pub(crate) async fn wait_for(&self, signals: &mut Signals) -> Result<()> {
        let mut asked = self.inner.asked.subscribe();
        tokio::select! {
            signal = signals.next() => tracing::info!(signal, "stopping"),
            // The sender lives as long as `self`.
            _ = asked.wait_for(|asked| *asked) => tracing::info!("stopping"),
        }
        let mut stopping = std::pin::pin!(self.stop());
        let report = tokio::select! {
            report = &mut stopping => report,
            signal = signals.next() => {
                tracing::warn!(signal, "a second signal: cutting what still runs");
                self.inner.backends.shutdown.close();
                stopping.await
            }
        };
        if report.is_clean() {
            return Ok(());
        }
        Err(Error::unavailable("micro.service", report))
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("name", &self.inner.name)
            .field("address", &self.inner.address)
            .finish_non_exhaustive()
    }
}
