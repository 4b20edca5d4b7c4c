//! A service before it runs: what is mounted and what it runs on.

use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use tower_layer::Layer;
use tower_service::Service as Tower;

use crate::client;
use crate::config::{Config, Flat, Source};
use crate::core::descriptor::ServiceDescriptor;
use crate::core::error::{Error, Result};
use crate::core::limits::Limits;
use crate::debug::Check;
use crate::server::{self, Serve, Subscriber};
use crate::service::backends::Given;
use crate::service::catalog::{self, Linked};
use crate::service::env::{self, Variables};
use crate::service::flags::Own;
use crate::service::hooks::{self, Hooks};
use crate::service::mount::{Mount, Value, Wired};
use crate::service::running::Running;
use crate::service::settings::SECTION;
use crate::service::wiring::{FromService, Wiring};

/// A process of services: what it serves, what it listens to, what it runs on.
///
/// Nothing happens before [`Service::run`] or [`Service::start`]. What is set here as text or as a
/// number is a default that configuration may override (files, then `MICRO_*` variables, then
/// flags); a backend that is handed over as a value is used as it is.
///
/// ```no_run
/// use micro::service::Service;
///
/// # async fn example() -> micro::core::error::Result<()> {
/// Service::new("shop").address("127.0.0.1:8080").metadata("zone", "a").run().await
/// # }
/// ```
pub struct Service {
    pub(crate) name: String,
    pub(crate) code: Flat,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) given: Given,
    pub(crate) server: Vec<Configure<server::Builder>>,
    pub(crate) client: Vec<Configure<client::Builder>>,
    pub(crate) mounts: Vec<Box<dyn Mount>>,
    pub(crate) subscribers: Vec<Linked>,
    pub(crate) hooks: Hooks,
    pub(crate) checks: Vec<Check>,
    pub(crate) inputs: Inputs,
}

/// A step of another builder, taken when the process starts.
pub(crate) type Configure<B> = Box<dyn FnOnce(B) -> B + Send>;

/// Where settings come from beside the code.
#[derive(Default)]
pub(crate) struct Inputs {
    pub(crate) sources: Vec<Arc<dyn Source>>,
    /// `None` means those of the process.
    pub(crate) variables: Option<Variables>,
    pub(crate) args: Args,
    pub(crate) own: Vec<Own>,
    /// Whether the store is a source too.
    pub(crate) is_stored: bool,
    /// Whether the log takes what the program prints.
    #[cfg(all(unix, feature = "stdio"))]
    pub(crate) takes_output: bool,
    /// What the settings must satisfy, at the start and later.
    pub(crate) required: Vec<Require>,
}

/// Reads a section that has to be there.
pub(crate) type Require = Box<dyn FnOnce(&Config) -> Result<()> + Send>;

/// The command line.
#[derive(Debug, Default)]
pub(crate) enum Args {
    /// That of the process when it runs, none when it is started.
    #[default]
    Usual,
    /// These arguments, without the program's name.
    These(Vec<OsString>),
}

impl Service {
    /// Names a process; the name is for logs, traces and the start line.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            code: Flat::new("code"),
            metadata: Vec::new(),
            given: Given::default(),
            server: Vec::new(),
            client: Vec::new(),
            mounts: Vec::new(),
            subscribers: Vec::new(),
            hooks: Hooks::default(),
            checks: Vec::new(),
            inputs: Inputs::default(),
        }
    }

    /// Serves a value; it registers under the name that its `#[service]` declares.
    #[must_use]
    pub fn mount<S: Serve>(self, service: S) -> Self {
        self.mount_shared(Arc::new(service))
    }

    /// Serves a value that the program keeps using.
    #[must_use]
    pub fn mount_shared<S: Serve>(mut self, service: Arc<S>) -> Self {
        self.mounts.push(Box::new(Value(service)));
        self
    }

    /// Serves a value that is wired from the process when it starts.
    ///
    /// Other wired structs that take an `Arc` of the type share the value.
    #[must_use]
    pub fn wire<S: Serve + FromService>(mut self) -> Self {
        self.mounts.push(Box::new(Wired::<S>::new()));
        self
    }

    /// Subscribes a free function that is marked `#[subscriber]`.
    #[must_use]
    pub fn subscribe<F: Subscriber>(self) -> Self {
        self.subscribe_once(Linked::new::<F>())
    }

    /// Subscribes every free function marked `#[subscriber]` that is linked into the binary.
    ///
    /// Functions of a crate that the binary never mentions are not linked: `use my_crate as _;`
    /// mentions it.
    #[must_use]
    pub fn mount_linked(self) -> Self {
        catalog::linked().fold(self, Self::subscribe_once)
    }

    fn subscribe_once(mut self, subscriber: Linked) -> Self {
        if !self.subscribers.iter().any(|other| other.is(&subscriber)) {
            self.subscribers.push(subscriber);
        }
        self
    }

    /// Says where to listen: `host:port`, `unix:/path`; the default is a free loopback port.
    #[must_use]
    pub fn address(self, address: impl fmt::Display) -> Self {
        self.setting("server_address", address)
    }

    /// Says what to register instead of the address it listens on, such as the one outside of a
    /// container.
    #[must_use]
    pub fn advertise(self, address: impl fmt::Display) -> Self {
        self.setting("server_advertise", address)
    }

    /// Says where spans go beside the ring of the process, such as `otlp://127.0.0.1:4318`.
    #[must_use]
    pub fn tracer(self, url: impl fmt::Display) -> Self {
        self.setting("tracer", url)
    }

    /// Hands what the program prints to the recorder, too, until the process has stopped.
    ///
    /// See [`debug::Output`](crate::debug::Output) for what that means. One service of a process
    /// can do this; the start of another fails with 409.
    #[cfg(all(unix, feature = "stdio"))]
    #[must_use]
    pub fn capture_output(mut self) -> Self {
        self.inputs.takes_output = true;
        self
    }

    /// Registers all services under this version instead of their own.
    #[must_use]
    pub fn version(self, version: impl fmt::Display) -> Self {
        self.setting("server_version", version)
    }

    /// States a fact about the node, such as its zone, in the registry.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    fn setting(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.code.set(format!("{SECTION}.{name}"), value.to_string(), "code");
        self
    }

    /// Works within these limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.given.limits = Some(limits);
        self
    }

    /// Adds a layer around the calls that are made; the layer added last is outermost.
    ///
    /// See [`client::Builder::layer`].
    #[must_use]
    pub fn client_layer<L>(self, layer: L) -> Self
    where
        L: Layer<client::Next> + Send + 'static,
        L::Service: Tower<client::Request, Response = client::Reply, Error = Error, Future: Send>,
        L::Service: Clone + Send + Sync + 'static,
    {
        self.client(move |client| client.layer(&layer))
    }

    /// Lets tools of gRPC ask what can be called: see [`server::Builder::descriptors`].
    #[cfg(feature = "grpc")]
    #[must_use]
    pub fn descriptors(self, set: &'static [u8]) -> Self {
        self.server(move |server| server.descriptors(set))
    }

    /// Configures the server beyond what has a method here.
    #[must_use]
    pub fn server(
        mut self,
        configure: impl FnOnce(server::Builder) -> server::Builder + Send + 'static,
    ) -> Self {
        self.server.push(Box::new(configure));
        self
    }

    /// Configures the client beyond what has a method here.
    #[must_use]
    pub fn client(
        mut self,
        configure: impl FnOnce(client::Builder) -> client::Builder + Send + 'static,
    ) -> Self {
        self.client.push(Box::new(configure));
        self
    }

    /// Reads settings from one more source; it overrides earlier ones and is overridden by the
    /// file of `MICRO_CONFIG`, variables and flags.
    #[must_use]
    pub fn config(mut self, source: impl Source) -> Self {
        self.inputs.sources.push(Arc::new(source));
        self
    }

    /// Reads settings from the store too, each a record of table `config` in the database of this
    /// service: under its dotted key, as JSON. They override files and are overridden by variables
    /// and flags.
    #[must_use]
    pub fn config_from_store(mut self) -> Self {
        self.inputs.is_stored = true;
        self
    }

    /// Ends the start unless a section of the settings can be read as `T`, and refuses every later
    /// change under which it could not.
    #[must_use]
    pub fn require_config<T: DeserializeOwned + 'static>(mut self, key: &'static str) -> Self {
        let require = move |config: &Config| config.require::<T>(key).map(drop);
        self.inputs.required.push(Box::new(require));
        self
    }

    /// Takes these arguments, without the program's name, as the command line.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.inputs.args = Args::These(args.into_iter().map(Into::into).collect());
        self
    }

    /// Ignores the command line.
    #[must_use]
    pub fn no_args(self) -> Self {
        self.args(std::iter::empty::<OsString>())
    }

    /// Takes these variables instead of the environment.
    #[must_use]
    pub fn env<K, V>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let variables = variables.into_iter().map(|(key, value)| (key.into(), value.into()));
        self.inputs.variables = Some(variables.collect());
        self
    }

    /// Ignores the environment.
    #[must_use]
    pub fn no_env(self) -> Self {
        self.env(std::iter::empty::<(OsString, OsString)>())
    }

    /// Accepts a flag of the program's own; its value is the setting of the same name.
    ///
    /// `--name` alone is `true`; a value is given as `--name=value`.
    #[must_use]
    pub fn flag(mut self, name: impl Into<String>, help: impl Into<String>) -> Self {
        self.inputs.own.push(Own { name: name.into(), help: help.into() });
        self
    }

    /// Runs code after wiring and before anything is served; an error ends the start.
    #[must_use]
    pub fn before_start<F, U>(mut self, hook: F) -> Self
    where
        F: FnOnce(Wiring) -> U + Send + 'static,
        U: Future<Output = Result<()>> + Send + 'static,
    {
        self.hooks.before_start.push(hooks::boxed(hook));
        self
    }

    /// Runs code once everything is served and registered; an error stops the process.
    #[must_use]
    pub fn after_start<F, U>(mut self, hook: F) -> Self
    where
        F: FnOnce(Running) -> U + Send + 'static,
        U: Future<Output = Result<()>> + Send + 'static,
    {
        self.hooks.after_start.push(hooks::boxed(hook));
        self
    }

    /// Runs code when the process begins to stop and still serves; an error is logged.
    #[must_use]
    pub fn before_stop<F, U>(mut self, hook: F) -> Self
    where
        F: FnOnce(Running) -> U + Send + 'static,
        U: Future<Output = Result<()>> + Send + 'static,
    {
        self.hooks.before_stop.push(hooks::boxed(hook));
        self
    }

    /// Runs code when nothing is served any more; an error is logged.
    #[must_use]
    pub fn after_stop<F, U>(mut self, hook: F) -> Self
    where
        F: FnOnce() -> U + Send + 'static,
        U: Future<Output = Result<()>> + Send + 'static,
    {
        self.hooks.after_stop.push(Box::new(move || Box::pin(hook())));
        self
    }

    /// Lists what is mounted, in the order of mounting.
    pub fn describe(&self) -> Vec<&'static ServiceDescriptor> {
        self.mounts.iter().map(|mount| mount.descriptor()).collect()
    }
}

impl Inputs {
    pub(crate) fn variables(&mut self) -> Variables {
        self.variables.take().unwrap_or_else(env::of_process)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services: Vec<_> = self.describe().iter().map(|descriptor| descriptor.name).collect();
        f.debug_struct("Service")
            .field("name", &self.name)
            .field("services", &services)
            .field("hooks", &self.hooks)
            .finish_non_exhaustive()
    }
}
