//! Registry without a server: each process is a member of a cluster and tells the others what it
//! serves, by gossip over UDP.
//!
//! # Consistency
//! Eventual: a change reaches all members within some rounds of 200 ms. Of two processes that
//! register one node the later registration counts, by the clocks of their machines.
//!
//! # Durability
//! None; nodes are there while their processes are members.
//!
//! # Limits
//! 32 KiB of a record, 256 nodes of one process, about 500 members (each tells of all others in one
//! datagram of 64 KiB). More nodes of a service than `RegistryLimits::nodes_per_service_max` and
//! more services than `RegistryLimits::services_max` are left out.
//!
//! # When the server fails
//! There is none. A process that dies or hangs is passed over by all others after eight times the
//! pause that they usually see between its signs of life: some seconds at first, 1.6 s later on.
//! One that goes on after a pause is found again by itself. Members that are cut off from each other
//! go on as two clusters until one reaches the other or a seed.
//!
//! # Configuration
//! `gossip://10.0.0.5:7280,10.0.0.6:7280?listen=10.0.0.7:7280&cluster=shop`: the seeds, members that
//! are asked first (port 7280 by default), the own address, and the name of the cluster, `micro` by
//! default: members of others are refused. `advertise` is where others reach this member, if
//! that is not where it listens. Without `listen` it stays on loopback: at port 7280 if that is
//! free, so that `gossip` alone joins the processes of a machine, else at a free one.
//!
//! # Not supported
//! Encryption and authentication: whoever reaches the port may register and remove what it likes,
//! so listen beyond loopback in networks of your own only. Removal of nodes of other processes.
//!
//! # Tested against
//! Itself: processes of chitchat 0.13.

mod config;
mod own;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use chitchat::transport::UdpTransport;
use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, NodeState,
    ProtocolVersion, spawn_chitchat,
};
use tokio::sync::{OnceCell, watch};

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::core::shutdown::{TaskHandle, TaskTracker};
use crate::driver::HOSTS_MAX;
use crate::registry::check::{ERROR_ID, check, own_node};
use crate::registry::gossip::own::{OWN_MAX, Own, OwnNode};
use crate::registry::gossip::view::{RECORD_BYTES_MAX, Told, View, key};
use crate::registry::record::Record;
use crate::registry::table::Table;
use crate::registry::{Capabilities, Registry, Watch};

pub use self::config::GossipConfig;

/// The pause between two rounds of gossip.
const ROUND: Duration = Duration::from_millis(200);
/// What is taken for the pause between signs of life of a member that is hardly known.
const INITIAL_INTERVAL: Duration = Duration::from_millis(500);
/// A longer pause between signs of life does not count as usual.
const INTERVAL_MAX: Duration = Duration::from_secs(2);
/// A member is taken for dead after this many usual pauses.
const SUSPICION: f64 = 8.0;
/// Signs of life that make what is usual.
const SIGNS_KEPT_MAX: usize = 100;
/// How long a dead member is remembered, so that it is not told of as another one.
const DEAD_KEPT: Duration = Duration::from_secs(600);
/// How long removed nodes are told of: members cut off for longer start over.
const REMOVED_KEPT: Duration = Duration::from_secs(600);
/// How long the first operation waits for another member to be heard of.
const JOIN_TIMEOUT: Duration = Duration::from_millis(1500);
/// Members that hear of a change at once, and not by the next round.
const TOLD_AT_ONCE: usize = 3;
/// How long a removal waits for the members that are told at once: the process may be ending.
const FAREWELL: Duration = Duration::from_millis(20);
/// How often another free port is tried, where somebody took the first meanwhile.
const PORTS_TRIED_MAX: usize = 4;
/// How long a change takes to reach every member.
const PROPAGATION: Duration = Duration::from_secs(2);

/// A registry of the members of a cluster; clones are one member.
#[derive(Clone)]
pub struct Gossip {
    shared: Arc<Shared>,
}

struct Shared {
    config: GossipConfig,
    tasks: TaskTracker,
    table: Arc<Table>,
    own: Arc<Own>,
    member: OnceCell<Member>,
}

/// The membership, from the first operation on.
struct Member {
    handle: ChitchatHandle,
    _feed: TaskHandle<()>,
}

impl Gossip {
    /// Makes a member whose task belongs to `tasks`; it joins with its first operation.
    ///
    /// # Errors
    /// 412 when nobody could reach it at the address it tells, or there are too many seeds.
    pub fn new(config: GossipConfig, tasks: &TaskTracker) -> Result<Self> {
        let wrong = |why: &str| {
            Error::precondition_failed(ERROR_ID, format!("the registry `gossip` {why}"))
        };
        let told = config.advertise.or(config.listen);
        if told.is_some_and(|address| address.ip().is_unspecified()) {
            return Err(wrong("listens everywhere: say where others reach it by `advertise`"));
        }
        if config.seeds.len() > HOSTS_MAX {
            return Err(wrong("has too many seeds"));
        }
        let shared = Shared {
            config,
            tasks: tasks.clone(),
            table: Arc::default(),
            own: Arc::default(),
            member: OnceCell::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Shared {
    /// Returns the membership, joined if it is not.
    async fn member(&self) -> Result<&Member> {
        self.member.get_or_try_init(|| self.join()).await
    }

    async fn join(&self) -> Result<Member> {
        let handle = self.spawn().await?;
        let own_address = handle.chitchat_id().gossip_advertise_addr.to_string();
        let chitchat = handle.chitchat();
        let mut seen = chitchat.lock().await.live_nodes_watcher();
        if self.config.seeds.iter().any(|seed| *seed != own_address) {
            // Alone after that, as the first member is.
            clock::timeout(JOIN_TIMEOUT, seen.wait_for(|live| live.len() > 1)).await.map(drop).ok();
        }
        let mut view = View::new(self.config.limits.clone());
        view.show(&seen.borrow_and_update().clone(), &self.table);
        let feed = feed(view, seen, chitchat, (Arc::clone(&self.table), Arc::clone(&self.own)));
        let feed = self.tasks.spawn("registry.gossip", feed).abort_on_drop();
        Ok(Member { handle, _feed: feed })
    }

    async fn spawn(&self) -> Result<ChitchatHandle> {
        let mut tries = 0;
        loop {
            tries += 1;
            let listen = self.address()?;
            let advertise = match self.config.advertise {
                Some(advertise) if advertise.port() == 0 => {
                    SocketAddr::new(advertise.ip(), listen.port())
                }
                Some(advertise) => advertise,
                None => listen,
            };
            let now = u64::try_from(clock::unix_now().as_millis()).unwrap_or(u64::MAX);
            let name = format!("{:016x}", fastrand::u64(..));
            let config = ChitchatConfig {
                chitchat_id: ChitchatId::new(name, now, advertise),
                cluster_id: self.config.cluster.clone(),
                gossip_interval: ROUND,
                listen_addr: listen,
                seed_nodes: self.config.seeds.clone(),
                failure_detector_config: FailureDetectorConfig::new(
                    SUSPICION,
                    SIGNS_KEPT_MAX,
                    INTERVAL_MAX,
                    INITIAL_INTERVAL,
                    DEAD_KEPT,
                ),
                marked_for_deletion_grace_period: REMOVED_KEPT,
                catchup_callback: None,
                extra_liveness_predicate: None,
                protocol_version: ProtocolVersion::V0,
            };
            match spawn_chitchat(config, Vec::new(), &UdpTransport).await {
                Ok(handle) => return Ok(handle),
                Err(_taken) if tries < PORTS_TRIED_MAX => {}
                Err(error) => return Err(unavailable(&error)),
            }
        }
    }

    /// Finds where to listen.
    fn address(&self) -> Result<SocketAddr> {
        let (wanted, otherwise) = match self.config.listen {
            Some(listen) => (listen, listen),
            None => {
                let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
                (SocketAddr::new(loopback, GossipConfig::PORT), SocketAddr::new(loopback, 0))
            }
        };
        let free = UdpSocket::bind(wanted).or_else(|_taken| UdpSocket::bind(otherwise));
        free.and_then(|socket| socket.local_addr()).map_err(|error| unavailable(&error))
    }

    async fn register(&self, record: &Record, ttl: Duration) -> Result<()> {
        let node = check(record, ttl, &self.config.limits)?;
        let key = key(&record.name, &node.id);
        let expires = clock::after(clock::now(), ttl);
        let told = {
            let mut own = self.own.lock();
            if own.len() >= OWN_MAX && !own.contains_key(&key) {
                let detail = format!("a process registers {OWN_MAX} nodes by gossip, not more");
                return Err(Error::too_many_requests(ERROR_ID, detail));
            }
            let known = own.get(&key).filter(|known| known.address == node.address);
            let now = u64::try_from(clock::unix_now().as_millis()).unwrap_or(u64::MAX);
            let since = known.map_or(now, |known| known.since);
            let address = node.address.clone();
            let told = serde_json::to_string(&Told { since, record: record.clone() });
            let told = told.map_err(|error| {
                Error::internal(ERROR_ID, "a record cannot be written as JSON").with_source(error)
            })?;
            if told.len() > RECORD_BYTES_MAX {
                let bytes = told.len();
                let detail =
                    format!("{} has {bytes} bytes, gossip takes {RECORD_BYTES_MAX}", node.id);
                return Err(Error::too_large(ERROR_ID, detail));
            }
            own.insert(key.clone(), OwnNode { address, since, expires });
            told
        };
        self.own.changed.notify_one();
        let member = self.member().await?;
        let chitchat = member.handle.chitchat();
        let mut chitchat = chitchat.lock().await;
        // A lease that ended while this waited is not begun again by it.
        let is_own = self.own.lock().contains_key(&key);
        if is_own && chitchat.self_node_state().get(&key) != Some(&told) {
            chitchat.self_node_state().set(key, told);
            member.tell(&chitchat);
        }
        Ok(())
    }

    async fn deregister(&self, record: &Record) -> Result<()> {
        let node = own_node(record)?;
        let key = key(&record.name, &node.id);
        {
            let mut own = self.own.lock();
            if own.get(&key).is_none_or(|known| known.address != node.address) {
                return Ok(());
            }
            own.remove(&key);
        }
        let member = self.member().await?;
        {
            let chitchat = member.handle.chitchat();
            let mut chitchat = chitchat.lock().await;
            // It may have been registered again meanwhile.
            let is_own = self.own.lock().contains_key(&key);
            if is_own || !chitchat.self_node_state().contains_key(&key) {
                return Ok(());
            }
            chitchat.self_node_state().delete(&key);
            member.tell(&chitchat);
        }
        clock::sleep(FAREWELL).await;
        Ok(())
    }
}

impl Member {
    /// Lets some members hear of a change without waiting for the next round.
    fn tell(&self, chitchat: &Chitchat) {
        let own = chitchat.self_chitchat_id();
        let others = chitchat.live_nodes().filter(|id| *id != own);
        let others: Vec<_> = others.map(|id| id.gossip_advertise_addr).collect();
        for other in fastrand::choose_multiple(others, TOLD_AT_ONCE) {
            // Fails only when the member has ended; the next operation says so.
            self.handle.gossip(other).ok();
        }
    }
}

fn unavailable(error: &dyn fmt::Display) -> Error {
    let detail = format!("this process cannot gossip: {error}");
    Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe)
}

/// Keeps a table as the living members say and removes own nodes as their leases end.
async fn feed(
    mut view: View,
    mut seen: watch::Receiver<BTreeMap<ChitchatId, NodeState>>,
    chitchat: Arc<tokio::sync::Mutex<Chitchat>>,
    (table, own): (Arc<Table>, Arc<Own>),
) {
    loop {
        // Cancel safety: both arms only wait.
        let changed = tokio::select! {
            changed = seen.changed() => changed,
            () = own.next() => Ok(()),
        };
        if changed.is_err() {
            return;
        }
        let ended = own.ended(clock::now());
        if !ended.is_empty() {
            let mut chitchat = chitchat.lock().await;
            for key in ended {
                if chitchat.self_node_state().contains_key(&key) {
                    chitchat.self_node_state().delete(&key);
                }
            }
        }
        let live = seen.borrow_and_update().clone();
        view.show(&live, &table);
    }
}

impl Registry for Gossip {
    fn name(&self) -> &'static str {
        "gossip"
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
        Box::pin(async move {
            self.shared.member().await?;
            Ok(self.shared.table.lookup(service))
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async {
            self.shared.member().await?;
            Ok(self.shared.table.list())
        })
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move {
            self.shared.member().await?;
            let events = self.shared.table.watch(service);
            Ok(Watch::new(events, Arc::clone(&self.shared)))
        })
    }
}

impl fmt::Debug for Gossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.shared.config;
        f.debug_struct("Gossip").field("cluster", &config.cluster).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
