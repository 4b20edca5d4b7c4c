//! The beginning of a process: settings, backends, wiring, serving, registering.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OnceCell, watch};

use crate::client::Client;
use crate::config::Config;
use crate::core::clock;
use crate::core::descriptor::ServiceDescriptor;
use crate::core::error::{Error, Result};
use crate::core::net::Address;
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::registry::Lease;
use crate::server::{self, Server};
use crate::service::backends::Backends;
use crate::service::banner;
use crate::service::builder::{Args, Configure, Service};
use crate::service::flags::{self, Flags};
use crate::service::layers::Layers;
use crate::service::mount::Mount;
use crate::service::record::{Place, record};
use crate::service::running::{Inner, Running};
use crate::service::settings::Settings;
use crate::service::signal::Signals;
use crate::service::wiring::Wiring;

/// How long a start waits for the registry; a registry that is down later than that does not keep
/// the process from serving, only from being ready.
const REGISTER_WAIT: Duration = Duration::from_secs(2);

/// Where a process listens unless it is told.
const ADDRESS: &str = "127.0.0.1:0";

impl Service {
    /// Reads the configuration, serves until SIGTERM or SIGINT, and stops without losing a call.
    ///
    /// Writes a line to standard error that says where it serves. `--help` writes what flags there
    /// are and returns. A second signal cuts the stop short.
    ///
    /// # Errors
    /// When the process cannot start, or had to cut calls when it stopped.
    pub async fn run(mut self) -> Result<()> {
        let mut signals = Signals::listen()?;
        if let Args::Usual = self.inputs.args {
            self.inputs.args = Args::These(std::env::args_os().skip(1).collect());
        }
        let flags = self.flags()?;
        if flags.help {
            banner::say(&flags::help(&self.name, &self.inputs.own));
            return Ok(());
        }
        let running = tokio::select! {
            started = self.begin(flags) => started?,
            signal = signals.next() => {
                tracing::info!(signal, "stopped before the start was complete");
                return Ok(());
            }
        };
        banner::say(&banner::start_line(&running));
        tokio::select! {
            hooks = after_start(&running) => if let Err(error) = hooks {
                running.stop().await;
                return Err(error);
            },
            stopped = running.wait_for(&mut signals) => return stopped,
        }
        running.wait_for(&mut signals).await
    }

    /// Reads the configuration and serves; returns when everything is served and registered.
    ///
    /// The arguments of the process are not read unless [`Service::args`] hands them over.
    ///
    /// # Errors
    /// When the process cannot start; nothing of it is left then.
    pub async fn start(self) -> Result<Running> {
        let flags = self.flags()?;
        let running = self.begin(flags).await?;
        if let Err(error) = after_start(&running).await {
            running.stop().await;
            return Err(error);
        }
        Ok(running)
    }

    fn flags(&self) -> Result<Flags> {
        let args = match &self.inputs.args {
            Args::Usual => Vec::new(),
            Args::These(args) => args.clone(),
        };
        flags::parse(args, &self.inputs.own)
    }

    async fn begin(mut self, flags: Flags) -> Result<Running> {
        let variables = self.inputs.variables();
        let sources = std::mem::take(&mut self.inputs.sources);
        let code = std::mem::take(&mut self.code);
        let layers = Layers { code, sources, variables, flags: flags.values };
        let (config, settings) = layers.load().await?;
        let backends = Backends::open(std::mem::take(&mut self.given), &settings)?;
        // From here on there are tasks: whatever ends the start ends them too.
        let guard = Guard::new(&backends);
        let running = self.serve(backends, config, &settings).await?;
        guard.keep();
        Ok(running)
    }

    async fn serve(
        mut self,
        backends: Backends,
        config: Config,
        settings: &Settings,
    ) -> Result<Running> {
        let client = self.client.drain(..).fold(backends.client(), |client, step| step(client));
        let client = client.build();
        let scope = wiring(&backends, &client, &config);
        let services = self.describe();
        let mounts = make(std::mem::take(&mut self.mounts), &scope).await?;
        for hook in std::mem::take(&mut self.hooks.before_start) {
            hook(scope.clone()).await?;
        }
        let server = server(&backends, self.server.into_iter().chain(mounts))?;
        let address = listen(&server, settings).await?;
        let place = place(&backends, settings, self.metadata, &address)?;
        let leases = register(&backends, &services, &place).await?;
        let name = settings.server_name.clone().unwrap_or(self.name);
        Ok(Running {
            inner: Arc::new(Inner {
                name,
                address,
                client,
                config,
                backends,
                server,
                leases,
                services,
                hooks: Mutex::new(self.hooks),
                asked: watch::Sender::new(false),
                report: OnceCell::new(),
            }),
        })
    }
}

/// Ends the tasks of a start that fails or is given up.
struct Guard(Option<(Shutdown, TaskTracker)>);

impl Guard {
    fn new(backends: &Backends) -> Self {
        Self(Some((backends.shutdown.clone(), backends.tasks.clone())))
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some((shutdown, tasks)) = self.0.take() {
            shutdown.close();
            tasks.abort_all();
        }
    }
}
