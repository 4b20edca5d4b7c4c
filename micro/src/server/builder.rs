//! Puts a server together.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::body::Body;
use bytes::Bytes;
use tower_layer::Layer;
use tower_service::Service;

use crate::broker::Inbox;
use crate::codec::Codecs;
use crate::core::clock::Instant;
#[cfg(feature = "grpc")]
use crate::core::descriptor::ServiceDescriptor;
use crate::core::error::{BoxError, Error, Result};
use crate::core::exchange::Outgoing;
use crate::core::limits::Limits;
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::debug::Monitor;
use crate::server::Server;
use crate::server::cancellation::Cancellation;
use crate::server::gate::Gate;
#[cfg(feature = "grpc")]
use crate::server::grpc::{Descriptors, HEALTH, Health, Known, Paths, REFLECTION, Reflection};
use crate::server::http::{Browser, Cors, Documents, Face, HttpNext, Ready, Site, Wrap, marked};
use crate::server::inbox::Deliveries;
use crate::server::layer::{Next, Request};
use crate::server::listen::Port;
use crate::server::policy::{Policy, Rule};
use crate::server::protocol::Protocol;
use crate::server::roster::Roster;
use crate::server::router::{Lapsed, Router};
use crate::server::serve::Serve;
use crate::server::table::{Mounts, Process, Table};
use crate::transport::Scope;
#[cfg(feature = "tls")]
use crate::transport::tls::{self, Identity};

/// What a [`Server`] is made of; every part has a default.
#[must_use]
#[derive(Default)]
pub struct Builder {
    mounts: Mounts,
    codecs: Codecs,
    limits: Arc<Limits>,
    tasks: TaskTracker,
    spawned: Option<TaskTracker>,
    shutdown: Shutdown,
    rule: Rule,
    layers: Option<Next>,
    http_layers: Vec<Wrap>,
    user: Option<axum::Router>,
    browser: Browser,
    cors: Cors,
    ready: Option<Ready>,
    lapsed: Option<Lapsed>,
    monitor: Monitor,
    inbox: Option<Arc<dyn Inbox>>,
    protocols: Vec<Arc<dyn Protocol>>,
    #[cfg(feature = "grpc")]
    descriptors: Vec<&'static [u8]>,
    #[cfg(feature = "tls")]
    secret: Option<tls::Server>,
}

impl Builder {
    /// Mounts a service.
    pub fn mount<S: Serve>(self, service: S) -> Self {
        self.mount_shared(Arc::new(service))
    }

    /// Mounts a service that the rest of the program shares.
    pub fn mount_shared<S: Serve>(mut self, service: Arc<S>) -> Self {
        self.mounts.add(service);
        self
    }

    /// Mounts a service that shows the inside of the process, under names of other services.
    ///
    /// It is served when the process is full and while it drains, holds up no stop, is not listed
    /// anywhere, and is refused to callers from other hosts who have no account, on an open server
    /// too. Where one of the names has an endpoint of the same name, that one is served.
    pub fn mount_internal<S: Serve>(mut self, names: &[&str], service: S) -> Self {
        self.mounts.add_internal(names, Arc::new(service));
        self
    }

    /// Sets what counts calls, records traces and knows of the health of the process.
    pub fn monitor(mut self, monitor: Monitor) -> Self {
        self.monitor = monitor;
        self
    }

    /// Sets the codecs, by default MessagePack and JSON.
    pub fn codecs(mut self, codecs: Codecs) -> Self {
        self.codecs = codecs;
        self
    }

    /// Sets the limits.
    pub fn limits(mut self, limits: impl Into<Arc<Limits>>) -> Self {
        self.limits = limits.into();
        self
    }

    /// Sets the owner of all tasks.
    pub fn tasks(mut self, tasks: TaskTracker) -> Self {
        self.tasks = tasks;
        self
    }

    /// Sets the owner of the tasks that handlers spawn, by default that of all tasks.
    pub fn spawned(mut self, tasks: TaskTracker) -> Self {
        self.spawned = Some(tasks);
        self
    }

    /// Sets the lifecycle that the server follows.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Asks a policy who callers are and what they may do.
    pub fn policy(mut self, policy: Arc<dyn Policy>) -> Self {
        self.rule = Rule::Asked(policy);
        self
    }

    /// Lets callers on other hosts call without authentication whatever asks for no scope.
    pub fn open_to_network(mut self) -> Self {
        self.rule = Rule::Open;
        self
    }

    /// Says what becomes of handlers whose callers go away; by default they are dropped.
    pub fn cancellation(mut self, cancellation: Cancellation) -> Self {
        self.mounts.detach_all(cancellation == Cancellation::Detached);
        self
    }

    /// Adds a layer around the calls of every protocol; the layer added last is outermost.
    pub fn layer<L>(mut self, layer: &L) -> Self
    where
        L: Layer<Next>,
        L::Service: Service<Request, Response = Outgoing, Error = Error>,
        L::Service: Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Future: Send,
    {
        self.layers = Some(Next::wrap(self.layers.take(), layer));
        self
    }

    /// Adds a layer around HTTP requests; the layer added last is outermost.
    pub fn http_layer<L, B>(mut self, layer: L) -> Self
    where
        L: Layer<HttpNext> + Send + 'static,
        L::Service: Service<::http::Request<Body>, Response = ::http::Response<B>>,
        L::Service: Service<::http::Request<Body>, Error = Infallible>,
        L::Service: Clone + Send + Sync + 'static,
        <L::Service as Service<::http::Request<Body>>>::Future: Send,
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.http_layers.push(HttpNext::wrap(layer));
        self
    }

    /// Serves HTTP routes of the user's own on the same port, after the endpoints.
    ///
    /// They are not public: on a server that is neither open to the network nor has a policy,
    /// callers on other hosts get 401. Handlers find the account as an `Extension<Arc<Account>>`
    /// and the caller's address as `ConnectInfo<SocketAddr>`.
    pub fn router(mut self, router: axum::Router) -> Self {
        self.user = Some(match self.user.take() {
            Some(present) => present.merge(marked(router)),
            None => marked(router),
        });
        self
    }

    /// Lets web pages of an origin call, such as `https://shop.example`; `*` lets all.
    pub fn allow_origin(mut self, origin: &str) -> Self {
        self.cors = self.cors.origin(origin);
        self
    }

    /// Sets which web pages of other origins may call, and what they may send and see.
    pub fn cors(mut self, cors: Cors) -> Self {
        self.cors = cors;
        self
    }

    /// Accepts a host name in HTTP requests, without port, such as `shop.example`; `*` accepts all.
    ///
    /// Addresses, `localhost` and the bound name are accepted anyway.
    pub fn allow_host(mut self, host: &str) -> Self {
        self.browser.allow_host(host);
        self
    }

    /// Says what `/readyz` answers while the server is not draining; ready by default.
    pub fn ready(mut self, ready: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.ready = Some(Arc::new(ready));
        self
    }

    /// Refuses calls, safe to retry elsewhere, while `lapsed` says that the process has been out of
    /// the world's sight at the instant the call arrived, as after it was stopped and resumed.
    ///
    /// Asked for every call: synchronous, never blocking.
    pub fn lapsed(mut self, lapsed: impl Fn(Instant) -> bool + Send + Sync + 'static) -> Self {
        self.lapsed = Some(Lapsed(Arc::new(lapsed)));
        self
    }

    /// Serves what other processes bring to a broker: see [`Broker::inbox`].
    ///
    /// [`Broker::inbox`]: crate::broker::Broker::inbox
    pub fn inbox(mut self, inbox: Arc<dyn Inbox>) -> Self {
        self.inbox = Some(Arc::clone(&inbox));
        self.mount(Deliveries(inbox))
    }

    /// Serves a protocol that this crate does not know on the same port; the one added first is
    /// asked first.
    pub fn protocol(mut self, protocol: Arc<dyn Protocol>) -> Self {
        self.protocols.push(protocol);
        self
    }

    /// Lets tools of gRPC ask what can be called, out of an encoded
    /// `google.protobuf.FileDescriptorSet`, as `protoc --descriptor_set_out` writes it.
    ///
    /// May be given several times. Server reflection, v1 and v1alpha, is served once there is one;
    /// on an open server, too, callers from other hosts need an account for it. The file has to be
    /// written with `--include_imports`, or tools miss what it imports.
    #[cfg(feature = "grpc")]
    pub fn descriptors(mut self, set: &'static [u8]) -> Self {
        self.descriptors.push(set);
        self
    }

    /// Speaks TLS, too, with those who begin a connection by it, as this process.
    ///
    /// The certificates of callers become their accounts. Whoever calls without one, or without
    /// TLS, calls as nobody.
    #[cfg(feature = "tls")]
    pub fn identity(mut self, identity: Arc<Identity>) -> Self {
        self.secret = Some(tls::Server::Member(identity));
        self
    }

    /// Speaks TLS with whoever connects over TCP, by a certificate in files.
    ///
    /// Whoever begins without TLS is told so and closed; over a Unix socket there is none. Where
    /// the files name authorities of clients, a certificate of one of them is asked for and becomes
    /// the account of the caller. Takes the place of [`Builder::identity`].
    #[cfg(feature = "tls")]
    pub fn certificate(mut self, files: Arc<tls::Files>) -> Self {
        self.secret = Some(tls::Server::Files(files));
        self
    }

    /// Makes the server; no I/O.
    ///
    /// # Errors
    /// 400 when the limits do not fit each other, descriptors are none or pages cannot be allowed so,
    /// 409 when two services have an endpoint of one name; the error names both.
    pub fn build(mut self) -> Result<Server> {
        self.limits.validate()?;
        self.browser.share_with(&self.cors)?;
        let ready = self.ready.take().unwrap_or_else(|| Arc::new(|| true));
        let in_flight = self.limits.call.in_flight_max;
        let gate = Arc::new(Gate::new(in_flight, in_flight));
        let services = self.mounts.descriptors();
        #[cfg(feature = "grpc")]
        self.mount_grpc(&services, &ready)?;
        let process = Process {
            gate: Arc::clone(&gate),
            shutdown: self.shutdown.clone(),
            tasks: self.spawned.unwrap_or_else(|| self.tasks.clone()),
            monitor: self.monitor.clone(),
        };
        let router = Arc::new(Router {
            table: Table::new(self.mounts, &process, &self.limits)?,
            codecs: self.codecs,
            limits: Arc::clone(&self.limits),
            rule: self.rule,
            layers: self.layers,
            gate,
            shutdown: self.shutdown.clone(),
            tasks: self.tasks.clone(),
            lapsed: self.lapsed,
            monitor: self.monitor,
        });
        let site = Site {
            router: Arc::clone(&router),
            user: self.user,
            inbox: self.inbox,
            browser: self.browser,
            documents: Documents::default(),
            ready,
            #[cfg(feature = "grpc")]
            paths: Paths::of(&router.table),
        };
        let port = Port {
            face: Arc::new(Face::new(site, self.http_layers)),
            roster: Arc::new(Roster::default()),
            scope: Scope { limits: self.limits, tasks: self.tasks, shutdown: self.shutdown },
            tls_noted: AtomicBool::new(false),
            plain_noted: AtomicBool::new(false),
            protocols: self.protocols,
            #[cfg(feature = "tls")]
            secret: self.secret,
            router,
        };
        Ok(Server::new(Arc::new(port), services))
    }

    /// Mounts what gRPC expects of every server.
    #[cfg(feature = "grpc")]
    fn mount_grpc(&mut self, services: &[&ServiceDescriptor], ready: &Ready) -> Result<()> {
        let health = Health {
            monitor: self.monitor.clone(),
            ready: Arc::clone(ready),
            shutdown: self.shutdown.clone(),
            known: Arc::new(Known::of(services, self.rule.shows_all())),
        };
        // Every connection of every client may watch, for as long as it lasts.
        let gate = Arc::new(Gate::new(self.limits.call.in_flight_max, 0));
        self.mounts.add_gated(&[HEALTH], Arc::new(health), Some(&gate));
        if self.descriptors.is_empty() {
            return Ok(());
        }
        let mut descriptors = Descriptors::default();
        for set in &self.descriptors {
            descriptors.add(set)?;
        }
        let reflection = Reflection(Arc::new(descriptors));
        self.mounts.add_internal(&REFLECTION, Arc::new(reflection));
        Ok(())
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("mounts", &self.mounts).finish_non_exhaustive()
    }
}
