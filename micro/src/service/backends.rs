//! The backends of a process: those handed over in code, and the others by their names.

use std::sync::Arc;

use crate::auth::Session;
#[cfg(feature = "tls")]
use crate::auth::authority::Authority;
#[cfg(feature = "server")]
use crate::auth::{self, Auth, Rules};
use crate::broker::{Broker, Headers};
use crate::client::{Bearer, Builder, Client, insert_bearer};
use crate::codec::{Codecs, Format};
use crate::core::content_type::ContentType;
use crate::core::error::Result;
use crate::core::limits::Limits;
#[cfg(any(feature = "server", feature = "tls"))]
use crate::core::limits::StoreLimits;
use crate::core::metadata::Metadata;
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::debug::Recorder;
use crate::driver::Drivers;
use crate::registry::{Cached, Registry};
use crate::selector::Selector;
use crate::service::open;
use crate::service::secure::{self, Trust};
use crate::service::settings::Settings;
use crate::service::url::Url;
use crate::store::Store;
#[cfg(feature = "tls")]
use crate::transport::tls::{Files, Identity};
use crate::transport::{Scope, Transport};

/// What the program hands over; it wins over every setting.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) registry: Option<Arc<dyn Registry>>,
    pub(crate) broker: Option<Arc<dyn Broker>>,
    /// Taken before the others are opened: opening it may wait.
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "clients keep nothing"))]
    pub(crate) store: Option<Arc<dyn Store>>,
    /// Taken before the others are opened, as the store that it may need.
    #[cfg(feature = "server")]
    pub(crate) auth: GivenAuth,
    pub(crate) transport: Option<Arc<dyn Transport>>,
    pub(crate) selector: Option<Arc<dyn Selector>>,
    pub(crate) codecs: Codecs,
    /// Taken before the others are opened: it takes their log.
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "clients show nothing"))]
    pub(crate) recorder: Option<Arc<dyn Recorder>>,
    pub(crate) limits: Option<Limits>,
    /// The connections of the settings that were read, which the backends share.
    pub(crate) drivers: Drivers,
    /// What those connections are kept by, and everything else.
    pub(crate) tasks: TaskTracker,
}

/// Accounts and rules that the program hands over, and as which account it calls.
#[cfg(feature = "server")]
#[derive(Debug, Default)]
pub(crate) struct GivenAuth {
    pub(crate) auth: Option<Arc<dyn Auth>>,
    pub(crate) rules: Option<Arc<dyn Rules>>,
    pub(crate) proof: Option<auth::Proof>,
}

/// What a process works with.
#[derive(Clone, Debug)]
pub(crate) struct Backends {
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) broker: Arc<dyn Broker>,
    /// What the broker was opened by; `None` where it was handed over.
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "clients open it once"))]
    pub(crate) broker_url: Option<Url>,
    /// Accounts and rules; without them other hosts reach what is public.
    #[cfg(feature = "server")]
    pub(crate) auth: Option<auth::Handle>,
    /// Who the process is to its peers.
    #[cfg(feature = "tls")]
    pub(crate) identity: Option<Arc<Identity>>,
    /// What is served by TLS, where that is in files.
    #[cfg(feature = "tls")]
    pub(crate) certificate: Option<Arc<Files>>,
    /// What signs the certificates of others.
    #[cfg(feature = "tls")]
    pub(crate) authority: Option<Arc<Authority>>,
    /// As whom calls are made.
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) transport: Arc<dyn Transport>,
    /// Whether the transport is the usual one, which was not handed over.
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "clients have no node"))]
    pub(crate) is_native: bool,
    pub(crate) selector: Arc<dyn Selector>,
    pub(crate) codecs: Codecs,
    /// How calls are encoded.
    pub(crate) format: Format,
    pub(crate) limits: Limits,
    pub(crate) tasks: TaskTracker,
    /// Owns what handlers spawn, which a stop waits for.
    #[cfg(feature = "server")]
    pub(crate) spawned: TaskTracker,
    pub(crate) shutdown: Shutdown,
    /// The connections to the servers that the backends are on.
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "clients only hold them"))]
    pub(crate) drivers: Drivers,
}

impl Backends {
    /// Opens what was not handed over.
    pub(crate) fn open(given: Given, settings: &Settings) -> Result<Self> {
        let limits = settings.apply(given.limits.unwrap_or_default())?;
        let (tasks, shutdown) = (given.tasks, Shutdown::new());
        let scope = Scope::new(Arc::new(limits.clone()), tasks.clone(), shutdown.clone());
        let drivers = given.drivers;
        let registry = registry(given.registry, settings, (&scope, &drivers))?;
        let content_type = settings.client_content_type.as_deref().map(ContentType::parse);
        let content_type = content_type.unwrap_or_default();
        let trust = Trust::read(settings)?;
        let is_handed = given.transport.is_some();
        let transport = match given.transport {
            Some(transport) => handed("transport", settings.transport.as_ref(), transport),
            None => {
                let name = settings.transport.as_deref().unwrap_or("native");
                open::open_transport(name, &content_type, &trust, (&tasks, &drivers))?
            }
        };
        if transport.own_address().is_some() {
            secure::refuse_bus(settings)?;
        }
        let transport = open::reaching(transport, &content_type, &trust);
        let is_native = !is_handed && transport.name() == "native";
        let format = open::format(&content_type, &given.codecs)?;
        let session = settings.auth_token.clone().map(|token| Arc::new(Session::fixed(token)));
        let (broker, broker_url) = match given.broker {
            Some(broker) => (handed("broker", settings.broker.as_ref(), broker), None),
            None => {
                let (name, address) = (&settings.broker, &settings.broker_address);
                let name = name.as_deref().unwrap_or("memory");
                let url = Url::join("broker", name, address.as_deref())?;
                let headers = headers(session.as_ref());
                let peers = (&registry, &transport);
                let broker = open::open_broker(&url, peers, (&scope, &drivers), headers)?;
                (broker, Some(url))
            }
        };
        let selector = match given.selector {
            Some(selector) => handed("selector", settings.selector.as_ref(), selector),
            None => open::selector(settings.selector.as_deref().unwrap_or("p2c"))?,
        };
        Ok(Self {
            registry,
            broker,
            broker_url,
            #[cfg(feature = "server")]
            auth: None,
            #[cfg(feature = "tls")]
            identity: None,
            #[cfg(feature = "tls")]
            certificate: None,
            #[cfg(feature = "tls")]
            authority: None,
            session,
            transport,
            is_native,
            selector,
            codecs: given.codecs,
            format,
            limits,
            tasks,
            #[cfg(feature = "server")]
            spawned: TaskTracker::new(),
            shutdown,
            drivers,
        })
    }

    /// Opens the broker anew, unless it was handed over: it reaches other processes as who the
    /// process is by now. Nobody may have used it yet.
    #[cfg(feature = "server")]
    pub(crate) fn reopen_broker(&mut self) -> Result<()> {
        if let Some(url) = &self.broker_url {
            let headers = headers(self.session.as_ref());
            let peers = (&self.registry, &self.transport);
            self.broker = open::open_broker(url, peers, (&self.scope(), &self.drivers), headers)?;
        }
        Ok(())
    }

    /// Tells whether the broker ends with this process's part in it.
    #[cfg(feature = "server")]
    pub(crate) fn owns_broker(&self) -> bool {
        self.broker_url.is_some()
    }

    /// Returns the owners of all tasks: those of the process and those that handlers spawn.
    #[cfg(feature = "server")]
    pub(crate) fn trackers(&self) -> [TaskTracker; 2] {
        [self.tasks.clone(), self.spawned.clone()]
    }

    /// Returns what the URLs of the process begin with.
    #[cfg(feature = "server")]
    pub(crate) fn scheme(&self) -> &'static str {
        #[cfg(feature = "tls")]
        if self.certificate.is_some() {
            return "https";
        }
        "http"
    }

    /// Tells whether calls to the process's own port say nothing that the network would have to
    /// add: no certificate, no frames but those of the native transport.
    #[cfg(feature = "server")]
    pub(crate) fn dials_plainly(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.identity.is_some() || self.certificate.is_some() {
            return false;
        }
        self.is_native
    }

    /// Returns what a store works within.
    #[cfg(any(feature = "server", feature = "tls"))]
    pub(crate) fn store_scope(&self) -> (&StoreLimits, &TaskTracker, &Drivers) {
        (&self.limits.store, &self.tasks, &self.drivers)
    }

    /// Returns what transports work within.
    #[cfg(feature = "server")]
    pub(crate) fn scope(&self) -> Scope {
        Scope {
            limits: Arc::new(self.limits.clone()),
            tasks: self.tasks.clone(),
            shutdown: self.shutdown.clone(),
        }
    }

    /// Begins a client over these backends.
    pub(crate) fn client(&self) -> Builder {
        let (registry, tasks) = (Arc::clone(&self.registry), self.tasks.clone());
        let cached = Cached::with_limits(registry, tasks, &self.limits.registry);
        let client = Client::builder()
            .limits(self.limits.clone())
            .tasks(self.tasks.clone())
            .shutdown(self.shutdown.clone())
            .cached_registry(cached)
            .broker(Arc::clone(&self.broker))
            .transport(Arc::clone(&self.transport))
            .selector(Arc::clone(&self.selector))
            .codecs(self.codecs.clone())
            .format(self.format.clone());
        match &self.session {
            Some(session) => client.layer(&Bearer::new(Arc::clone(session))),
            None => client,
        }
    }
}

/// Makes what a broker shows to the processes that it reaches.
fn headers(session: Option<&Arc<Session>>) -> Option<Headers> {
    let session = Arc::clone(session?);
    Some(Arc::new(move || {
        let session = Arc::clone(&session);
        Box::pin(async move {
            let token = session.token().await?;
            let mut headers = Metadata::new();
            insert_bearer(&mut headers, &token)?;
            Ok(headers)
        })
    }))
}

/// The registry that was handed over, or else the one that the settings name.
fn registry(
    given: Option<Arc<dyn Registry>>,
    settings: &Settings,
    (scope, drivers): (&Scope, &Drivers),
) -> Result<Arc<dyn Registry>> {
    if let Some(registry) = given {
        return Ok(handed("registry", settings.registry.as_ref(), registry));
    }
    let (name, address) = (&settings.registry, &settings.registry_address);
    let mut url = Url::join("registry", name.as_deref().unwrap_or("local"), address.as_deref())?;
    announce(&mut url, settings);
    open::open_registry(&url, scope, drivers)
}

/// Lets multicast DNS speak on the interface on which the process is reachable.
#[cfg(all(feature = "mdns", feature = "server"))]
fn announce(url: &mut Url, settings: &Settings) {
    if url.scheme != "mdns" || !url.rest.is_empty() {
        return;
    }
    // An address that is none is refused where it is bound.
    let address = settings.server_address.as_deref().and_then(|text| text.parse().ok());
    if let Some(ip) = address.and_then(|address| crate::service::advertise::interface(&address)) {
        url.rest = ip.to_string();
    }
}

#[cfg(not(all(feature = "mdns", feature = "server")))]
fn announce(_: &mut Url, _: &Settings) {}

/// Returns a backend that was handed over, which no setting replaces.
fn handed<T>(component: &str, setting: Option<&String>, backend: T) -> T {
    if setting.is_some() {
        tracing::warn!(component, "the program brings its own backend: the setting is ignored");
    }
    backend
}
