//! The settings of a process, under the names that flags, variables and files share.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::config::Config;
#[cfg(feature = "server")]
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::limits::Limits;
use crate::core::secret::Secret;
#[cfg(feature = "server")]
use crate::server;

/// One setting as people may write it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    /// `server_address` is `--server_address`, `MICRO_SERVER_ADDRESS` and `micro.server_address`.
    pub(crate) name: &'static str,
    /// What stands for the value in the help.
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "clients have no flags"))]
    pub(crate) value: &'static str,
    /// What it does, with its default.
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "clients have no flags"))]
    pub(crate) help: &'static str,
}

const fn spec(name: &'static str, value: &'static str, help: &'static str) -> Spec {
    Spec { name, value, help }
}

/// Every setting, in the order of the help.
pub(crate) const SPECS: &[Spec] = &[
    spec("server_name", "NAME", "name of the process in logs and traces"),
    spec("server_version", "VERSION", "version to register instead of each service's own"),
    spec("server_id", "ID", "id of the node; default: a random one"),
    spec("server_address", "ADDRESS", "where to listen; default 127.0.0.1:0, a free port"),
    spec("server_advertise", "ADDRESS", "what to register; default: where it listens"),
    spec("server_metadata", "K=V,..", "facts about the node for the registry"),
    spec("server_tls_cert", "PATH", "certificate to serve TLS with, and nothing else over TCP"),
    spec("server_tls_key", "PATH", "key of that certificate"),
    spec("server_tls_client_ca", "PATH", "authorities of which clients show a certificate"),
    spec("client_tls_ca", "PATH", "authorities of servers, which are called by TLS then"),
    spec("client_tls_cert", "PATH", "certificate to show to servers that ask for one"),
    spec("client_tls_key", "PATH", "key of that certificate"),
    spec("server_hosts", "HOST,..", "names by which HTTP calls it, beside addresses and localhost"),
    spec("cors_origins", "ORIGIN,..", "web pages of other origins that may call; default none"),
    spec("cors_headers", "HEADER,..", "headers that such pages may send; default any"),
    spec("cors_exposed", "HEADER,..", "headers of responses that such pages may read"),
    spec("cors_credentials", "BOOL", "whether such pages call with cookies; default false"),
    spec("cors_max_age", "DURATION", "how long browsers remember what pages may; default 10m"),
    spec("registry", "URL", "where services find each other; default local"),
    spec("registry_address", "ADDRESS", "address for a registry given by name"),
    spec("broker", "URL", "what carries events; default memory"),
    spec("broker_address", "ADDRESS", "address for a broker given by name"),
    spec("store", "URL", "where services keep records; default memory"),
    spec("store_address", "ADDRESS", "address for a store given by name"),
    spec("tracer", "URL", "where spans go beside the ring of the process; default memory"),
    spec("tracer_address", "ADDRESS", "address for a tracer given by name"),
    spec("transport", "URL", "what carries calls; default native"),
    spec("selector", "NAME", "how a node is chosen; default p2c"),
    spec("register_ttl", "DURATION", "life of a record without a heartbeat; default 15s"),
    spec("register_interval", "DURATION", "pause between heartbeats; default 5s"),
    spec(
        "client_content_type",
        "TYPE",
        "encoding of calls and events; default application/msgpack",
    ),
    spec(
        "client_request_timeout",
        "DURATION",
        "deadline of calls that name none, made or served; default 10s",
    ),
    spec("client_retries", "NUMBER", "retries of a call after its first try; default 2"),
    spec("auth", "URL", "who may call from other hosts; default: nobody but what is public"),
    spec("auth_id", "ID", "account that calls are made as, with its secret"),
    spec("auth_secret", "SECRET", "secret of that account; better a variable than a flag"),
    spec("auth_token", "TOKEN", "token that calls are made with; better a variable than a flag"),
    spec("auth_identity", "URL", "certificate to call and serve with: `authority`, `member`"),
    spec("auth_join", "TOKEN", "join token of a member; better a variable than a flag"),
    spec("config", "PATH", "file of settings, or their URL on a server, by its extension"),
];

/// Settings of go-micro that mean nothing here, and why; they are taken with a warning, so that what
/// starts its services starts these too.
const FOREIGN: &[(&str, &str)] = &[
    ("auth_namespace", "accounts and rules have no namespaces"),
    ("auth_private_key", "`--auth` names what signs tokens"),
    ("auth_public_key", "`--auth` names what checks tokens"),
    ("client", "there is one client; `--transport` and `--selector` choose its parts"),
    ("client_pool_size", "calls share a connection"),
    ("client_pool_ttl", "connections close by themselves"),
    ("log_level", "the program's own subscriber chooses what is logged"),
    ("profile", "each part is chosen by its own setting"),
    ("server", "there is one server, which speaks every protocol"),
    ("store_database", "`--store` names it"),
    ("store_table", "programs choose the spaces of their records"),
];

/// Returns what is said of a setting of go-micro's that means nothing here.
pub(crate) fn foreign(name: &str) -> Option<String> {
    let (name, reason) = FOREIGN.iter().find(|(known, _)| *known == name)?;
    Some(format!("`{name}` has no meaning here: {reason}"))
}

/// The section of the configuration that holds the settings.
pub(crate) const SECTION: &str = "micro";

/// The settings as they are read from every source.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    pub(crate) server_name: Option<String>,
    pub(crate) server_version: Option<String>,
    pub(crate) server_id: Option<String>,
    pub(crate) server_address: Option<String>,
    pub(crate) server_advertise: Option<String>,
    pub(crate) server_metadata: Vec<String>,
    pub(crate) server_tls_cert: Option<String>,
    pub(crate) server_tls_key: Option<String>,
    pub(crate) server_tls_client_ca: Option<String>,
    pub(crate) client_tls_ca: Option<String>,
    pub(crate) client_tls_cert: Option<String>,
    pub(crate) client_tls_key: Option<String>,
    pub(crate) server_hosts: Vec<String>,
    pub(crate) cors_origins: Vec<String>,
    pub(crate) cors_headers: Vec<String>,
    pub(crate) cors_exposed: Vec<String>,
    pub(crate) cors_credentials: bool,
    pub(crate) cors_max_age: Option<Duration>,
    pub(crate) registry: Option<String>,
    pub(crate) registry_address: Option<String>,
    pub(crate) broker: Option<String>,
    pub(crate) broker_address: Option<String>,
    pub(crate) store: Option<String>,
    pub(crate) store_address: Option<String>,
    pub(crate) tracer: Option<String>,
    pub(crate) tracer_address: Option<String>,
    pub(crate) auth: Option<String>,
    pub(crate) auth_id: Option<String>,
    pub(crate) auth_secret: Option<Secret<String>>,
    pub(crate) auth_token: Option<Secret<String>>,
    pub(crate) auth_identity: Option<String>,
    pub(crate) auth_join: Option<Secret<String>>,
    pub(crate) transport: Option<String>,
    pub(crate) selector: Option<String>,
    pub(crate) register_ttl: Option<Duration>,
    pub(crate) register_interval: Option<Duration>,
    pub(crate) client_content_type: Option<String>,
    pub(crate) client_request_timeout: Option<Duration>,
    pub(crate) client_retries: Option<u32>,
    /// Read before the document is: the path of a file that is part of it.
    pub(crate) config: Option<String>,
}

/// Shows nothing: the URLs of backends may hold passwords.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

impl Settings {
    /// Reads the settings of the merged configuration.
    pub(crate) fn read(config: &Config) -> Result<Self> {
        // They are read once; a later change that breaks them is refused all the same.
        Ok(config.accept(SECTION)?.unwrap_or_default())
    }

    /// Returns the facts about the node.
    #[cfg(feature = "server")]
    pub(crate) fn metadata(&self) -> Result<Vec<(String, String)>> {
        let pair = |text: &String| {
            let pair = text.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
            pair.filter(|(key, _)| !key.is_empty())
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .ok_or_else(|| {
                    let text = text.escape_debug();
                    let detail = format!("`{text}` in `micro.server_metadata` is not key=value");
                    Error::precondition_failed("micro.service", detail)
                })
        };
        self.server_metadata.iter().map(pair).collect()
    }

    /// Tells a server which names are its own, and which web pages may call it.
    #[cfg(feature = "server")]
    pub(crate) fn browsers(&self, server: server::Builder) -> server::Builder {
        let server = self.server_hosts.iter().fold(server, |server, host| server.allow_host(host));
        let cors = server::Cors::new();
        let cors = self.cors_origins.iter().fold(cors, |cors, origin| cors.origin(origin));
        let cors = self.cors_headers.iter().fold(cors, |cors, name| cors.header(name));
        let cors = self.cors_exposed.iter().fold(cors, |cors, name| cors.expose(name));
        let cors = if self.cors_credentials { cors.credentials() } else { cors };
        server.cors(match self.cors_max_age {
            Some(max_age) => cors.max_age(max_age),
            None => cors,
        })
    }

    /// Puts the settings that are limits in their place.
    pub(crate) fn apply(&self, mut limits: Limits) -> Result<Limits> {
        if let Some(ttl) = self.register_ttl {
            limits.registry.ttl = ttl;
        }
        if let Some(interval) = self.register_interval {
            limits.registry.heartbeat_interval = interval;
        } else if limits.registry.heartbeat_interval >= limits.registry.ttl {
            limits.registry.heartbeat_interval = limits.registry.ttl / 3;
        }
        if let Some(timeout) = self.client_request_timeout {
            limits.call.default_timeout = timeout;
        }
        if let Some(retries) = self.client_retries {
            limits.retry.retries_max = retries;
        }
        limits.validate()?;
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flat;
    use std::sync::Arc;

    async fn read(name: &str, text: &str) -> Result<Settings> {
        let mut flat = Flat::new("test");
        flat.set(format!("{SECTION}.{name}"), text, name);
        Settings::read(&Config::load(&[Arc::new(flat)]).await?)
    }

    /// A field of the settings, as text.
    type Seen = fn(&Settings) -> String;

    fn text(value: Option<&String>) -> String {
        value.cloned().unwrap_or_default()
    }

    fn secret(value: Option<&Secret<String>>) -> String {
        value.map(|secret| secret.expose().clone()).unwrap_or_default()
    }

    /// A16: that a peer is who it says is checked, whatever the environment says.
    #[test]
    fn a16_no_setting_turns_a_check_of_peers_off() {
        for spec in SPECS {
            for word in ["insecure", "verify", "skip", "danger", "trust_all", "no_tls"] {
                assert!(!spec.name.contains(word), "{} sounds like an opt-out", spec.name);
            }
        }
    }

    /// Every setting, a value for it, and the field that holds it then.
    const FIELDS: &[(&str, &str, Seen)] = &[
        ("server_name", "shop", |s| text(s.server_name.as_ref())),
        ("server_version", "1.2.3", |s| text(s.server_version.as_ref())),
        ("server_id", "node-1", |s| text(s.server_id.as_ref())),
        ("server_address", "127.0.0.1:1", |s| text(s.server_address.as_ref())),
        ("server_advertise", "127.0.0.1:2", |s| text(s.server_advertise.as_ref())),
        ("server_metadata", "zone=a,rack=b", |s| s.server_metadata.join(",")),
        ("server_tls_cert", "/server.pem", |s| text(s.server_tls_cert.as_ref())),
        ("server_tls_key", "/server.key", |s| text(s.server_tls_key.as_ref())),
        ("server_tls_client_ca", "/clients.pem", |s| text(s.server_tls_client_ca.as_ref())),
        ("client_tls_ca", "/ca.pem", |s| text(s.client_tls_ca.as_ref())),
        ("client_tls_cert", "/client.pem", |s| text(s.client_tls_cert.as_ref())),
        ("client_tls_key", "/client.key", |s| text(s.client_tls_key.as_ref())),
        ("server_hosts", "a.example,b.example", |s| s.server_hosts.join(",")),
        ("cors_origins", "https://a.example", |s| s.cors_origins.join(",")),
        ("cors_headers", "x-a,x-b", |s| s.cors_headers.join(",")),
        ("cors_exposed", "x-c", |s| s.cors_exposed.join(",")),
        ("cors_credentials", "true", |s| s.cors_credentials.to_string()),
        ("cors_max_age", "11m", |s| {
            s.cors_max_age.map(|age| format!("{}m", age.as_secs() / 60)).unwrap_or_default()
        }),
        ("client_content_type", "application/json", |s| text(s.client_content_type.as_ref())),
        ("registry", "file", |s| text(s.registry.as_ref())),
        ("registry_address", "/nodes.json", |s| text(s.registry_address.as_ref())),
        ("broker", "http", |s| text(s.broker.as_ref())),
        ("broker_address", "127.0.0.1:3", |s| text(s.broker_address.as_ref())),
        ("store", "file", |s| text(s.store.as_ref())),
        ("store_address", "/shop.redb", |s| text(s.store_address.as_ref())),
        ("tracer", "otlp", |s| text(s.tracer.as_ref())),
        ("tracer_address", "127.0.0.1:4", |s| text(s.tracer_address.as_ref())),
        ("transport", "native", |s| text(s.transport.as_ref())),
        ("selector", "random", |s| text(s.selector.as_ref())),
        ("register_ttl", "7s", |s| format!("{:?}", s.register_ttl.unwrap_or_default())),
        ("register_interval", "2s", |s| format!("{:?}", s.register_interval.unwrap_or_default())),
        ("client_request_timeout", "9s", |s| {
            format!("{:?}", s.client_request_timeout.unwrap_or_default())
        }),
        ("client_retries", "5", |s| s.client_retries.unwrap_or_default().to_string()),
        ("auth", "rules", |s| text(s.auth.as_ref())),
        ("auth_id", "shop-account", |s| text(s.auth_id.as_ref())),
        ("auth_secret", "swordfish", |s| secret(s.auth_secret.as_ref())),
        ("auth_token", "token-1", |s| secret(s.auth_token.as_ref())),
        ("auth_identity", "member", |s| text(s.auth_identity.as_ref())),
        ("auth_join", "join-1", |s| secret(s.auth_join.as_ref())),
        ("config", "/shop.json", |s| text(s.config.as_ref())),
    ];

    #[tokio::test]
    async fn every_documented_setting_is_read_into_its_own_field() {
        let listed: Vec<&str> = FIELDS.iter().map(|field| field.0).collect();
        let documented: Vec<&str> = SPECS.iter().map(|spec| spec.name).collect();
        let (mut sorted, mut wanted) = (listed, documented);
        sorted.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(sorted, wanted);
        for (name, value, _) in FIELDS {
            let settings = read(name, value).await.unwrap();
            for (other, expected, seen) in FIELDS {
                assert_eq!(seen(&settings) == *expected, other == name, "{name} in {other}");
            }
        }
    }

    #[tokio::test]
    async fn settings_that_are_limits_reach_their_limit() {
        let limits =
            async |name, value| read(name, value).await.unwrap().apply(Limits::default()).unwrap();
        let seconds = Duration::from_secs;
        assert_eq!(limits("register_ttl", "7s").await.registry.ttl, seconds(7));
        assert_eq!(limits("register_interval", "2s").await.registry.heartbeat_interval, seconds(2));
        let call = limits("client_request_timeout", "9s").await.call;
        assert_eq!(call.default_timeout, seconds(9));
        assert_eq!(limits("client_retries", "5").await.retry.retries_max, 5);
        assert_eq!(limits("client_retries", "0").await.retry.retries_max, 0);
        assert!(read("register_interval", "15s").await.unwrap().apply(Limits::default()).is_err());
    }

    #[tokio::test]
    async fn a_bad_value_names_its_setting() {
        let error = read("register_ttl", "60").await.unwrap_err();
        assert!(error.detail().contains("`micro.register_ttl`"), "{error}");
        let settings = read("server_metadata", "zone").await.unwrap();
        assert!(settings.metadata().unwrap_err().detail().contains("`zone`"));
    }

    #[tokio::test]
    async fn a_short_ttl_brings_its_own_heartbeat() {
        let limits = read("register_ttl", "3s").await.unwrap().apply(Limits::default()).unwrap();
        assert_eq!(limits.registry.heartbeat_interval, Duration::from_secs(1));
    }
}
