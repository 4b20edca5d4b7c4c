//! The beginning of a process: settings, backends, wiring, serving, registering.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OnceCell, watch};

use crate::auth::Handle as Auth;
use crate::config::Config;
use crate::core::clock;
use crate::core::descriptor::ServiceDescriptor;
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::core::net::Address;
use crate::core::stall::Watchdog;
use crate::debug::Monitor;
use crate::registry::{Lease, Record};
use crate::server::{self, Server, Subscribed, Surroundings};
use crate::service::advertise::advertised;
use crate::service::authenticate;
use crate::service::backends::Backends;
use crate::service::banner;
use crate::service::begun::Guard;
use crate::service::builder::{Args, Configure, Service};
use crate::service::flags::{self, Flags};
use crate::service::identity;
use crate::service::kept::Kept;
use crate::service::layers::Layers;
use crate::service::listen::{Bound, is_on_the_port, listen};
use crate::service::mount::Mount;
#[cfg(all(unix, feature = "stdio"))]
use crate::service::observe::take_output;
use crate::service::observe::{Observe, Reach, install, show};
use crate::service::own::OwnNode;
use crate::service::readiness::Readiness;
use crate::service::record::{Place, add_free, record};
use crate::service::running::{Inner, Running};
use crate::service::secure;
use crate::service::settings::Settings;
use crate::service::signal::Signals;
use crate::service::stored::Stored;
use crate::service::wiring::Wiring;

/// How long a start waits for the broker and for the registry; one that is down later than that
/// does not keep the process from serving, only from being ready.
const START_WAIT: Duration = Duration::from_secs(2);

/// The table, in the database of the process, of settings in the store.
const STORED_TABLE: &str = "config";

impl Service {
    /// Reads the configuration, serves until SIGTERM or SIGINT, and stops without losing a call.
    ///
    /// Writes a line to standard error that says where it serves. `--help` writes what flags there
    /// are and returns. A second signal cuts the stop short.
    ///
    /// # Errors
    /// When the process cannot start, or had to cut calls when it stopped.
    pub async fn run(self) -> Result<()> {
        self.run_boxed().await
    }

    /// Boxed, as [`Service::start_boxed`] is: what a start does is then compiled with this crate,
    /// not again with each service.
    fn run_boxed(self) -> BoxFuture<'static, Result<()>> {
        Box::pin(self.run_until_asked())
    }

    async fn run_until_asked(mut self) -> Result<()> {
        let mut signals = Signals::listen()?;
        if let Args::Usual = self.inputs.args {
            self.inputs.args = Args::These(std::env::args_os().skip(1).collect());
        }
        let flags = self.flags()?;
        if flags.help {
            banner::say(&flags::help(&self.name, &self.inputs.own));
            return Ok(());
        }
        let (running, guard) = tokio::select! {
            started = self.begin(flags, Reach::Whole) => started?,
            signal = signals.next() => {
                tracing::info!(signal, "stopped before the start was complete");
                return Ok(());
            }
        };
        banner::say(&banner::start_line(&running));
        let mut waiting = std::pin::pin!(running.wait_for(&mut signals));
        // A stop is orderly from here on, however it begins.
        guard.keep();
        tokio::select! {
            hooks = after_start(&running) => if let Err(error) = hooks {
                running.stop().await;
                return Err(error);
            },
            stopped = &mut waiting => return stopped,
        }
        waiting.await
    }

    /// Reads the configuration and serves; returns when everything is served and registered.
    ///
    /// The arguments of the process are not read unless [`Service::args`] hands them over. Dropping
    /// the future ends what was begun: nothing goes on to serve without a handle to it.
    ///
    /// # Errors
    /// When the process cannot start; nothing of it is left then.
    pub async fn start(self) -> Result<Running> {
        self.start_boxed().await
    }

    fn start_boxed(self) -> BoxFuture<'static, Result<Running>> {
        Box::pin(self.start_and_register())
    }

    async fn start_and_register(self) -> Result<Running> {
        let flags = self.flags()?;
        let (running, guard) = self.begin(flags, Reach::Part).await?;
        if let Err(error) = after_start(&running).await {
            running.stop().await;
            return Err(error);
        }
        guard.keep();
        Ok(running)
    }

    fn flags(&self) -> Result<Flags> {
        let args = match &self.inputs.args {
            Args::Usual => Vec::new(),
            Args::These(args) => args.clone(),
        };
        flags::parse(args, &self.inputs.own)
    }

    async fn begin(mut self, flags: Flags, reach: Reach) -> Result<(Running, Guard)> {
        let variables = self.inputs.variables();
        let sources = std::mem::take(&mut self.inputs.sources);
        let code = std::mem::take(&mut self.code);
        let layers = Layers { code, sources, variables, flags: flags.values };
        let sources = layers.sources(&self.given.tasks, &self.given.drivers)?;
        let (mut config, settings) = sources.load().await?;
        let (store, auth) = (self.given.store.take(), std::mem::take(&mut self.given.auth));
        let recorder = self.given.recorder.take();
        let mut backends = Backends::open(std::mem::take(&mut self.given), &settings)?;
        // From here on there are tasks: whatever ends the start ends them too.
        let mut guard = Guard::new(&backends);
        let name = settings.server_name.clone().unwrap_or_else(|| self.name.clone());
        let (monitor, captured) = install(recorder, &settings, &name, &backends, reach)?;
        #[cfg(all(unix, feature = "stdio"))]
        let captured = captured | self.inputs.takes_output;
        #[cfg(all(unix, feature = "stdio"))]
        if self.inputs.takes_output {
            self.hooks.after_stop.push(take_output(&monitor)?);
        }
        for check in self.checks.drain(..) {
            monitor.health().add(check)?;
        }
        let kept = Kept::open(store, &settings, &self.name, backends.store_scope()).await?;
        authenticate::open(auth, &settings, &kept, &mut backends).await?;
        self.mounts.extend(identity::open(&settings, &kept, &self.name, &mut backends).await?);
        secure::serving(&settings, &mut backends)?;
        backends.reopen_broker()?;
        if self.inputs.is_stored {
            let table = kept.handle(&self.name)?.table(STORED_TABLE)?;
            (config, _) = sources.load_with(Arc::new(Stored::new(table))).await?;
        }
        for require in self.inputs.required.drain(..) {
            require(&config)?;
        }
        config.follow(&backends.tasks).await;
        let seen = Seen { monitor, captured };
        // In a box: the futures of programs would be large otherwise.
        let serving = Box::pin(self.serve(backends, kept, (config, seen), &settings));
        let running = serving.await?;
        guard.serves(&running);
        Ok((running, guard))
    }

    async fn serve(
        mut self,
        backends: Backends,
        kept: Kept,
        (config, seen): (Config, Seen),
        settings: &Settings,
    ) -> Result<Running> {
        let own = OwnNode::over(&backends.transport);
        let client = own.known_to(backends.client()).monitor(seen.monitor.clone());
        let client = self.client.drain(..).fold(client, |client, step| step(client));
        let client = client.build();
        let store = kept.handle(&self.name)?;
        let scope = Wiring::new(
            client.clone(),
            config.clone(),
            store.clone(),
            backends.shutdown.clone(),
            backends.tasks.clone(),
        )
        .with_auth(backends.auth.clone().unwrap_or_default());
        let services = self.describe();
        identity::check_served(&backends, &services)?;
        let around = Surroundings {
            codecs: Arc::new(backends.codecs.clone()),
            shutdown: backends.shutdown.clone(),
            tasks: backends.spawned.clone(),
            monitor: seen.monitor.clone(),
        };
        let (steps, mut subscribed) = make(self.mounts, &scope, &around).await?;
        subscribed.extend(self.subscribers.iter().map(|free| (free.make)(around.clone())));
        for hook in std::mem::take(&mut self.hooks.before_start) {
            hook(scope.clone()).await?;
        }
        let readiness = Readiness::over(backends.drivers.clone());
        let name = settings.server_name.clone().unwrap_or(self.name);
        let steps = self.server.into_iter().chain(steps);
        let steps = steps.chain([seen.clone().served(&name, &services, (&backends, &readiness))]);
        let steps = std::iter::once(browsers(settings)).chain(steps);
        let server = server(&backends, readiness.clone(), steps)?;
        let Bound { address, port } = listen(&server, &backends, settings).await?;
        let place = place(&backends, settings, self.metadata, &address)?;
        own.serves(&place, (&backends, settings), &server);
        if let Some(inbox) = backends.broker.inbox() {
            // A port of its own speaks HTTP; another transport's listener may not.
            inbox.reached_at(&place.address, is_on_the_port(backends.transport.as_ref()));
        }
        let subscriptions = readiness.subscriptions();
        subscriptions.make(&backends.broker, subscribed, START_WAIT, &backends.tasks).await?;
        // The server's own: marks are told by address, and a constant may have several.
        let stalls = watch_for_stalls(&backends, server.services())?;
        show(&seen.monitor, &server, &backends, &config, &stalls);
        let free: Vec<_> = self.subscribers.iter().map(|free| free.spec).collect();
        let mut records = records(&services, &place);
        add_free(&mut records, &name, &free, &place);
        readiness.started(register(&backends, records).await?);
        Ok(Running {
            inner: Arc::new(Inner {
                name,
                address,
                port,
                client,
                config,
                store,
                kept,
                backends,
                server,
                readiness,
                stalls,
                monitor: seen.monitor,
                services,
                subscribers: free,
                hooks: Mutex::new(self.hooks),
                asked: watch::Sender::new(false),
                report: OnceCell::new(),
            }),
        })
    }
}

/// What shows the process, on its way through the start.
#[derive(Clone)]
struct Seen {
    monitor: Monitor,
    /// Whether the log reaches the recorder.
    captured: bool,
}

impl Seen {
    /// Serves the questions about the process under the names of its services and under its own.
    fn served(
        self,
        process: &str,
        services: &[&'static ServiceDescriptor],
        (backends, readiness): (&Backends, &Readiness),
    ) -> Configure<server::Builder> {
        let mut names: Vec<_> = services.iter().map(|service| service.name.to_owned()).collect();
        names.push(process.to_owned());
        names.sort_unstable();
        names.dedup();
        let observe = Observe {
            name: process.to_owned(),
            monitor: self.monitor.clone(),
            readiness: readiness.clone(),
            shutdown: backends.shutdown.clone(),
            tasks: backends.trackers(),
            captured: self.captured,
            dumping: Arc::default(),
            profiling: Arc::default(),
        };
        Box::new(move |server| {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            server.monitor(self.monitor).mount_internal(&names, observe)
        })
    }
}

/// Has handlers that hold a worker found until the process closes; returns their count.
fn watch_for_stalls(
    backends: &Backends,
    services: &[&'static ServiceDescriptor],
) -> Result<Arc<AtomicU64>> {
    let stalls = Arc::<AtomicU64>::default();
    let watchdog = Watchdog::start(services, Arc::clone(&stalls))?;
    let shutdown = backends.shutdown.clone();
    backends.tasks.spawn("watchdog", async move {
        let _watchdog = watchdog;
        shutdown.closed().await;
    });
    Ok(stalls)
}

async fn after_start(running: &Running) -> Result<()> {
    let hooks = {
        let mut hooks = running.inner.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut hooks.after_start)
    };
    for hook in hooks {
        hook(running.clone()).await?;
    }
    Ok(())
}

/// Makes the values that are wired, sharing those that exist.
async fn make(
    mounts: Vec<Box<dyn Mount>>,
    scope: &Wiring,
    around: &Surroundings,
) -> Result<(Vec<Configure<server::Builder>>, Vec<Subscribed>)> {
    for mount in &mounts {
        mount.provide(scope);
    }
    let (mut steps, mut subscriptions) = (Vec::with_capacity(mounts.len()), Vec::new());
    for mount in mounts {
        let made = mount.make(scope, around.clone()).await?;
        steps.push(made.mount);
        subscriptions.extend(made.subscriptions);
    }
    Ok((steps, subscriptions))
}

/// Puts what the settings say of browsers into a server, before what the program says.
fn browsers(settings: &Settings) -> Configure<server::Builder> {
    let settings = settings.clone();
    Box::new(move |server| settings.browsers(server))
}

fn server(
    backends: &Backends,
    readiness: Readiness,
    steps: impl Iterator<Item = Configure<server::Builder>>,
) -> Result<Server> {
    let sight = readiness.clone();
    let server = Server::builder()
        .limits(backends.limits.clone())
        .codecs(backends.codecs.clone())
        .tasks(backends.tasks.clone())
        .spawned(backends.spawned.clone())
        .shutdown(backends.shutdown.clone())
        .lapsed(move |now| sight.is_lapsed(now))
        .ready(move || readiness.is_ready());
    let server = match &backends.auth {
        Some(auth) => server.policy(Arc::new(guard(auth, backends))),
        None => server,
    };
    #[cfg(feature = "tls")]
    let server = match &backends.identity {
        Some(identity) => server.identity(Arc::clone(identity)),
        None => server,
    };
    #[cfg(feature = "tls")]
    let server = match &backends.certificate {
        Some(files) => server.certificate(Arc::clone(files)),
        None => server,
    };
    let server = match backends.broker.inbox() {
        Some(inbox) => server.inbox(inbox),
        None => server,
    };
    steps.fold(server, |server, step| step(server)).build()
}

/// Makes the policy; where members prove who they are, callers on this machine do so as well.
fn guard(auth: &Auth, backends: &Backends) -> server::Guard {
    let guard = server::Guard::new(auth.clone());
    if identity::is_mutual(backends) { guard.everywhere() } else { guard }
}

fn place(
    backends: &Backends,
    settings: &Settings,
    metadata: Vec<(String, String)>,
    address: &Address,
) -> Result<Place> {
    let facts = [
        ("protocol", "mucp"),
        ("server", "micro"),
        ("transport", backends.transport.name()),
        ("registry", backends.registry.name()),
        ("broker", backends.broker.name()),
    ];
    let facts = facts.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let metadata = metadata.into_iter().chain(settings.metadata()?);
    let address = match &settings.server_advertise {
        Some(given) => given_address(given)?,
        None => advertised(address),
    };
    Ok(Place {
        node: settings.server_id.clone().unwrap_or_else(node_id),
        address,
        metadata: facts.into_iter().chain(metadata).collect(),
        version: settings.server_version.clone(),
    })
}

/// Refuses what no peer could dial.
fn given_address(text: &str) -> Result<String> {
    let refused = |error: Error| {
        let detail = format!("`micro.server_advertise`: {}", error.detail());
        Error::precondition_failed("micro.service", detail)
    };
    text.parse::<Address>().map(|_| text.to_owned()).map_err(refused)
}

fn node_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// Registers each service and waits a while for the registry to know; nothing where somebody else
/// says who serves.
async fn register(backends: &Backends, records: Vec<Record>) -> Result<Vec<Lease>> {
    if !backends.registry.capabilities().register {
        let registry = backends.registry.name();
        tracing::info!(registry, "somebody else writes this registry: nothing is registered");
        return Ok(Vec::new());
    }
    let mut leases = Vec::new();
    for record in records {
        leases.push(Lease::start(
            Arc::clone(&backends.registry),
            record,
            &backends.limits,
            &backends.tasks,
        )?);
    }
    let registered = async {
        for lease in &leases {
            lease.registered().await?;
        }
        Ok(())
    };
    match clock::timeout(START_WAIT, registered).await {
        Ok(registered) => registered.map(|()| leases),
        Err(_) => {
            let failure = leases.iter().find_map(Lease::failure);
            tracing::warn!(?failure, "not registered yet; serving and trying on");
            Ok(leases)
        }
    }
}

/// Makes one record for each name and version, with the endpoints of all that share them.
fn records(services: &[&'static ServiceDescriptor], place: &Place) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for service in services {
        let next = record(service, place);
        let same =
            |record: &&mut Record| record.name == next.name && record.version == next.version;
        match records.iter_mut().find(same) {
            Some(record) => {
                record.endpoints.extend(next.endpoints);
                record.metadata.extend(next.metadata);
            }
            None => records.push(next),
        }
    }
    records
}
