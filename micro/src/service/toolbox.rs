//! What a process works with that serves nothing: for command lines and other tools.

use std::ffi::OsString;
use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::auth::Handle as Auth;
use crate::broker::Broker;
use crate::client::Builder;
use crate::config::Config;
use crate::core::error::{Error, Result};
use crate::core::limits::Limits;
use crate::core::shutdown::TaskTracker;
use crate::registry::Registry;
use crate::service::authenticate;
use crate::service::backends::{Backends, GivenAuth};
use crate::service::connect::without_service;
use crate::service::env;
use crate::service::flags;
use crate::service::kept::Kept;
use crate::service::layers::Layers;
use crate::service::settings::{SPECS, Settings};
use crate::store::Handle;

/// A setting of every process, as flags and variables name it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Setting {
    /// The name: `server_address` is `--server-address` and `MICRO_SERVER_ADDRESS`.
    pub name: &'static str,
    /// What stands for the value in a help text.
    pub value: &'static str,
    /// What it does, with its default.
    pub help: &'static str,
}

/// Lists the settings of every process, in the order of the help.
pub fn settings() -> impl Iterator<Item = Setting> {
    SPECS.iter().map(|spec| Setting { name: spec.name, value: spec.value, help: spec.help })
}

fn layers(flags: impl IntoIterator<Item = OsString>) -> Result<Layers> {
    let flags = flags::parse(flags, &[])?.values;
    Ok(Layers { flags, ..Layers::of_variables(env::of_process()) })
}

/// The backends that a [`Service`](crate::service::Service) would have with the same settings.
#[derive(Debug)]
pub struct Toolbox {
    backends: Backends,
    settings: Settings,
    config: Config,
    /// The store, once somebody has asked for it: a file is opened by one at a time.
    kept: OnceCell<Kept>,
}

impl Toolbox {
    /// Reads flags, the variables of the process and the file that they name, and opens what they
    /// say. The store is opened when it is asked for.
    ///
    /// Flags are those of a service, `--set` among them.
    ///
    /// # Errors
    /// 400 for a wrong flag, 412 when a setting is wrong or names what cannot be opened.
    pub async fn open(flags: impl IntoIterator<Item = OsString>) -> Result<Self> {
        let (config, settings) = layers(flags)?.load().await?;
        let backends = without_service(&settings)?;
        if settings.auth_identity.is_some() {
            tracing::warn!("a command calls without a certificate: it joins no authority");
        }
        Ok(Self { backends, settings, config, kept: OnceCell::new() })
    }

    /// Reads what [`Toolbox::open`] reads and opens nothing but the source of the settings, so that
    /// settings can be looked at that name what cannot be opened.
    ///
    /// # Errors
    /// 400 for a wrong flag, 412 when a setting is wrong.
    pub async fn configuration(flags: impl IntoIterator<Item = OsString>) -> Result<Config> {
        Ok(layers(flags)?.load().await?.0)
    }

    /// Begins a client over the backends.
    pub fn client(&self) -> Builder {
        self.backends.client()
    }

    /// Returns the registry.
    pub fn registry(&self) -> &Arc<dyn Registry> {
        &self.backends.registry
    }

    /// Returns the broker.
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.backends.broker
    }

    /// Opens the store as a service of this name finds it, at its own database; a file without a
    /// path is that of the service that is named first.
    ///
    /// # Errors
    /// 412 when the store is unknown, not compiled in, or in use by another process; 400 when the
    /// name is that of no database.
    pub async fn store(&self, service: &str) -> Result<Handle> {
        self.kept(service).await?.handle(service)
    }

    /// Opens the accounts and rules that are kept in that store.
    ///
    /// # Errors
    /// As [`Toolbox::store`]; 412 when no setting says which accounts there are.
    pub async fn auth(&self, service: &str) -> Result<Auth> {
        let kept = self.kept(service).await?;
        let mut backends = self.backends.clone();
        authenticate::open(GivenAuth::default(), &self.settings, kept, &mut backends).await?;
        backends.auth.ok_or_else(|| {
            let detail = "no accounts: name them by `--auth jwt` or MICRO_AUTH";
            Error::precondition_failed("micro.auth", detail)
        })
    }

    async fn kept(&self, service: &str) -> Result<&Kept> {
        let within = self.backends.store_scope();
        self.kept.get_or_try_init(|| Kept::open(None, &self.settings, service, within)).await
    }

    /// Returns the merged settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the limits that the settings lead to.
    pub fn limits(&self) -> &Limits {
        &self.backends.limits
    }

    /// Returns the owner of the tasks of the backends, which end with [`Toolbox::close`].
    pub fn tasks(&self) -> &TaskTracker {
        &self.backends.tasks
    }

    /// Ends what the backends do.
    pub fn close(&self) {
        self.backends.shutdown.close();
        self.backends.tasks.abort_all();
    }
}
