//! TLS by certificates in files: `MICRO_SERVER_TLS_CERT` and its kin.
//!
//! | setting | |
//! |---|---|
//! | `server_tls_cert`, `server_tls_key` | the server's certificate with those between it and its authority, and its key; nothing is served without TLS over TCP then |
//! | `server_tls_client_ca` | authorities of which clients have to show a certificate |
//! | `client_tls_ca` | authorities of the servers that are called; none is called without TLS over TCP then, by whatever transport, and the schemes `grpcs`, `h2`, `https` and `wss` say so in addresses |
//! | `client_tls_cert`, `client_tls_key` | what is shown to servers that ask |
//!
//! The files are read again while the process runs.

use crate::core::error::{Error, Result};
use crate::service::settings::Settings;

#[cfg(all(feature = "server", not(feature = "tls")))]
pub(crate) use self::disabled::serving;
#[cfg(all(feature = "server", feature = "tls"))]
pub(crate) use self::enabled::serving;
pub(crate) use self::trust::Trust;

/// Refuses a bus where TLS is asked for: what goes over a bus would go without it.
///
/// # Errors
/// 412 that names a setting which asks for TLS.
pub(crate) fn refuse_bus(settings: &Settings) -> Result<()> {
    let asked = [
        ("server_tls_cert", &settings.server_tls_cert),
        ("server_tls_client_ca", &settings.server_tls_client_ca),
        ("client_tls_ca", &settings.client_tls_ca),
    ];
    let Some((name, _)) = asked.into_iter().find(|(_, value)| value.is_some()) else {
        return Ok(());
    };
    let detail = format!(
        "`micro.{name}` asks for TLS, and `micro.transport` is a bus, which has none: leave one out"
    );
    Err(Error::precondition_failed("micro.tls", detail))
}

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

/// Which servers are trusted, and what is spoken with them.
mod trust {
    use std::sync::Arc;

    #[cfg(not(feature = "tls"))]
    use crate::core::error::Error;
    use crate::core::error::Result;
    #[cfg(feature = "quic")]
    use crate::core::limits::Limits;
    use crate::service::secure::of_client;
    #[cfg(feature = "tls")]
    use crate::service::secure::{OfClient, Pair};
    use crate::service::settings::Settings;
    #[cfg(feature = "quic")]
    use crate::transport::tls::Files;
    #[cfg(feature = "tls")]
    use crate::transport::tls::{ClientPaths, Roots};
    use crate::transport::{self, Transport};

    /// With authorities of servers, none is called without TLS over TCP, by whatever transport.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Trust {
        #[cfg(feature = "tls")]
        roots: Option<Arc<Roots>>,
        /// What QUIC listens with.
        #[cfg(feature = "quic")]
        own: Option<Arc<Files>>,
    }

    impl Trust {
        /// Reads the files that the settings name.
        ///
        /// # Errors
        /// 412 that names what is missing or does not fit.
        #[cfg(feature = "tls")]
        pub(crate) fn read(settings: &Settings) -> Result<Self> {
            #[cfg(feature = "quic")]
            let own = match settings.transport.as_deref() {
                Some("quic") => super::enabled::files(settings, &Limits::DEFAULT)?.map(Arc::new),
                _ => None,
            };
            let Some(OfClient { ca, own: shown }) = of_client(settings)? else {
                return Ok(Self {
                    roots: None,
                    #[cfg(feature = "quic")]
                    own,
                });
            };
            let mut paths = ClientPaths::new(ca);
            if let Some(Pair { certificate, key }) = shown {
                paths = paths.with_certificate(certificate, key);
            }
            Ok(Self {
                roots: Some(Arc::new(Roots::open(paths)?)),
                #[cfg(feature = "quic")]
                own,
            })
        }

        #[cfg(not(feature = "tls"))]
        pub(crate) fn read(settings: &Settings) -> Result<Self> {
            let detail = "`micro.client_tls_ca` takes the feature `tls` of micro";
            let missing = |_| Err(Error::precondition_failed("micro.tls", detail));
            of_client(settings)?.map_or(Ok(Self::default()), missing)
        }

        pub(crate) fn native(&self) -> Arc<dyn Transport> {
            #[cfg(feature = "tls")]
            if let Some(roots) = &self.roots {
                return Arc::<Roots>::clone(roots);
            }
            Arc::new(transport::Native)
        }

        #[cfg(feature = "quic")]
        pub(crate) fn quic(&self, mut quic: transport::Quic) -> transport::Quic {
            if let Some(roots) = &self.roots {
                quic = quic.trusting(Arc::clone(roots));
            }
            match &self.own {
                Some(own) => quic.serving(Arc::clone(own)),
                None => quic,
            }
        }

        /// Adds the schemes that say by their names that TLS is spoken.
        pub(crate) fn secured(&self, schemes: transport::Schemes) -> transport::Schemes {
            #[cfg(feature = "tls")]
            if self.roots.is_some() {
                #[cfg(feature = "grpc")]
                let schemes =
                    schemes.with("grpcs", Arc::new(self.grpc(transport::Grpc::default())));
                #[cfg(feature = "http")]
                let schemes = schemes
                    .with("https", Arc::new(self.http(transport::Http::new())))
                    .with("h2", Arc::new(self.http(transport::Http::h2c())));
                #[cfg(feature = "ws")]
                let schemes =
                    schemes.with("wss", Arc::new(self.websocket(transport::WebSocket::new())));
                return schemes;
            }
            schemes
        }
    }

    /// Has a transport trust the authorities, if there are any.
    macro_rules! trusting {
        ($($feature:literal $name:ident($transport:ty),)*) => {
            impl Trust {
                $(
                    #[cfg(feature = $feature)]
                    pub(crate) fn $name(&self, transport: $transport) -> $transport {
                        #[cfg(feature = "tls")]
                        if let Some(roots) = &self.roots {
                            return transport.trusting(Arc::clone(roots));
                        }
                        transport
                    }
                )*
            }
        };
    }

    trusting! {
        "grpc" grpc(transport::Grpc),
        "http" http(transport::Http),
        "mucp" mucp(transport::Mucp),
        "ws" websocket(transport::WebSocket),
    }
}

#[cfg(feature = "tls")]
mod enabled {
    use std::sync::Arc;

    use crate::core::error::{Error, Result};
    use crate::core::limits::Limits;
    use crate::service::backends::Backends;
    use crate::service::secure::{OfServer, of_server};
    use crate::service::settings::Settings;
    use crate::transport::tls::{Files, ServerPaths};

    pub(super) fn files(settings: &Settings, limits: &Limits) -> Result<Option<Files>> {
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

#[cfg(all(feature = "server", not(feature = "tls")))]
mod disabled {
    use crate::core::error::{Error, Result};
    use crate::service::backends::Backends;
    use crate::service::secure::of_server;
    use crate::service::settings::Settings;

    pub(crate) fn serving(settings: &Settings, _: &mut Backends) -> Result<()> {
        let detail = "`micro.server_tls_cert` takes the feature `tls` of micro";
        let missing = |_| Err(Error::precondition_failed("micro.tls", detail));
        of_server(settings)?.map_or(Ok(()), missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_is_refused_where_tls_is_asked_for() {
        assert!(refuse_bus(&Settings::default()).is_ok());
        let file = || Some("file.pem".to_owned());
        for (name, settings) in [
            ("server_tls_cert", Settings { server_tls_cert: file(), ..Settings::default() }),
            ("client_tls_ca", Settings { client_tls_ca: file(), ..Settings::default() }),
        ] {
            let error = refuse_bus(&settings).unwrap_err();
            assert_eq!(error.code(), 412);
            assert!(error.detail().contains(&format!("`micro.{name}`")), "{error}");
        }
    }
}
