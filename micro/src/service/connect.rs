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
    /// dialed before the first call, but for an authority: with `MICRO_AUTH_IDENTITY=member` the
    /// client joins as a service does and calls by mutual TLS. Its certificate is renewed until the
    /// client is dropped, and kept in the store of `MICRO_STORE`: in `memory` it takes a token at
    /// each start.
    ///
    /// # Errors
    /// When a setting is wrong or names a backend that cannot be opened; 401 when the authority
    /// refuses the token, 503 when it is not reached.
    pub async fn connect() -> Result<Self> {
        connect_boxed().await
    }
}

/// Boxed, so that it is compiled with this crate, not again with each user.
fn connect_boxed() -> BoxFuture<'static, Result<Client>> {
    Box::pin(async {
        let (_, settings) = Layers::of_variables(env::of_process()).load().await?;
        Ok(connected(&settings).await?.client().build())
    })
}

/// Opens the backends of a client, which joins an authority where the settings say so.
async fn connected(settings: &Settings) -> Result<Backends> {
    let mut backends = without_service(settings)?;
    if settings.auth_identity.is_some() {
        join(settings, &mut backends).await?;
    }
    Ok(backends)
}

/// The name under which a client keeps its certificate, unless it has one.
#[cfg(feature = "tls")]
const PROCESS: &str = "client";

#[cfg(feature = "tls")]
async fn join(settings: &Settings, backends: &mut Backends) -> Result<()> {
    use crate::service::identity;
    use crate::service::kept::Kept;

    let process = settings.server_name.as_deref().unwrap_or(PROCESS);
    let kept = Kept::open(None, settings, process, backends.store_scope()).await?;
    identity::join(settings, (&kept, process), backends).await?;
    backends.reopen_broker()
}

#[cfg(not(feature = "tls"))]
async fn join(_: &Settings, _: &mut Backends) -> Result<()> {
    let detail = "`micro.auth_identity` asks for a certificate: enable the feature `tls`";
    Err(crate::core::error::Error::precondition_failed("micro.open", detail))
}

/// Opens the backends of a process that serves nothing.
pub(super) fn without_service(settings: &Settings) -> Result<Backends> {
    if settings.auth_id.is_some() {
        tracing::warn!("a client by itself calls with `micro.auth_token`, not as an account");
    }
    Backends::open(Given::default(), settings)
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use std::time::Duration;

    use micro_macros::{handler, service};

    use super::*;
    use crate::auth::authority::Invitation;
    use crate::core::clock;
    use crate::core::context::Context;
    use crate::registry::Local;
    use crate::service::Service;

    struct Who;

    #[service(name = "who", crate = crate)]
    impl Who {
        #[handler]
        async fn calls(&self, ctx: &Context) -> Result<String> {
            Ok(ctx.account()?.id().to_owned())
        }
    }

    async fn opened(variables: &[(&str, &str)]) -> Result<Backends> {
        let pair = |(key, value): &(&str, &str)| ((*key).into(), (*value).into());
        let variables = variables.iter().map(pair).collect();
        let (_, settings) = Layers::of_variables(variables).load().await?;
        connected(&settings).await
    }

    #[tokio::test]
    async fn a_client_joins_as_a_service_does_and_its_task_ends_with_it() {
        let temp = tempfile::tempdir().unwrap();
        let place = temp.path().join("registry");
        let running = Service::new("who")
            .no_env()
            .registry(Local::open_at(&place).unwrap())
            .env([("MICRO_AUTH_IDENTITY", "authority?domain=test.local&life=3s")])
            .mount(Who)
            .start()
            .await
            .unwrap();
        let invitation = Invitation::new("caller");
        let token = running.authority().unwrap().join_token(&invitation).await.unwrap();
        let registry = format!("local://{}", place.display());
        let at = format!("member://{}", running.address());
        let registry = ("MICRO_REGISTRY", registry.as_str());
        let member = ("MICRO_AUTH_IDENTITY", at.as_str());
        let join = ("MICRO_AUTH_JOIN", token.expose().as_str());
        let backends = opened(&[registry, member, join]).await.unwrap();
        let (tasks, until) = (backends.tasks.clone(), {
            let identity = backends.identity.as_ref().unwrap();
            identity.shown(|shown| shown.until()).unwrap()
        });
        let who: WhoClient = backends.client().build().into();
        drop(backends);
        // Beyond the first certificate.
        while clock::unix_now() < until + Duration::from_millis(300) {
            assert_eq!(who.calls().await.unwrap(), "spiffe://test.local/default/caller");
            clock::sleep(Duration::from_millis(100)).await;
        }
        drop(who);
        let ended = async {
            while tasks.names().contains_key("identity") {
                clock::sleep(Duration::from_millis(20)).await;
            }
        };
        clock::timeout(Duration::from_secs(20), ended).await.unwrap();
        running.stop().await;
    }

    #[tokio::test]
    async fn a_client_that_cannot_be_known_calls_nobody() {
        for (identity, part) in [
            ("member", "micro.auth_join"),
            ("authority", "holds no authority"),
            ("mebmer", "did you mean `member`?"),
        ] {
            let error = opened(&[("MICRO_AUTH_IDENTITY", identity)]).await.unwrap_err();
            assert_eq!(error.code(), 412, "{identity}: {error}");
            assert!(error.detail().contains(part), "{error}");
        }
    }
}
