//! From the name or URL of a backend to the backend: the one place that knows them all.
//!
//! | component | backends |
//! |---|---|
//! | registry | `local` (also `local:///directory`), `memory`, `file:///nodes.json`, `mdns` (also `mdns://interface`); on servers `consul`, `dns`, `etcd`, `gossip`, `kubernetes`, `nats`, `nats-broadcast` (as go-micro's), `redis`, `zookeeper` |
//! | broker | `memory` (within the process), `http` (between processes); on servers `jetstream`, `kafka`, `mqtt`, `nats`, `nsq`, `postgres`, `pubsub`, `rabbitmq`, `redis`, `redis-pubsub` |
//! | store | `memory`, `file` (also `file:///shop.redb` or, for a file in it, `file:///directory/`); on servers `etcd`, `nats`, `postgres`, `redis` |
//! | config | the path of a file, also `file:///shop.json`; on servers `consul`, `etcd`, `nats` |
//! | tracer | `memory`, `otlp` (as `otlp://127.0.0.1:4318`) |
//! | transport | `native`, `memory`, `grpc`, `http` (HTTP/1.1), `h2c` (HTTP/2), `ws`, `mucp` (services of go-micro), `quic`; on servers `nats`, `rabbitmq` |
//! | selector | `p2c`, `random`, `round-robin`, `least-connections`, `consistent-hash` |
//!
//! On a server a backend is `nats://user:password@host:port,host/path?option=value`, as
//! [`driver::ServerUrl`](crate::driver::ServerUrl) reads it; opening it does no I/O, and it connects
//! by itself.
//!
//! A name that is unknown, or whose feature is not enabled, is a start-up error that says what to
//! do.

use std::sync::Arc;

use crate::broker::{self, Broker};
#[cfg(feature = "mucp")]
use crate::codec::envelope::Form;
use crate::codec::{Codecs, Format};
use crate::config::{self, Source};
use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result};
#[cfg(feature = "server")]
use crate::core::limits::DebugLimits;
use crate::core::limits::StoreLimits;
use crate::core::shutdown::TaskTracker;
#[cfg(feature = "otlp")]
use crate::debug::Otlp;
#[cfg(feature = "server")]
use crate::debug::Recorder;
use crate::driver::Drivers;
use crate::registry::{self, Registry};
use crate::selector::{self, Selector};
use crate::service::remote;
use crate::service::secure::Trust;
use crate::service::url::{Backend, Url};
use crate::store::{self, Store};
use crate::transport::{self, Scope, Transport};

const REGISTRIES: &[Backend] = &[
    Backend::built_in("local"),
    Backend::built_in("memory"),
    Backend::built_in("file"),
    Backend::behind("mdns", "mdns", cfg!(feature = "mdns")),
    Backend::behind("consul", "consul", cfg!(feature = "consul")),
    Backend::behind("dns", "dns", cfg!(feature = "dns")),
    Backend::behind("etcd", "etcd", cfg!(feature = "etcd")),
    Backend::behind("gossip", "gossip", cfg!(feature = "gossip")),
    Backend::behind("kubernetes", "kubernetes", cfg!(feature = "kubernetes")),
    Backend::behind("nats", "nats", cfg!(feature = "nats")),
    Backend::behind("nats-broadcast", "nats", cfg!(feature = "nats")),
    Backend::behind("redis", "redis", cfg!(feature = "redis")),
    Backend::behind("zookeeper", "zookeeper", cfg!(feature = "zookeeper")),
];

const CONFIGS: &[Backend] = &[
    Backend::behind("consul", "consul", cfg!(feature = "consul")),
    Backend::behind("etcd", "etcd", cfg!(feature = "etcd")),
    Backend::behind("nats", "nats", cfg!(feature = "nats")),
];

const BROKERS: &[Backend] = &[
    Backend::built_in("memory"),
    Backend::built_in("http"),
    Backend::behind("jetstream", "nats", cfg!(feature = "nats")),
    Backend::behind("kafka", "kafka", cfg!(feature = "kafka")),
    Backend::behind("mqtt", "mqtt", cfg!(feature = "mqtt")),
    Backend::behind("nats", "nats", cfg!(feature = "nats")),
    Backend::behind("nsq", "nsq", cfg!(feature = "nsq")),
    Backend::behind("postgres", "postgres", cfg!(feature = "postgres")),
    Backend::behind("pubsub", "pubsub", cfg!(feature = "pubsub")),
    Backend::behind("rabbitmq", "rabbitmq", cfg!(feature = "rabbitmq")),
    Backend::behind("redis", "redis", cfg!(feature = "redis")),
    Backend::behind("redis-pubsub", "redis", cfg!(feature = "redis")),
];

const STORES: &[Backend] = &[
    Backend::built_in("memory"),
    Backend::behind("file", "redb", cfg!(feature = "redb")),
    Backend::behind("etcd", "etcd", cfg!(feature = "etcd")),
    Backend::behind("nats", "nats", cfg!(feature = "nats")),
    Backend::behind("postgres", "postgres", cfg!(feature = "postgres")),
    Backend::behind("redis", "redis", cfg!(feature = "redis")),
];

#[cfg(feature = "server")]
const TRACERS: &[Backend] =
    &[Backend::built_in("memory"), Backend::behind("otlp", "otlp", cfg!(feature = "otlp"))];

const TRANSPORTS: &[Backend] = &[
    Backend::built_in("native"),
    Backend::built_in("memory"),
    Backend::behind("http", "http", cfg!(feature = "http")),
    Backend::behind("h2c", "http", cfg!(feature = "http")),
    Backend::behind("ws", "ws", cfg!(feature = "ws")),
    Backend::behind("mucp", "mucp", cfg!(feature = "mucp")),
    Backend::behind("quic", "quic", cfg!(feature = "quic")),
    Backend::behind("grpc", "grpc", cfg!(feature = "grpc")),
    Backend::behind("nats", "nats", cfg!(feature = "nats")),
    Backend::behind("rabbitmq", "rabbitmq", cfg!(feature = "rabbitmq")),
];

/// Opens a registry within the limits of `scope`; one on a server shares its connection by
/// `drivers`, and connects later.
///
/// # Errors
/// 412 when the name is unknown, not compiled in, or the backend cannot be used.
pub fn registry(url: &str, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Registry>> {
    open_registry(&Url::parse(url)?, scope, drivers)
}

/// Opens a broker; its limits and tasks are those of `scope`. One that works between processes
/// finds them in the registry and reaches them by the transport, or is on a server.
///
/// # Errors
/// 412 when the name is unknown or not compiled in.
pub fn broker(
    url: &str,
    registry: &Arc<dyn Registry>,
    transport: &Arc<dyn Transport>,
    scope: &Scope,
    drivers: &Drivers,
) -> Result<Arc<dyn Broker>> {
    open_broker(&Url::parse(url)?, (registry, transport), (scope, drivers), None)
}

/// Opens a store; a file without a path is that of the service.
///
/// Use it through [`store::Handle::shared`].
///
/// # Errors
/// 412 when the name is unknown, not compiled in, or another process has the file open.
pub async fn store(
    url: &str,
    service: &str,
    scope: &Scope,
    drivers: &Drivers,
) -> Result<Arc<dyn Store>> {
    let url = Url::parse(url)?;
    open_store(&url, service, &scope.limits.store, (&scope.tasks, drivers)).await
}

/// Opens a transport.
///
/// # Errors
/// 412 when the name is unknown or not compiled in.
pub fn transport(url: &str, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Transport>> {
    open_transport(url, &ContentType::default(), &Trust::default(), (&scope.tasks, drivers))
}

/// Opens a transport for calls that are encoded as a content type says, to servers that are
/// trusted.
pub(crate) fn open_transport(
    url: &str,
    content_type: &ContentType,
    trust: &Trust,
    (tasks, drivers): (&TaskTracker, &Drivers),
) -> Result<Arc<dyn Transport>> {
    let url = Url::parse(url)?;
    url.offered("transport", TRANSPORTS)?;
    if let Some(transport) = remote::transport(&url, tasks, drivers) {
        return transport;
    }
    url.check("transport", TRANSPORTS)?;
    plain(&url, "transport")?;
    match url.scheme.as_str() {
        #[cfg(feature = "mucp")]
        "mucp" => Ok(Arc::new(trust.mucp(mucp(content_type)))),
        "memory" => Ok(Arc::new(transport::Memory::default())),
        #[cfg(feature = "grpc")]
        "grpc" => Ok(Arc::new(trust.grpc(transport::Grpc::default()))),
        #[cfg(feature = "http")]
        "http" => Ok(Arc::new(trust.http(transport::Http::new()))),
        #[cfg(feature = "http")]
        "h2c" => Ok(Arc::new(trust.http(transport::Http::h2c()))),
        #[cfg(feature = "ws")]
        "ws" => Ok(Arc::new(trust.websocket(transport::WebSocket::new()))),
        #[cfg(feature = "quic")]
        "quic" => Ok(Arc::new(trust.quic(transport::Quic::new()))),
        _ => {
            // Only some put messages into an envelope.
            let _ = content_type;
            Ok(trust.native())
        }
    }
}

/// Lets a transport reach nodes of other frameworks, too: those whose address has a scheme that is
/// compiled in.
pub(crate) fn reaching(
    transport: Arc<dyn Transport>,
    content_type: &ContentType,
    trust: &Trust,
) -> Arc<dyn Transport> {
    let schemes = transport::Schemes::over(transport);
    // Only some put messages into an envelope.
    let _ = (content_type, trust);
    #[cfg(feature = "grpc")]
    let schemes = schemes.with("grpc", Arc::new(trust.grpc(transport::Grpc::default())));
    #[cfg(feature = "http")]
    let schemes = schemes
        .with("http", Arc::new(trust.http(transport::Http::new())))
        .with("h2c", Arc::new(trust.http(transport::Http::h2c())));
    #[cfg(feature = "ws")]
    let schemes = schemes.with("ws", Arc::new(trust.websocket(transport::WebSocket::new())));
    #[cfg(feature = "mucp")]
    let schemes = schemes.with("mucp", Arc::new(trust.mucp(mucp(content_type))));
    Arc::new(trust.secured(schemes))
}

/// Makes the transport of go-micro in the envelope that a content type names.
#[cfg(feature = "mucp")]
fn mucp(content_type: &ContentType) -> transport::Mucp {
    transport::Mucp::new().in_envelope(Form::of(content_type).envelope)
}

/// Finds the format of the messages of a content type, which may name an envelope around them.
///
/// # Errors
/// 412 when there is no codec for them.
pub(crate) fn format(content_type: &ContentType, codecs: &Codecs) -> Result<Format> {
    #[cfg(feature = "mucp")]
    let message = &Form::of(content_type).message;
    #[cfg(not(feature = "mucp"))]
    let message = content_type;
    codecs.format(message).map_err(|error| {
        let detail = format!("the setting `micro.client_content_type`: {}", error.detail());
        Error::precondition_failed("micro.open", detail).with_source(error)
    })
}

/// Opens the source of settings at a path, which a URL with `//` leads elsewhere than to a file.
pub(crate) fn open_config(
    path: &str,
    tasks: &TaskTracker,
    drivers: &Drivers,
) -> Result<Arc<dyn Source>> {
    let file = path.strip_prefix("file://");
    if let Some(path) = file.or((!path.contains("://")).then_some(path)) {
        return Ok(Arc::new(config::File::new(path)));
    }
    let url = Url::parse(path)?;
    url.offered("config", CONFIGS)?;
    remote::config(&url, tasks, drivers).unwrap_or_else(|| {
        // Invariant: the table lists nothing that is not opened there.
        let detail = format!("the config `{}` has no way to open it", url.scheme);
        Err(Error::internal("micro.open", detail))
    })
}

/// Opens a selector.
///
/// # Errors
/// 400 when the name is unknown.
pub fn selector(name: &str) -> Result<Arc<dyn Selector>> {
    selector::by_name(name)
}

/// Has the spans that `recorder` takes sent elsewhere, too, under the name of a process.
#[cfg(feature = "server")]
pub(crate) fn open_tracer(
    url: &Url,
    process: &str,
    recorder: Arc<dyn Recorder>,
    limits: &DebugLimits,
    tasks: &TaskTracker,
) -> Result<Arc<dyn Recorder>> {
    url.check("tracer", TRACERS)?;
    #[cfg(feature = "otlp")]
    if url.scheme == "otlp" {
        let collector = if url.rest.is_empty() { "127.0.0.1" } else { url.rest.as_str() };
        let collector = format!("http://{collector}");
        return Ok(Arc::new(Otlp::open(&collector, process, recorder, limits, tasks)?));
    }
    #[cfg(not(feature = "otlp"))]
    let _ = (process, limits, tasks);
    plain(url, "tracer")?;
    Ok(recorder)
}

pub(crate) fn open_registry(
    url: &Url,
    scope: &Scope,
    drivers: &Drivers,
) -> Result<Arc<dyn Registry>> {
    url.offered("registry", REGISTRIES)?;
    if let Some(registry) = remote::registry(url, scope, drivers) {
        return registry;
    }
    let limits = scope.limits.registry.clone();
    url.check("registry", REGISTRIES)?;
    match url.scheme.as_str() {
        "memory" => {
            plain(url, "registry")?;
            Ok(Arc::new(registry::Memory::with_limits(limits)))
        }
        "file" if url.rest.is_empty() => Err(Error::precondition_failed(
            "micro.open",
            "the registry `file` needs a path: `file:///path/nodes.json`",
        )),
        "file" => Ok(Arc::new(registry::StaticFile::open_with(&url.rest, limits)?)),
        #[cfg(feature = "mdns")]
        "mdns" => {
            let interface = |text: &str| {
                text.trim().parse().map_err(|error: std::net::AddrParseError| {
                    let detail = "the registry `mdns` takes IPv4 addresses of interfaces: \
                                  `mdns://192.0.2.7`";
                    Error::precondition_failed("micro.open", detail).with_source(error)
                })
            };
            let mut config = registry::MdnsConfig::default().with_limits(limits);
            for text in url.rest.split(',').filter(|text| !text.is_empty()) {
                config = config.with_interface(interface(text)?);
            }
            Ok(Arc::new(registry::Mdns::with_config(config)))
        }
        "local" if url.rest.is_empty() => Ok(Arc::new(registry::Local::open()?.limited(limits))),
        "local" => Ok(Arc::new(registry::Local::open_at(&url.rest)?.limited(limits))),
        other => {
            // Invariant: the table lists nothing that is not opened above.
            let detail = format!("the registry `{other}` has no way to open it");
            Err(Error::internal("micro.open", detail))
        }
    }
}

pub(crate) fn open_broker(
    url: &Url,
    (registry, transport): (&Arc<dyn Registry>, &Arc<dyn Transport>),
    (scope, drivers): (&Scope, &Drivers),
    headers: Option<broker::Headers>,
) -> Result<Arc<dyn Broker>> {
    url.offered("broker", BROKERS)?;
    if let Some(broker) = remote::broker(url, scope, drivers) {
        return broker;
    }
    url.check("broker", BROKERS)?;
    plain(url, "broker")?;
    match url.scheme.as_str() {
        "http" => {
            let (registry, transport) = (Arc::clone(registry), Arc::clone(transport));
            let http = broker::Http::with_headers(registry, transport, scope.clone(), headers);
            Ok(Arc::new(http))
        }
        "memory" => Ok(Arc::new(broker::Memory::with_limits(&scope.limits, scope.tasks.clone()))),
        other => {
            // Invariant: the table lists nothing that is not opened above.
            let detail = format!("the broker `{other}` has no way to open it");
            Err(Error::internal("micro.open", detail))
        }
    }
}

pub(crate) async fn open_store(
    url: &Url,
    service: &str,
    limits: &StoreLimits,
    (tasks, drivers): (&TaskTracker, &Drivers),
) -> Result<Arc<dyn Store>> {
    url.offered("store", STORES)?;
    if let Some(store) = remote::store(url, limits, tasks, drivers) {
        return store;
    }
    url.check("store", STORES)?;
    match url.scheme.as_str() {
        #[cfg(feature = "redb")]
        "file" => {
            let path = match url.rest.as_str() {
                "" => store::File::default_path(service)?,
                directory if directory.ends_with('/') => store::File::within(directory, service),
                path => path.into(),
            };
            Ok(Arc::new(store::File::open_with(path, limits.clone()).await?))
        }
        _ => {
            let _ = service;
            plain(url, "store")?;
            Ok(Arc::new(store::Memory::with_limits(limits.clone())))
        }
    }
}

/// Refuses an address where the backend has none.
fn plain(url: &Url, component: &str) -> Result<()> {
    if url.rest.is_empty() {
        return Ok(());
    }
    let detail = format!("the {component} `{}` takes no address", url.scheme);
    Err(Error::precondition_failed("micro.open", detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::limits::Limits;

    fn registry(url: &str) -> Result<Arc<dyn Registry>> {
        super::registry(url, &Scope::default(), &Drivers::default())
    }

    #[tokio::test]
    async fn a_registry_keeps_within_the_limits_of_the_process() {
        use crate::registry::{Node, Record};
        use std::time::Duration;
        let dir = tempfile::tempdir().unwrap();
        let node = Node { id: "a".into(), address: "127.0.0.1:1".into(), ..Node::default() };
        let mut record = Record { name: "s".into(), nodes: vec![node], ..Record::default() };
        record.nodes[0].metadata.insert("k".to_owned(), "v".repeat(9));
        let mut limits = Limits::default();
        limits.registry.node_metadata_bytes_max = 9;
        let local = format!("local://{}", dir.path().join("nodes").display());
        for url in ["memory", &local] {
            let scope = Scope { limits: Arc::new(limits.clone()), ..Scope::default() };
            let registry = super::registry(url, &scope, &Drivers::default()).unwrap();
            let long = registry.register(&record, Duration::from_secs(9)).await;
            assert_eq!(long.unwrap_err().code(), 413, "{url}");
        }
    }

    fn broker(url: &str) -> Result<Arc<dyn Broker>> {
        let (scope, drivers) = (Scope::default(), Drivers::default());
        super::broker(url, &registry("memory")?, &transport("memory")?, &scope, &drivers)
    }

    fn transport(url: &str) -> Result<Arc<dyn Transport>> {
        super::transport(url, &Scope::default(), &Drivers::default())
    }

    async fn store(url: &str) -> Result<Arc<dyn Store>> {
        super::store(url, "shop", &Scope::default(), &Drivers::default()).await
    }

    #[tokio::test]
    async fn names_and_urls_open_their_backends() {
        let dir = tempfile::tempdir().unwrap();
        let local = format!("local://{}", dir.path().join("nodes").display());
        assert_eq!(registry(&local).unwrap().name(), "local");
        assert_eq!(registry("memory").unwrap().name(), "memory");
        let file = dir.path().join("nodes.json");
        std::fs::write(&file, "[]").unwrap();
        assert!(registry(&format!("file://{}", file.display())).is_ok());
        assert_eq!(broker("memory").unwrap().name(), "memory");
        assert_eq!(broker("http").unwrap().name(), "http");
        assert_eq!(transport("native").unwrap().name(), "native");
        assert_eq!(selector("round_robin").unwrap().name(), "round-robin");
    }

    #[tokio::test]
    async fn what_cannot_be_opened_says_why() {
        for (error, part) in [
            (registry("loacl").unwrap_err(), "did you mean `local`?"),
            (registry("file").unwrap_err(), "needs a path"),
            (registry("memory://x").unwrap_err(), "takes no address"),
            (transport("warp").unwrap_err(), "there are native, memory"),
            (broker("kafak").unwrap_err(), "did you mean `kafka`?"),
            (store("mysql://h").await.unwrap_err(), "are memory, file"),
            (store("memory://x").await.unwrap_err(), "no address"),
            (selector("p2d").unwrap_err(), "p2c"),
        ] {
            assert!(error.detail().contains(part), "{error}");
        }
    }

    #[cfg(any(feature = "nats", feature = "rabbitmq"))]
    #[tokio::test]
    async fn a_transport_on_a_server_opens_without_it() {
        #[cfg(feature = "nats")]
        {
            let nats = transport("nats://ada:x@127.0.0.1:1").unwrap();
            assert_eq!((nats.name(), nats.has_listener()), ("nats", true));
            assert!(transport("nats://127.0.0.1:1/path").is_err());
        }
        #[cfg(feature = "rabbitmq")]
        {
            let rabbitmq = transport("rabbitmq://127.0.0.1:1/shop").unwrap();
            assert_eq!((rabbitmq.name(), rabbitmq.has_listener()), ("rabbitmq", true));
            assert!(transport("rabbitmq://127.0.0.1:1?option=1").is_err());
        }
    }

    #[cfg(feature = "redb")]
    #[tokio::test]
    async fn a_store_in_a_directory_is_a_file_of_the_service() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("file://{}/", dir.path().display());
        let store = store(&url).await.unwrap();
        assert_eq!(store.name(), "file");
        assert!(dir.path().join("shop.redb").exists());
    }

    #[cfg(not(feature = "redb"))]
    #[tokio::test]
    async fn a_file_without_its_feature_names_it() {
        let error = store("file").await.unwrap_err();
        assert!(error.detail().contains("enable the feature `redb`"), "{error}");
    }

    #[test]
    fn a_content_type_that_has_no_codec_is_a_startup_error() {
        let format = |text| format(&ContentType::parse(text), &Codecs::default());
        assert_eq!(format("application/json").unwrap().content_type(), ContentType::Json);
        let error = format("application/xml").unwrap_err();
        assert_eq!(error.code(), 412);
        assert!(error.detail().contains("`micro.client_content_type`"), "{error}");
        assert!(error.detail().contains("application/json"), "{error}");
    }

    #[cfg(feature = "mucp")]
    #[test]
    fn an_envelope_is_one_of_the_transport_and_its_message_that_of_the_client() {
        let json_rpc = ContentType::parse("application/json-rpc");
        let format = format(&json_rpc, &Codecs::default()).unwrap();
        assert_eq!(format.content_type(), ContentType::Json);
        let transport = open_transport(
            "mucp",
            &json_rpc,
            &Trust::default(),
            (&TaskTracker::new(), &Drivers::default()),
        )
        .unwrap();
        assert_eq!((transport.name(), transport.has_listener()), ("mucp", false));
        assert!(format!("{transport:?}").contains("JsonRpc"), "{transport:?}");
    }

    #[cfg(not(feature = "mdns"))]
    #[test]
    fn a_backend_that_is_not_compiled_in_names_its_feature() {
        let error = registry("mdns").unwrap_err();
        assert!(error.detail().contains("enable the feature `mdns`"), "{error}");
    }
}
