//! TLS by certificates in files: `MICRO_SERVER_TLS_CERT` and its kin.
//!
//! | setting | |
//! |---|---|
//! | `server_tls_cert`, `server_tls_key` | the server's certificate with those between it and its authority, and its key; nothing is served without TLS over TCP then |
//! | `server_tls_client_ca` | authorities of which clients have to show a certificate |
//! | `client_tls_ca` | authorities of the servers that are called; none is called without TLS over TCP then |
//! | `client_tls_cert`, `client_tls_key` | what is shown to servers that ask |
//!
//! The files are read again while the process runs.

use crate::core::error::{Error, Result};
use crate::service::settings::Settings;

#[cfg(not(feature = "tls"))]
pub(crate) use self::disabled::dialing;
#[cfg(all(feature = "server", not(feature = "tls")))]
pub(crate) use self::disabled::serving;
#[cfg(feature = "tls")]
pub(crate) use self::enabled::{dialing, serving};

/// Pairs a certificate with its key, of which both or neither are set.
fn pair<'a>(
    (name, certificate): (&str, &'a Option<String>),
    (key_name, key): (&str, &'a Option<String>),
) -> Result<Option<(&'a str, &'a str)>> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(lacking(name, key_name)),
        (None, Some(_)) => Err(lacking(key_name, name)),
    }
}

fn lacking(given: &str, missing: &str) -> Error {
    let detail = format!("`micro.{given}` is set and `micro.{missing}` is not");
    Error::precondition_failed("micro.tls", detail)
}

/// Reads where the server's certificate, its key and the authorities of its clients are.
#[cfg(feature = "server")]
fn of_server(settings: &Settings) -> Result<Option<((&str, &str), Option<&str>)>> {
    let own = pair(
        ("server_tls_cert", &settings.server_tls_cert),
        ("server_tls_key", &settings.server_tls_key),
    )?;
    match (own, settings.server_tls_client_ca.as_deref()) {
        (Some(own), ca) => Ok(Some((own, ca))),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(lacking("server_tls_client_ca", "server_tls_cert")),
    }
}

/// Reads where the authorities of servers are, and the client's certificate and key.
#[expect(clippy::type_complexity, reason = "three paths, two of which come together")]
fn of_client(settings: &Settings) -> Result<Option<(&str, Option<(&str, &str)>)>> {
    let own = pair(
        ("client_tls_cert", &settings.client_tls_cert),
        ("client_tls_key", &settings.client_tls_key),
    )?;
    match (settings.client_tls_ca.as_deref(), own) {
        (Some(ca), own) => Ok(Some((ca, own))),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(lacking("client_tls_cert", "client_tls_ca")),
    }
}

#[cfg(feature = "tls")]
mod enabled {
    use std::sync::Arc;

    use crate::core::error::{Error, Result};
    use crate::service::backends::Backends;
    use crate::service::secure::{of_client, of_server};
    use crate::service::settings::Settings;
    use crate::transport::Transport;
    use crate::transport::tls::{ClientPaths, Files, Roots, ServerPaths};

    /// Dials by TLS where authorities of servers are set.
    pub(crate) fn dialing(
        settings: &Settings,
        transport: Arc<dyn Transport>,
    ) -> Result<Arc<dyn Transport>> {
        let Some((ca, own)) = of_client(settings)? else { return Ok(transport) };
        if transport.name() != "native" {
            let detail = "`micro.client_tls_ca` is for the transport `native`";
            return Err(Error::precondition_failed("micro.tls", detail));
        }
        let mut paths = ClientPaths::new(ca);
        if let Some((certificate, key)) = own {
            paths = paths.with_certificate(certificate, key);
        }
        Ok(Arc::new(Roots::open(paths)?))
    }

    /// Serves by TLS where a certificate is set, and follows its files.
    pub(crate) fn serving(settings: &Settings, backends: &mut Backends) -> Result<()> {
        let server = of_server(settings)?;
        let files = settings.client_tls_ca.is_some() || server.is_some();
        if files && backends.identity.is_some() {
            let detail = "an identity by `micro.auth_identity` and certificates in files, as \
                          `micro.server_tls_cert` and `micro.client_tls_ca`, exclude each other";
            return Err(Error::precondition_failed("micro.tls", detail));
        }
        let Some(((certificate, key), ca)) = server else { return Ok(()) };
        let mut paths = ServerPaths::new(certificate, key);
        if let Some(ca) = ca {
            paths = paths.with_client_ca(ca);
        }
        let handshakes = backends.limits.connection.tls_handshakes_max;
        let files = Arc::new(Files::open(paths, handshakes)?);
        let following = Arc::clone(&files).follow(backends.shutdown.clone());
        backends.tasks.spawn("certificate", following);
        backends.certificate = Some(files);
        Ok(())
    }
}

#[cfg(not(feature = "tls"))]
mod disabled {
    use std::sync::Arc;

    use crate::core::error::{Error, Result};
    #[cfg(feature = "server")]
    use crate::service::backends::Backends;
    use crate::service::secure::of_client;
    #[cfg(feature = "server")]
    use crate::service::secure::of_server;
    use crate::service::settings::Settings;
    use crate::transport::Transport;

    pub(crate) fn dialing(
        settings: &Settings,
        transport: Arc<dyn Transport>,
    ) -> Result<Arc<dyn Transport>> {
        of_client(settings)?.map_or(Ok(transport), |_| Err(missing("client_tls_ca")))
    }

    #[cfg(feature = "server")]
    pub(crate) fn serving(settings: &Settings, _: &mut Backends) -> Result<()> {
        of_server(settings)?.map_or(Ok(()), |_| Err(missing("server_tls_cert")))
    }

    fn missing(setting: &str) -> Error {
        let detail = format!("`micro.{setting}` takes the feature `tls` of micro");
        Error::precondition_failed("micro.tls", detail)
    }
}
