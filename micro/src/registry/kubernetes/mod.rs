//! Registry that reads the endpoint slices of Kubernetes. Nobody registers here: a `Service` and the
//! readiness of its Pods say who serves what.
//!
//! A service `greeter` is the `Service` of that name in one namespace. Its nodes are the endpoints
//! that are ready, by the name of their Pods; one that is terminating and still serves is marked as
//! draining. The version is that of the label `app.kubernetes.io/version`; endpoints are not told,
//! and a node is taken to serve every one.
//!
//! # Consistency
//! As the server tells it: a watch lists and then hears of each change in order, goes on where it
//! was after a gap, and lists again where the server has forgotten that point (410).
//!
//! # Durability
//! That of the cluster. The leases of nodes are those of Kubernetes: Pods that are not ready, or
//! whose machine is silent, are taken out by it.
//!
//! # Limits
//! Nodes of a service as [`RegistryLimits::nodes_per_service_max`] says; lists come in pages of 500
//! slices. Names of services are letters, digits, `-`, `_` and dots, at most 63. A dead connection
//! that nobody closed is noticed after 65 s.
//!
//! # When the server fails
//! Every operation is a 503 within 4 s; a watch goes on by itself, and a
//! [`Cached`](crate::registry::Cached) reader with what it knows.
//!
//! # Configuration
//! `kubernetes` alone, in a Pod: the server, the account and the namespace of the Pod, by TLS;
//! `kubernetes:///shop` names another namespace. The account needs the rights `list` and `watch` on
//! `endpointslices` of `discovery.k8s.io`. `kubernetes://127.0.0.1:8001/shop` asks over plain HTTP,
//! as `kubectl proxy` offers it on a developer's machine. `port=http` names the port of the
//! nodes; without it that is the one named `micro`, or else the first.
//!
//! # Not supported
//! Registration (501), kubeconfig files, `Service`s without a selector that have no slices.
//!
//! # Tested against
//! A stand-in that answers as the documentation of the Kubernetes API says. No real Kubernetes.

mod slice;
mod watch;

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client, Config};
use tokio::sync::OnceCell;

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::core::limits::RegistryLimits;
use crate::driver::ServerUrl;
use crate::registry::check::ERROR_ID;
use crate::registry::kubernetes::slice::{SERVICE, Slice, joined};
use crate::registry::kubernetes::watch::Follower;
use crate::registry::record::Record;
use crate::registry::table::Table;
use crate::registry::{Capabilities, Registry, Watch};

/// The server answers within this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// Slices of one page of a list.
const PAGE_SLICES: u32 = 500;
/// Bytes of the name of a service: those of a label's value.
const LABEL_BYTES_MAX: usize = 63;
/// How long a change takes to reach every reader.
const PROPAGATION: Duration = Duration::from_secs(1);

/// Which namespace is read, and where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KubernetesConfig {
    /// The namespace; that of the Pod if it is not said, or `default` behind a proxy.
    pub namespace: Option<String>,
    /// `host:port` of a proxy that is asked over plain HTTP; the cluster of the Pod if there is none.
    pub proxy: Option<String>,
    /// The name of the port of all nodes.
    pub port: Option<String>,
    /// Bounds of what is found.
    pub limits: RegistryLimits,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self { namespace: None, proxy: None, port: None, limits: RegistryLimits::DEFAULT }
    }
}

impl KubernetesConfig {
    /// The port of a proxy whose URL has none.
    pub(crate) const PORT: u16 = 8001;

    /// Reads another namespace.
    #[must_use]
    pub fn with_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Asks a proxy at `host:port` over plain HTTP.
    #[must_use]
    pub fn with_proxy(mut self, proxy: impl Into<String>) -> Self {
        self.proxy = Some(proxy.into());
        self
    }

    /// Names the port of the nodes.
    #[must_use]
    pub fn with_port(mut self, port: impl Into<String>) -> Self {
        self.port = Some(port.into());
        self
    }

    /// Works within other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: RegistryLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Reads the URL of the registry; one that names no host is that of the Pod's cluster.
    pub(crate) fn of_url(mut url: ServerUrl, in_cluster: bool) -> Result<Self> {
        let namespace = Some(url.path().to_owned()).filter(|path| !path.is_empty());
        let port = url.take("port");
        url.finish("registry")?;
        let mut hosts = url.server().addresses().filter(|_| !in_cluster);
        let proxy = hosts.next();
        if hosts.next().is_some() {
            return Err(wrong("asks one host"));
        }
        Ok(Self { namespace, proxy, port, ..Self::default() })
    }
}

/// A registry of what Kubernetes says; clones share the connection.
#[derive(Clone)]
pub struct Kubernetes {
    shared: Arc<Shared>,
}

struct Shared {
    config: KubernetesConfig,
    /// Made when it is first asked, since the account of the Pod is read from files.
    slices: OnceCell<Api<EndpointSlice>>,
}

impl Kubernetes {
    /// Makes a registry; nothing is asked yet.
    ///
    /// # Errors
    /// 412 when the namespace or the proxy is none.
    pub fn new(config: KubernetesConfig) -> Result<Self> {
        if config.namespace.as_deref().is_some_and(|namespace| !is_label(namespace)) {
            return Err(wrong("has a namespace that Kubernetes does not know"));
        }
        if let Some(proxy) = &config.proxy
            && server(proxy).is_err()
        {
            return Err(wrong("has a proxy that is no `host:port`"));
        }
        Ok(Self { shared: Arc::new(Shared { config, slices: OnceCell::new() }) })
    }
}

fn server(proxy: &str) -> Result<http::Uri> {
    format!("http://{proxy}/").parse().map_err(|_wrong| wrong("has a proxy that is no `host:port`"))
}

fn wrong(why: &str) -> Error {
    Error::precondition_failed(ERROR_ID, format!("the registry `kubernetes` {why}"))
}

fn unsupported(what: &str) -> Error {
    let detail = format!("the registry kubernetes cannot {what}: Kubernetes does it by Pods");
    Error::unimplemented(ERROR_ID, detail)
}

/// Marks that the server did not do what was asked.
fn failed(error: &dyn fmt::Display) -> Error {
    Error::unavailable(ERROR_ID, format!("kubernetes does not answer: {error}"))
        .with_retry(Retry::Safe)
}

/// Tells refusals from failures.
fn refused(error: kube::Error) -> Error {
    match &error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
            let detail = format!("kubernetes refuses to tell: {}", status.message);
            Error::forbidden(ERROR_ID, detail).with_source(error)
        }
        _ => failed(&error).with_source(error),
    }
}

/// Returns whether text can be the value of a label.
fn is_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.len() <= LABEL_BYTES_MAX
        && text.starts_with(edge)
        && text.ends_with(edge)
        && text.chars().all(plain)
}

/// Returns the selector of the slices of a service.
fn labels(service: Option<&str>) -> Result<String> {
    match service {
        None => Ok(SERVICE.to_owned()),
        Some(service) if is_label(service) => Ok(format!("{SERVICE}={service}")),
        Some(service) => {
            let detail = format!("no service of Kubernetes can be named {service:?}");
            Err(Error::bad_request(ERROR_ID, detail))
        }
    }
}

async fn limited<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    clock::timeout(ANSWER_TIMEOUT, answer)
        .await
        .unwrap_or_else(|_elapsed| Err(failed(&format_args!("not within {ANSWER_TIMEOUT:?}"))))
}

impl Shared {
    async fn slices(&self) -> Result<&Api<EndpointSlice>> {
        self.slices.get_or_try_init(|| async { self.connect() }).await
    }

    fn connect(&self) -> Result<Api<EndpointSlice>> {
        let mut config = match &self.config.proxy {
            Some(proxy) => Config::new(server(proxy)?),
            None => Config::incluster().map_err(|error| {
                let detail = "this process is in no Pod: name a proxy, \
                              `kubernetes://127.0.0.1:8001/namespace`";
                Error::precondition_failed(ERROR_ID, detail).with_source(error)
            })?,
        };
        config.connect_timeout = Some(ANSWER_TIMEOUT);
        let namespace = self.config.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(refused)?;
        Ok(Api::namespaced(client, &namespace))
    }

    async fn find(&self, service: Option<&str>) -> Result<Vec<Record>> {
        let mut page = ListParams::default().labels(&labels(service)?).limit(PAGE_SLICES);
        let slices = self.slices().await?;
        let mut found = Vec::new();
        loop {
            let mut list = slices.list(&page).await.map_err(refused)?;
            list.items.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
            let port = self.config.port.as_deref();
            found.extend(list.items.iter().filter_map(|slice| Slice::read(slice, port)));
            match list.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => page = page.continue_token(&next),
                None => return Ok(joined(&found, self.config.limits.nodes_per_service_max)),
            }
        }
    }

    async fn watch(&self, service: Option<&str>) -> Result<Watch> {
        let labels = labels(service)?;
        let slices = self.slices().await?.clone();
        let nodes_max = self.config.limits.nodes_per_service_max;
        let mut follower = Follower::new(slices, &labels, self.config.port.clone(), nodes_max);
        limited(async {
            while !follower.step().await? {}
            Ok(())
        })
        .await?;
        let table = Arc::new(Table::default());
        follower.show(&table);
        let events = table.watch(None);
        Ok(Watch::driven(events, (), follower.follow(table)))
    }
}

impl Registry for Kubernetes {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { ttl: true, watch: true, register: false, propagation: PROPAGATION }
    }

    fn register<'a>(&'a self, _: &'a Record, _: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(unsupported("register")) })
    }

    fn deregister<'a>(&'a self, _: &'a Record) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(unsupported("deregister")) })
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        Box::pin(async move {
            let records = limited(self.shared.find(Some(service))).await?;
            Ok(if records.is_empty() { None } else { Some(records) })
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async {
            let records = limited(self.shared.find(None)).await?;
            let names: BTreeSet<_> = records.into_iter().map(|record| record.name).collect();
            Ok(names.into_iter().collect())
        })
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(self.shared.watch(service))
    }
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.shared.config;
        f.debug_struct("Kubernetes").field("namespace", &config.namespace).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_proxy_namespace_and_port() {
        let read = |text: &str, in_cluster| {
            KubernetesConfig::of_url(
                ServerUrl::parse(text, KubernetesConfig::PORT).unwrap(),
                in_cluster,
            )
        };
        let config = read("kubernetes://127.0.0.1/shop?port=http", false).unwrap();
        assert_eq!(config.proxy.as_deref(), Some("127.0.0.1:8001"));
        assert_eq!(config.namespace.as_deref(), Some("shop"));
        assert_eq!(config.port.as_deref(), Some("http"));
        let config = read("kubernetes", true).unwrap();
        assert!(config.proxy.is_none() && config.namespace.is_none());
        assert_eq!(read("kubernetes://a,b/shop", false).unwrap_err().code(), 412);
        assert_eq!(read("kubernetes:///shop?prot=http", true).unwrap_err().code(), 412);
    }

    #[test]
    fn what_is_no_label_is_refused_before_it_is_asked_for() {
        for service in ["", "a b", "a,b=c", "-a", "a.", &"x".repeat(64)] {
            assert_eq!(labels(Some(service)).unwrap_err().code(), 400, "{service}");
        }
        assert_eq!(labels(Some("greeter")).unwrap(), "kubernetes.io/service-name=greeter");
        let config = KubernetesConfig::default();
        let wrong = Kubernetes::new(config.clone().with_namespace("a/b")).unwrap_err();
        assert_eq!(wrong.code(), 412);
        assert_eq!(Kubernetes::new(config.with_proxy("a b")).unwrap_err().code(), 412);
    }

    #[tokio::test]
    async fn outside_of_a_pod_it_says_what_to_do() {
        let registry = Kubernetes::new(KubernetesConfig::default()).unwrap();
        let error = registry.lookup("greeter").await.unwrap_err();
        assert_eq!(error.code(), 412);
        assert!(error.detail().contains("proxy"), "{error}");
    }
}
