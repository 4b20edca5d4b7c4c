//! Registry that reads DNS: SRV records, or addresses with a fixed port. Nobody registers here; a
//! server's zone says who serves what.
//!
//! A service `greeter` in the domain `services.example` is the SRV records of
//! `_greeter._tcp.services.example`, or, with a port, the A and AAAA records of
//! `greeter.services.example`. Each address is a node, whose id is `ip:port`; what a record of DNS
//! does not tell (version, endpoints) is empty, and its node is taken to serve every endpoint.
//!
//! # Consistency
//! An answer holds as long as its records say (TTL), within a second and a minute; then it is asked
//! for again. A watch asks as often, so that a change is seen when the old answer ends. What is not
//! there is asked for each time.
//!
//! # Durability
//! That of the zone.
//!
//! # Limits
//! 1,024 answers are kept, a service has at most as many nodes as
//! [`RegistryLimits::nodes_per_service_max`], 256 targets of one are resolved. Names of services are
//! letters, digits, `-`, `_` and dots; case does not count. Of targets with several priorities only
//! those of the first are nodes.
//!
//! # When the server fails
//! Questions are repeated until their lookup has taken 4 s, which is then a 503: never taken for
//! "nobody serves it". A [`Cached`](crate::registry::Cached) reader goes on with what it knows; a
//! watch goes on by itself.
//!
//! # Configuration
//! `dns://127.0.0.1:5353/services.example`: the server (an address; several by commas) and the domain.
//! Without a server, `dns:///services.example`, the system's. Options: `port=8080` asks for addresses
//! instead of SRV, `name=_grpc._tcp.{service}` replaces what stands before the domain,
//! `protocol=grpc` says what the nodes speak (as in the metadata of go-micro).
//!
//! # Not supported
//! Registration (501), the names of all services and a watch of all (501, DNS does not tell them),
//! weights and backup targets of SRV, DNSSEC, DNS over TLS or HTTPS.
//!
//! # Tested against
//! dnsmasq 2.90.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use crate::core::backoff::Backoff;
use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::core::limits::RegistryLimits;
use crate::driver::{HOSTS_MAX, ServerUrl};
use crate::registry::check::{ERROR_ID, NAME_BYTES_MAX};
use crate::registry::record::{Node, Record};
use crate::registry::table::Table;
use crate::registry::{Capabilities, Registry, Watch};

/// Answers that are kept until they end; further ones are asked for each time.
const ANSWERS_KEPT_MAX: usize = 1024;
/// An answer counts no longer than this, whatever it says: what was wrong is right within it.
const REFRESH_MAX: Duration = Duration::from_secs(60);
/// A watch asks no more often than this, even where answers may not be kept at all.
const REFRESH_MIN: Duration = Duration::from_secs(1);
/// A watch asks again for what is not there after this: nobody waits long for a first node.
const REFRESH_ABSENT: Duration = Duration::from_secs(2);
/// A server answers within this, or is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// A lookup ends after this, with all of its questions: below the patience of a cache.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(4);
/// The longest first pause before a question is repeated; it doubles up to [`PAUSE_MAX`].
const PAUSE_BASE: Duration = Duration::from_millis(20);
/// The longest pause before a question is repeated.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Targets of one service that are resolved; further ones are left out and logged.
const TARGETS_MAX: usize = 256;
/// What stands for the name of the service in a template.
const SERVICE: &str = "{service}";

/// Which records are read, and where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DnsConfig {
    /// The servers to ask, at most [`HOSTS_MAX`]; the system's if there are none.
    pub servers: Vec<SocketAddr>,
    /// The domain of all services, such as `services.example`.
    pub domain: String,
    /// What stands before the domain, with `{service}` for the name; `_{service}._tcp` by default,
    /// `{service}` with a port.
    pub name: Option<String>,
    /// The port of all nodes, whose addresses are then asked for instead of SRV records.
    pub port: Option<u16>,
    /// What the nodes speak, as their metadata would say.
    pub protocol: Option<String>,
    /// Bounds of what is found.
    pub limits: RegistryLimits,
}

impl DnsConfig {
    /// The port of a server whose URL has none.
    pub(crate) const PORT: u16 = 53;

    /// Reads SRV records of a domain from the system's servers.
    pub fn new(domain: impl Into<String>) -> Self {
        let (servers, domain) = (Vec::new(), domain.into());
        let limits = RegistryLimits::DEFAULT;
        Self { servers, domain, name: None, port: None, protocol: None, limits }
    }

    /// Asks one more server, and the system's no longer.
    #[must_use]
    pub fn with_server(mut self, server: SocketAddr) -> Self {
        self.servers.push(server);
        self
    }

    /// Replaces what stands before the domain; `{service}` is the name of the service.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Asks for addresses, at which all nodes have this port.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Says what the nodes speak, such as `grpc` or `http`.
    #[must_use]
    pub fn with_protocol(mut self, protocol: impl Into<String>) -> Self {
        self.protocol = Some(protocol.into());
        self
    }

    /// Works within other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: RegistryLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Reads the URL of the registry; one that names no server is that of the system's.
    pub(crate) fn of_url(mut url: ServerUrl, system: bool) -> Result<Self> {
        let mut config = Self::new(url.path());
        config.name = url.take("name");
        config.port = url.take_as("port")?;
        config.protocol = url.take("protocol");
        url.finish("registry")?;
        for (host, port) in url.server().hosts().iter().filter(|_| !system) {
            let Ok(ip) = host.parse::<IpAddr>() else {
                return Err(wrong("asks servers by their address: `dns://192.0.2.7/domain`"));
            };
            config.servers.push(SocketAddr::new(ip, *port));
        }
        Ok(config)
    }
}

/// A registry of what DNS says; clones share the answers.
#[derive(Clone)]
pub struct Dns {
    shared: Arc<Shared>,
}

struct Shared {
    config: DnsConfig,
    /// Made when it is first asked, since the system's servers are read from files.
    resolver: OnceLock<TokioResolver>,
    /// By service. The resolver keeps none: it would ask again for what is not there beside what is,
    /// such as an address of the other family.
    answers: Mutex<HashMap<String, Answer>>,
}

/// What was found, and how long it holds.
#[derive(Clone)]
struct Answer {
    records: Option<Vec<Record>>,
    until: Instant,
}

impl Dns {
    /// Makes a registry; nothing is asked yet.
    ///
    /// # Errors
    /// 412 when the domain or the name of records is none, the port is 0, or there are too many
    /// servers.
    pub fn new(config: DnsConfig) -> Result<Self> {
        if config.domain.is_empty() {
            return Err(wrong("needs a domain: `dns://127.0.0.1:5353/services.example`"));
        }
        if config.port == Some(0) {
            return Err(wrong("takes a port other than 0"));
        }
        if config.servers.len() > HOSTS_MAX {
            return Err(wrong("asks too many servers"));
        }
        if config.name.as_ref().is_some_and(|name| !name.contains(SERVICE)) {
            return Err(wrong("needs `{service}` in the name of records"));
        }
        let (resolver, answers) = (OnceLock::new(), Mutex::default());
        let shared = Arc::new(Shared { config, resolver, answers });
        if shared.name("service").is_err() {
            return Err(wrong("has a domain or a name of records that DNS does not know"));
        }
        Ok(Self { shared })
    }
}

fn wrong(why: &str) -> Error {
    Error::precondition_failed(ERROR_ID, format!("the registry `dns` {why}"))
}

fn unsupported(what: &str) -> Error {
    Error::unimplemented(ERROR_ID, format!("the registry dns cannot {what}"))
}

/// Marks a failure of the server, which says nothing about the service.
fn failed(name: &Name, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let detail = format!("the server of DNS did not answer for {name}: {error}");
    Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe).with_source(error)
}

impl Shared {
    fn resolver(&self) -> Result<&TokioResolver> {
        if let Some(resolver) = self.resolver.get() {
            return Ok(resolver);
        }
        let cannot = |error: NetError| {
            let detail = format!("the system's servers of DNS cannot be read: {error}");
            Error::unavailable(ERROR_ID, detail).with_source(error)
        };
        let mut builder = if self.config.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(cannot)?
        } else {
            let servers = self.config.servers.iter().map(|server| {
                let mut ways = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                ways.iter_mut().for_each(|way| way.port = server.port());
                NameServerConfig::new(server.ip(), true, ways.to_vec())
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.timeout = ANSWER_TIMEOUT;
        options.attempts = 1;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let resolver = builder.build().map_err(cannot)?;
        Ok(self.resolver.get_or_init(|| resolver))
    }

    /// Returns the name whose records say who serves a service.
    fn name(&self, service: &str) -> Result<Name> {
        let refused = || {
            let detail = format!("no service in DNS can be named {service:?}");
            Error::bad_request(ERROR_ID, detail)
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if service.is_empty() || service.len() > NAME_BYTES_MAX || !service.chars().all(plain) {
            return Err(refused());
        }
        let usual = if self.config.port.is_some() { SERVICE } else { "_{service}._tcp" };
        let before = self.config.name.as_deref().unwrap_or(usual).replace(SERVICE, service);
        let domain = self.config.domain.trim_end_matches('.');
        Name::from_ascii(format!("{before}.{domain}.")).map_err(|_too_long| refused())
    }

    /// Asks until somebody answers, or the deadline; `None` where there are no such records.
    async fn ask(
        &self,
        name: &Name,
        kind: RecordType,
        deadline: Instant,
    ) -> Result<Option<Lookup>> {
        let resolver = self.resolver()?;
        let mut backoff = Backoff::new(PAUSE_BASE, PAUSE_MAX);
        loop {
            let asked = clock::timeout_at(deadline, resolver.lookup(name.clone(), kind)).await;
            let error = match asked {
                Ok(Ok(lookup)) => return Ok(Some(lookup)),
                Ok(Err(error)) if error.is_no_records_found() => return Ok(None),
                Ok(Err(error)) => error,
                Err(_elapsed) => NetError::Timeout,
            };
            let pause = backoff.next_delay();
            if clock::after(clock::now(), pause) >= deadline {
                return Err(failed(name, error));
            }
            clock::sleep(pause).await;
        }
    }

    /// Finds the addresses of a name and until when they hold.
    async fn addresses(
        &self,
        name: &Name,
        deadline: Instant,
    ) -> Result<(Vec<IpAddr>, Option<Instant>)> {
        let (four, six) = tokio::join!(
            self.ask(name, RecordType::A, deadline),
            self.ask(name, RecordType::AAAA, deadline)
        );
        let (mut found, mut until, mut trouble) = (Vec::new(), None, None);
        for asked in [four, six] {
            let lookup = match asked {
                Ok(Some(lookup)) => lookup,
                Ok(None) => continue,
                Err(error) => {
                    trouble = Some(error);
                    continue;
                }
            };
            until = until.into_iter().chain(end(&lookup)).min();
            found.extend(lookup.answers().iter().filter_map(|record| match &record.data {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            }));
        }
        // Addresses of one family do, where servers fail at the other.
        match trouble {
            Some(error) if found.is_empty() => Err(error),
            _ => Ok((found, until)),
        }
    }

    async fn targets(
        &self,
        name: &Name,
        deadline: Instant,
    ) -> Result<(Vec<SocketAddr>, Option<Instant>)> {
        let Some(lookup) = self.ask(name, RecordType::SRV, deadline).await? else {
            return Ok((Vec::new(), None));
        };
        let records = lookup.answers().iter().filter_map(|record| match &record.data {
            // A target of the root says that the service is not there.
            RData::SRV(target) if !target.target.is_root() => Some(target),
            _ => None,
        });
        let mut targets: Vec<_> = records.collect();
        let first = targets.iter().map(|target| target.priority).min();
        targets.retain(|target| Some(target.priority) == first && target.port != 0);
        if targets.len() > TARGETS_MAX {
            tracing::warn!(%name, "more than {TARGETS_MAX} targets, the others are left out");
            targets.truncate(TARGETS_MAX);
        }
        let (mut found, mut until) = (Vec::new(), end(&lookup));
        for target in targets {
            let (addresses, end) = self.addresses(&target.target, deadline).await?;
            until = until.into_iter().chain(end).min();
            found.extend(addresses.into_iter().map(|ip| SocketAddr::new(ip, target.port)));
        }
        Ok((found, until))
    }

    /// Returns what is known of a service, asked for anew when that has ended.
    async fn find(&self, service: &str) -> Result<Answer> {
        if let Some(answer) = self.answers().get(service).filter(|kept| kept.until > clock::now()) {
            return Ok(answer.clone());
        }
        let found = self.fetch(service).await;
        let mut answers = self.answers();
        let now = clock::now();
        answers.remove(service);
        if answers.len() >= ANSWERS_KEPT_MAX {
            answers.retain(|_, answer| answer.until > now);
        }
        if let Ok(answer) = &found
            && answer.records.is_some()
            && answers.len() < ANSWERS_KEPT_MAX
        {
            answers.insert(service.to_owned(), answer.clone());
        }
        found
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<String, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self, service: &str) -> Result<Answer> {
        let name = self.name(service)?;
        let deadline = clock::after(clock::now(), LOOKUP_TIMEOUT);
        let (mut found, until) = match self.config.port {
            Some(port) => {
                let (addresses, until) = self.addresses(&name, deadline).await?;
                (addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect(), until)
            }
            None => self.targets(&name, deadline).await?,
        };
        found.sort_unstable();
        found.dedup();
        let nodes_max = self.config.limits.nodes_per_service_max;
        if found.len() > nodes_max {
            tracing::warn!(%name, "more than {nodes_max} nodes, the others are left out");
            found.truncate(nodes_max);
        }
        let protocol = self.config.protocol.iter();
        let metadata = protocol.map(|protocol| ("protocol".to_owned(), protocol.clone())).collect();
        let nodes: Vec<Node> = found
            .iter()
            .map(ToString::to_string)
            .map(|address| Node {
                id: address.clone(),
                address,
                metadata: std::collections::BTreeMap::clone(&metadata),
            })
            .collect();
        let record = Record { name: service.to_owned(), nodes, ..Record::default() };
        let now = clock::now();
        let until = until.unwrap_or_else(|| clock::after(now, REFRESH_ABSENT));
        let until = until.clamp(clock::after(now, REFRESH_MIN), clock::after(now, REFRESH_MAX));
        let records = (!record.nodes.is_empty()).then(|| vec![record]);
        Ok(Answer { records, until })
    }

    /// Keeps a table as DNS says, forever.
    async fn follow(self: Arc<Self>, service: String, table: Arc<Table>, mut until: Instant) {
        let mut backoff = Backoff::new(REFRESH_MIN, REFRESH_ABSENT);
        loop {
            clock::sleep_until(until).await;
            match self.find(&service).await {
                Ok(answer) => {
                    backoff.reset();
                    until = answer.until;
                    table.replace(&answer.records.unwrap_or_default());
                }
                Err(_silent) => until = clock::after(clock::now(), backoff.next_delay()),
            }
        }
    }
}

/// Returns when the first record of an answer ends.
fn end(lookup: &Lookup) -> Option<Instant> {
    let seconds = lookup.answers().iter().map(|record| record.ttl).min()?;
    Some(clock::after(clock::now(), Duration::from_secs(seconds.into())))
}

impl Registry for Dns {
    fn name(&self) -> &'static str {
        "dns"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { ttl: false, watch: true, register: false, propagation: REFRESH_MAX }
    }

    fn register<'a>(&'a self, _: &'a Record, _: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(unsupported("register")) })
    }

    fn deregister<'a>(&'a self, _: &'a Record) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(unsupported("deregister")) })
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        Box::pin(async move { Ok(self.shared.find(service).await?.records) })
    }

    /// Returns `Unsupported` (501): DNS tells no names.
    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async { Err(unsupported("list services: DNS does not tell their names")) })
    }

    /// Watches one service; of all a 501, since DNS tells no names.
    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move {
            let Some(service) = service else {
                return Err(unsupported("watch all services: DNS does not tell their names"));
            };
            let answer = self.shared.find(service).await?;
            let table = Arc::new(Table::default());
            table.replace(&answer.records.unwrap_or_default());
            let events = table.watch(None);
            let shared = Arc::clone(&self.shared);
            let driver = shared.follow(service.to_owned(), table, answer.until);
            Ok(Watch::driven(events, (), driver))
        })
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dns").field("domain", &self.shared.config.domain).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(config: DnsConfig) -> Dns {
        Dns::new(config).unwrap()
    }

    #[test]
    fn the_name_of_records_follows_from_the_configuration() {
        let srv = DnsConfig::new("services.example.");
        for (config, expected) in [
            (srv.clone(), "_greeter._tcp.services.example."),
            (srv.clone().with_port(80), "greeter.services.example."),
            (srv.clone().with_name("_grpc._tcp.{service}"), "_grpc._tcp.greeter.services.example."),
        ] {
            assert_eq!(dns(config).shared.name("greeter").unwrap().to_string(), expected);
        }
        for service in ["", "a b", "a/b", "na\u{ef}ve", &"x".repeat(64), &"x.".repeat(130)] {
            let error = dns(srv.clone()).shared.name(service).unwrap_err();
            assert_eq!(error.code(), 400, "{service}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_at_start() {
        let good = DnsConfig::new("services.example");
        let server = SocketAddr::from(([127, 0, 0, 1], 53));
        let many = (0..=HOSTS_MAX).fold(good.clone(), |config, _| config.with_server(server));
        for config in [
            DnsConfig::new(""),
            DnsConfig::new("a..b"),
            good.clone().with_port(0),
            good.clone().with_name("_greeter._tcp"),
            many,
        ] {
            assert_eq!(Dns::new(config).unwrap_err().code(), 412);
        }
    }

    #[test]
    fn a_url_names_server_domain_and_port() {
        let read = |text: &str, system| {
            DnsConfig::of_url(ServerUrl::parse(text, DnsConfig::PORT).unwrap(), system)
        };
        let config = read("dns://127.0.0.1:5353,192.0.2.7/a.example?port=80", false).unwrap();
        assert_eq!(config.servers.len(), 2);
        assert_eq!(config.servers[1].to_string(), "192.0.2.7:53");
        assert_eq!((config.domain.as_str(), config.port), ("a.example", Some(80)));
        assert!(read("dns:///a.example", true).unwrap().servers.is_empty());
        assert_eq!(read("dns://ns.example/a.example", false).unwrap_err().code(), 412);
        assert_eq!(read("dns:///a.example?prot=80", true).unwrap_err().code(), 412);
    }
}
