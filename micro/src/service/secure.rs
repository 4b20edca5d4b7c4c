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

/// Where a certificate and its key are.
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "only whether there is any counts"))]
struct Pair<'a> {
    certificate: &'a str,
    key: &'a str,
}

/// Pairs a certificate with its key, of which both or neither are set.
fn pair<'a>(
    (name, certificate): (&str, &'a Option<String>),
    (key_name, key): (&str, &'a Option<String>),
) -> Result<Option<Pair<'a>>> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(Pair { certificate, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(lacking(name, key_name)),
        (None, Some(_)) => Err(lacking(key_name, name)),
    }
}

fn lacking(given: &str, missing: &str) -> Error {
    let detail = format!("`micro.{given}` is set and `micro.{missing}` is not");
    Error::precondition_failed("micro.tls", detail)
}

/// What a server serves with.
#[cfg(feature = "server")]
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "only whether there is any counts"))]
struct OfServer<'a> {
    own: Pair<'a>,
    client_ca: Option<&'a str>,
}

/// Reads where the server's certificate, its key and the authorities of its clients are.
#[cfg(feature = "server")]
fn of_server(settings: &Settings) -> Result<Option<OfServer<'_>>> {
    let own = pair(
        ("server_tls_cert", &settings.server_tls_cert),
        ("server_tls_key", &settings.server_tls_key),
    )?;
    match (own, settings.server_tls_client_ca.as_deref()) {
        (Some(own), client_ca) => Ok(Some(OfServer { own, client_ca })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(lacking("server_tls_client_ca", "server_tls_cert")),
    }
}

/// What a client trusts and shows.
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "only whether there is any counts"))]
struct OfClient<'a> {
    ca: &'a str,
    own: Option<Pair<'a>>,
}

/// Reads where the authorities of servers are, and the client's certificate and key.
fn of_client(settings: &Settings) -> Result<Option<OfClient<'_>>> {
    let own = pair(
        ("client_tls_cert", &settings.client_tls_cert),
        ("client_tls_key", &settings.client_tls_key),
    )?;
    match (settings.client_tls_ca.as_deref(), own) {
        (Some(ca), own) => Ok(Some(OfClient { ca, own })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(lacking("client_tls_cert", "client_tls_ca")),
    }
}

#[cfg(feature = "tls")]
mod enabled {
    use std::sync::Arc;

    use crate::core::error::{Error, Result};
    use crate::core::limits::Limits;
    use crate::service::backends::Backends;
    use crate::service::secure::{OfClient, OfServer, Pair, of_client, of_server};
    use crate::service::settings::Settings;
    #[cfg(feature = "quic")]
    use crate::transport::Quic;
    use crate::transport::Transport;
    use crate::transport::tls::{ClientPaths, Files, Roots, ServerPaths};

    /// Dials by TLS where authorities of servers are set.
    pub(crate) fn dialing(
        settings: &Settings,
        transport: Arc<dyn Transport>,
    ) -> Result<Arc<dyn Transport>> {
        let roots = roots(settings)?;
        #[cfg(feature = "quic")]
        if transport.name() == "quic" {
            let mut quic = Quic::new();
            if let Some(roots) = roots {
                quic = quic.trusting(Arc::new(roots));
            }
            if let Some(files) = files(settings, &Limits::DEFAULT)? {
                quic = quic.serving(Arc::new(files));
            }
            return Ok(Arc::new(quic));
        }
        match roots {
            None => Ok(transport),
            Some(roots) if transport.name() == "native" => Ok(Arc::new(roots)),
            Some(_) => {
                let detail = "`micro.client_tls_ca` is for the transports `native` and `quic`";
                Err(Error::precondition_failed("micro.tls", detail))
            }
        }
    }

    fn roots(settings: &Settings) -> Result<Option<Roots>> {
        let Some(OfClient { ca, own }) = of_client(settings)? else { return Ok(None) };
        let mut paths = ClientPaths::new(ca);
        if let Some(Pair { certificate, key }) = own {
            paths = paths.with_certificate(certificate, key);
        }
        Roots::open(paths).map(Some)
    }

    fn files(settings: &Settings, limits: &Limits) -> Result<Option<Files>> {
        let Some(OfServer { own, client_ca }) = of_server(settings)? else { return Ok(None) };
        let mut paths = ServerPaths::new(own.certificate, own.key);
        if let Some(ca) = client_ca {
            paths = paths.with_client_ca(ca);
        }
        Files::open(paths, limits.connection.tls_handshakes_max).map(Some)
    }

    /// Serves by TLS where a certificate is set, and follows its files.
    pub(crate) fn serving(settings: &Settings, backends: &mut Backends) -> Result<()> {
        let named = settings.client_tls_ca.is_some() || settings.server_tls_cert.is_some();
        if named && backends.identity.is_some() {
            let detail = "an identity by `micro.auth_identity` and certificates in files, as \
                          `micro.server_tls_cert` and `micro.client_tls_ca`, exclude each other";
            return Err(Error::precondition_failed("micro.tls", detail));
        }
        // What QUIC serves with was handed to it, and it follows that by itself.
        if backends.transport.name() == "quic" {
            return Ok(());
        }
        let Some(files) = files(settings, &backends.limits)? else { return Ok(()) };
        let files = Arc::new(files);
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
