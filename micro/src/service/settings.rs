//! The settings of a process, under the names that flags, variables and files share.

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
    spec("client_request_timeout", "DURATION", "deadline of calls that name none; default 10s"),
    spec("client_retries", "NUMBER", "retries of a call after its first try; default 2"),
    spec("auth", "URL", "who may call from other hosts; default: nobody but what is public"),
    spec("auth_id", "ID", "account that calls are made as, with its secret"),
    spec("auth_secret", "SECRET", "secret of that account; better a variable than a flag"),
    spec("auth_token", "TOKEN", "token that calls are made with; better a variable than a flag"),
    spec("auth_identity", "URL", "certificate to call and serve with: `authority`, `member`"),
    spec("auth_join", "TOKEN", "join token of a member; better a variable than a flag"),
    spec("config", "PATH", "file of settings, in the format of its extension"),
];

/// The section of the configuration that holds the settings.
pub(crate) const SECTION: &str = "micro";

/// The settings as they are read from every source.
#[derive(Clone, Debug, Default, Deserialize)]
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

    #[tokio::test]
    async fn every_documented_setting_is_read() {
        for spec in SPECS {
            let text = match spec.value {
                "DURATION" => "7s",
                "NUMBER" => "7",
                "BOOL" => "true",
                "K=V,.." => "zone=a, rack=b",
                _ => "x",
            };
            let settings = read(spec.name, text).await;
            assert!(settings.is_ok(), "{}: {settings:?}", spec.name);
        }
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
