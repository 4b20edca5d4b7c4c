//! Registry by multicast DNS, record-compatible with go-micro: no server, one link.
//!
//! Consistency: a lookup is a question, and whoever serves answers it; watchers hear announcements
//! and goodbyes. Durability: none; nodes exist while their processes answer.
//! Limits: 9,000 bytes for a record as a packet, 64 KiB for its inflated text, 10,000 nodes of
//! others; schemas are left out of texts above 1,200 bytes. Names must fit into DNS: labels of at
//! most 63 bytes between dots. Failure behaviour: a process that was killed is noticed after 11 s;
//! where multicast does not work, every operation fails with an error that says so.
//! Configuration: interfaces and port. Not supported: addresses other than `ip:port`, IPv6 as the
//! carrier, record metadata towards go-micro.
//!
//! Nothing leaves the machine unless a node is registered at an address that others can reach, or
//! an interface is configured. A node on loopback is never told to another machine.

mod engine;
mod packet;
mod socket;
mod txt;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::core::clock;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::limits::RegistryLimits;
use crate::core::shutdown::TaskHandle;
use crate::core::shutdown::TaskTracker;
use crate::registry::Capabilities;
use crate::registry::Event;
use crate::registry::Registry;
use crate::registry::Watch;
use crate::registry::check::check;
use crate::registry::check::own_node;
use crate::registry::mdns::engine::Core;
use crate::registry::mdns::engine::Net;
use crate::registry::mdns::engine::Reach;
use crate::registry::mdns::packet::LIST;
use crate::registry::mdns::packet::Life;
use crate::registry::mdns::packet::Packet;
use crate::registry::mdns::packet::question;
use crate::registry::mdns::socket::Scope;
use crate::registry::mdns::socket::is_loopback;
use crate::registry::mdns::socket::unavailable;
use crate::registry::record::Record;

/// A question without an answer ends after this.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);
/// A question without an answer is repeated once after this.
const REPEAT_AFTER: Duration = Duration::from_millis(80);
/// Further answers are waited for this long after the first.
const SETTLE: Duration = Duration::from_millis(20);
/// Answers taken from one question; more are ignored.
const ANSWERS_MAX: usize = 10_000;
/// How long a change takes to reach every watcher.
const PROPAGATION: Duration = Duration::from_millis(300);

/// Where multicast DNS is spoken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MdnsConfig {
    /// The addresses of the interfaces to use; `0.0.0.0` stands for the system's choice. By
    /// default loopback alone, so that nothing leaves the machine.
    pub interfaces: Vec<Ipv4Addr>,
    /// The port of the multicast group; 5353 unless a test keeps to itself.
    pub port: u16,
    /// Bounds of what is registered and heard.
    pub limits: RegistryLimits,
}

impl Default for MdnsConfig {
    fn default() -> Self {
        Self {
            interfaces: vec![Ipv4Addr::LOCALHOST],
            port: socket::PORT,
            limits: RegistryLimits::DEFAULT,
        }
    }
}

impl MdnsConfig {
    /// Speaks on one more interface.
    #[must_use]
    pub fn with_interface(mut self, interface: Ipv4Addr) -> Self {
        self.interfaces.push(interface);
        self
    }

    /// Works within other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: RegistryLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Speaks on another port of the group.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }
}

/// A registry without a server: nodes announce themselves and answer for themselves.
#[derive(Clone)]
pub struct Mdns {
    shared: Arc<Shared>,
}

struct Shared {
    core: Arc<Core>,
    port: u16,
    /// Grows when a node is registered at an address of another interface.
    interfaces: std::sync::Mutex<BTreeSet<Ipv4Addr>>,
    tasks: TaskTracker,
    hub: Mutex<Slot>,
}

/// The running task, if any.
#[derive(Default)]
struct Slot {
    running: Weak<Hub>,
    /// Keeps the task running while this process has nodes.
    pinned: Option<Arc<Hub>>,
}

struct Hub {
    net: Arc<Net>,
    task: TaskHandle,
}

impl Default for Mdns {
    fn default() -> Self {
        Self::new()
    }
}

impl Mdns {
    /// Makes a registry that speaks on loopback; opens nothing yet.
    pub fn new() -> Self {
        Self::with_config(MdnsConfig::default())
    }

    /// Makes a registry that speaks where the configuration says; opens nothing yet.
    pub fn with_config(config: MdnsConfig) -> Self {
        let interfaces = std::sync::Mutex::new(config.interfaces.into_iter().collect());
        let core = Arc::new(Core::new(config.limits));
        let (tasks, hub) = (TaskTracker::new(), Mutex::default());
        Self { shared: Arc::new(Shared { core, port: config.port, interfaces, tasks, hub }) }
    }
}

impl Shared {
    fn interfaces(&self) -> Vec<Ipv4Addr> {
        let interfaces = self.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
        interfaces.iter().copied().collect()
    }

    /// Returns the running task, started if there is none.
    fn hub(&self, slot: &mut Slot) -> Result<Arc<Hub>> {
        if let Some(hub) = slot.running.upgrade().filter(|hub| !hub.task.is_finished()) {
            return Ok(hub);
        }
        let net = Arc::new(Net::open(&self.interfaces(), self.port)?);
        let run = engine::run(Arc::clone(&self.core), Arc::clone(&net));
        let task = self.tasks.spawn("registry.mdns", run).abort_on_drop();
        let hub = Arc::new(Hub { net, task });
        slot.running = Arc::downgrade(&hub);
        Ok(hub)
    }

    /// Speaks on the interface of a node that others can reach.
    fn join(&self, net: &Net, address: &str) -> Result<()> {
        let Ok(IpAddr::V4(ip)) = address.parse::<SocketAddr>().map(|address| address.ip()) else {
            return Ok(());
        };
        let beyond = |interface: &Ipv4Addr| !interface.is_loopback();
        if ip.is_loopback() || self.interfaces().iter().any(beyond) {
            return Ok(());
        }
        // An advertised address may be that of a gateway: then the system chooses.
        let own = Scope { interface: ip, port: self.port };
        let any = Scope { interface: Ipv4Addr::UNSPECIFIED, port: self.port };
        let joined = match net.join(own) {
            Ok(()) => own,
            Err(_not_ours) => net.join(any).map(|()| any)?,
        };
        let mut interfaces = self.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
        interfaces.insert(joined.interface);
        Ok(())
    }

    async fn register(&self, record: &Record, ttl: Duration) -> Result<()> {
        let node = check(record, ttl, &self.core.limits)?;
        let mut slot = self.hub.lock().await;
        let hub = self.hub(&mut slot)?;
        self.join(&hub.net, &node.address)?;
        let outgoing = self.core.put_own(node, record, ttl)?;
        slot.pinned = Some(Arc::clone(&hub));
        drop(slot);
        for (packet, reach) in outgoing {
            if let Err(error) = hub.net.send(&packet, reach).await {
                // Nobody has heard of the node: what comes next must announce it, not renew it.
                drop(self.core.remove_own(node, &record.name)?);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn deregister(&self, record: &Record) -> Result<()> {
        let node = own_node(record)?;
        let mut slot = self.hub.lock().await;
        let outgoing = self.core.remove_own(node, &record.name)?;
        let Some(hub) = slot.running.upgrade() else { return Ok(()) };
        if self.core.has_no_own() {
            slot.pinned = None;
        }
        drop(slot);
        for (packet, reach) in outgoing {
            hub.net.send(&packet, reach).await?;
        }
        Ok(())
    }

    /// Asks for a name and hands every answer to `take`, which says how many things it has.
    async fn ask(&self, name: &str, mut take: impl FnMut(Packet) -> usize) -> Result<()> {
        let question = question(name)?;
        let interfaces = self.interfaces();
        let senders = engine::exchange(&interfaces, self.port)
            .map_err(|error| unavailable("open a socket", error))?;
        let only_machine = interfaces.iter().all(Ipv4Addr::is_loopback);
        let mut deadline = clock::after(clock::now(), ANSWER_TIMEOUT);
        let mut repeat_at = Some(clock::now());
        let mut found = 0;
        let mut buffer = Vec::new();
        loop {
            if repeat_at.take_if(|at| *at <= clock::now()).is_some() {
                for sender in &senders {
                    sender.send(&question).await.map_err(|error| unavailable("send", error))?;
                }
                let again = clock::after(clock::now(), REPEAT_AFTER);
                repeat_at = (again < deadline && found == 0).then_some(again);
            }
            let until = repeat_at.map_or(deadline, |at| at.min(deadline));
            let received = engine::receive(None, &senders, &mut buffer);
            let Ok(from) = clock::timeout_at(until, received).await else {
                if clock::now() >= deadline {
                    return Ok(());
                }
                continue;
            };
            if only_machine && !is_loopback(from) {
                continue;
            }
            let before = found;
            found = take(Packet::read(&buffer));
            if before == 0 && found > 0 {
                repeat_at = None;
                deadline = deadline.min(clock::after(clock::now(), SETTLE));
            }
            if found >= ANSWERS_MAX {
                return Ok(());
            }
        }
    }

    async fn lookup(&self, service: &str) -> Result<Option<Vec<Record>>> {
        let mut found: BTreeMap<String, Record> = BTreeMap::new();
        self.ask(service, |packet| {
            for (record, life) in packet.nodes {
                if life == Life::Present && record.name == service {
                    let id = record.nodes.first().map(|node| node.id.clone());
                    found.insert(id.unwrap_or_default(), record);
                }
            }
            found.len()
        })
        .await?;
        // What this process has itself is known without asking.
        for record in self.core.own().into_iter().filter(|record| record.name == service) {
            let id = record.nodes.first().map(|node| node.id.clone());
            found.insert(id.unwrap_or_default(), record);
        }
        let records = Record::merge(found.into_values());
        Ok(if records.is_empty() { None } else { Some(records) })
    }

    async fn list(&self) -> Result<Vec<String>> {
        let mut found: BTreeSet<String> = BTreeSet::new();
        self.ask(LIST, |packet| {
            found.extend(packet.services);
            found.len()
        })
        .await?;
        found.extend(self.core.own().into_iter().map(|record| record.name));
        Ok(found.into_iter().collect())
    }

    async fn watch(&self, service: Option<&str>) -> Result<Watch> {
        let question = question(service.unwrap_or(LIST))?;
        let hub = self.hub(&mut *self.hub.lock().await)?;
        let wanted = self.core.want(service);
        // The answers reach the task, in order with the goodbyes; this only sees them arrive.
        let mut arriving = self.core.table.watch(service);
        if matches!(arriving.recv().await, Some(Event::Reset(known)) if known.is_empty()) {
            hub.net.send(&question, Reach::Everyone).await?;
            let first = clock::timeout(ANSWER_TIMEOUT, arriving.recv()).await;
            if first.is_ok() {
                clock::sleep(SETTLE).await;
            }
        }
        let events = self.core.table.watch(service);
        Ok(Watch::new(events, (wanted, hub)))
    }
}

impl Registry for Mdns {
    fn name(&self) -> &'static str {
        "mdns"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { ttl: true, watch: true, register: true, propagation: PROPAGATION }
    }

    fn register<'a>(&'a self, record: &'a Record, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.shared.register(record, ttl))
    }

    /// Only nodes of this process can be removed: others answer for themselves.
    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.shared.deregister(record))
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        Box::pin(self.shared.lookup(service))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(self.shared.list())
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(self.shared.watch(service))
    }
}

impl fmt::Debug for Mdns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (interfaces, port) = (self.shared.interfaces(), self.shared.port);
        f.debug_struct("Mdns").field("interfaces", &interfaces).field("port", &port).finish()
    }
}

#[cfg(test)]
mod tests;
