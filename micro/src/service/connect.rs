//! A client without a service, made of the environment.

use crate::client::Client;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::service::backends::{Backends, Given};
use crate::service::env;
use crate::service::layers::Layers;
use crate::service::settings::Settings;

impl Client {
    /// Makes a client of the `MICRO_*` variables and the file that `MICRO_CONFIG` names.
    ///
    /// Without any it finds the services that the same user runs on this machine. No node is
    /// dialed before the first call.
    ///
    /// # Errors
    /// When a setting is wrong or names a backend that cannot be opened.
    pub async fn connect() -> Result<Self> {
        connect_boxed().await
    }
}

/// Boxed, so that it is compiled with this crate, not again with each user.
fn connect_boxed() -> BoxFuture<'static, Result<Client>> {
    Box::pin(async {
        let (_, settings) = Layers::of_variables(env::of_process()).load().await?;
        Ok(without_service(&settings)?.client().build())
    })
}

/// Opens the backends of a process that serves nothing.
pub(super) fn without_service(settings: &Settings) -> Result<Backends> {
    if settings.auth_id.is_some() {
        tracing::warn!("a client by itself calls with `micro.auth_token`, not as an account");
    }
    Backends::open(Given::default(), settings)
}
