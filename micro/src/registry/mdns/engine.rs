//! The task of a multicast registry: answers for the nodes of this process, hears of others.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Result;
use crate::core::limits::RegistryLimits;
use crate::registry::mdns::packet::Announcement;
use crate::registry::mdns::packet::LIST;
use crate::registry::mdns::packet::Life;
use crate::registry::mdns::packet::Packet;
use crate::registry::mdns::packet::Question;
use crate::registry::mdns::packet::question;
use crate::registry::mdns::socket::Listener;
use crate::registry::mdns::socket::Scope;
use crate::registry::mdns::socket::Sender;
use crate::registry::mdns::socket::is_loopback;
use crate::registry::mdns::socket::unavailable;
use crate::registry::pace::jitter;
use crate::registry::record::Node;
use crate::registry::record::Record;
use crate::registry::table::Table;

/// Pauses between the three announcements of a node.
const ANNOUNCE_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// Pause between questions about what is watched: a process that was killed says no goodbye.
const REFRESH_INTERVAL: Duration = Duration::from_secs(4);
/// A node that did not answer for this long, two questions or three, is gone.
const SILENCE_MAX: Duration = Duration::from_secs(11);
/// Nodes of others that are remembered; more are ignored.
const NODES_MAX: usize = 10_000;
/// Services of others that are asked about while all are watched; more are ignored.
const SERVICES_MAX: usize = 1000;

/// The sockets of a registry.
#[derive(Debug)]
pub(super) struct Net {
    listener: Listener,
    senders: Mutex<Vec<Sender>>,
}

impl Net {
    /// Opens the sockets for the given interfaces.
    pub(super) fn open(interfaces: &[Ipv4Addr], port: u16) -> Result<Self> {
        let listener = Listener::open(port).map_err(|error| unavailable("open its port", error))?;
        let net = Self { listener, senders: Mutex::default() };
        for interface in interfaces {
            net.join(Scope { interface: *interface, port })?;
        }
        Ok(net)
    }

    /// Speaks on one more interface; nothing happens if it does already.
    pub(super) fn join(&self, scope: Scope) -> Result<()> {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        if senders.iter().any(|sender| sender.scope == scope) {
            return Ok(());
        }
        let joined = self.listener.join(scope.interface).and_then(|()| Sender::open(scope));
        let what = format!("join the group on interface {}", scope.interface);
        senders.push(joined.map_err(|error| unavailable(&what, error))?);
        Ok(())
    }

    pub(super) fn senders(&self) -> Vec<Sender> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a packet by the interfaces that may carry it.
    pub(super) async fn send(&self, packet: &[u8], reach: Reach) -> Result<()> {
        for sender in self.senders() {
            if reach == Reach::Everyone || sender.scope.interface.is_loopback() {
                let sent = sender.send(packet).await;
                sent.map_err(|error| unavailable("send", error))?;
            }
        }
        Ok(())
    }
}

/// How far a packet may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// By every interface in use.
    Everyone,
    /// Nowhere but to processes of this machine.
    Machine,
}

impl Reach {
    /// Returns how far a node at an address may be told of.
    pub(super) fn of(ip: IpAddr) -> Self {
        if ip.is_loopback() { Self::Machine } else { Self::Everyone }
    }
}

/// What a registry knows; shared by its handles and its task.
#[derive(Debug, Default)]
pub(super) struct Core {
    state: Mutex<State>,
    /// What is watched of other nodes, and of this process's own as they are heard.
    pub(super) table: Table,
    pub(super) limits: RegistryLimits,
    /// Told when there may be something to do earlier than planned.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    own: BTreeMap<Key, Own>,
    /// Watches by service; `None` stands for all services.
    wanted: BTreeMap<Option<String>, usize>,
    /// When each node in the table was last heard of.
    heard: BTreeMap<Key, Instant>,
    /// Services that lists named, asked about while all are watched.
    listed: BTreeSet<String>,
}

/// Service and node.
type Key = (String, String);

/// A node of this process.
#[derive(Debug)]
struct Own {
    record: Record,
    announcement: Announcement,
    expires: Instant,
    /// Announcements still to be made.
    due: Vec<Instant>,
}

/// What to send where.
type Outgoing = Vec<(Vec<u8>, Reach)>;

impl Core {
    pub(super) fn new(limits: RegistryLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Adds or renews a node of this process; returns what to announce at once.
    pub(super) fn put_own(&self, node: &Node, record: &Record, ttl: Duration) -> Result<Outgoing> {
        let now = clock::now();
        let expires = clock::after(now, ttl);
        let key = (record.name.clone(), node.id.clone());
        let announcement = Announcement::new(record, node)?;
        let reach = Reach::of(announcement.ip());
        let mut state = self.lock();
        if let Some(own) = state.own.get_mut(&key).filter(|own| own.record == *record) {
            own.expires = expires;
            return Ok(Vec::new());
        }
        let packets = [announcement.clone(), Announcement::of_service(&record.name)?];
        let packets = packets.map(|announcement| announcement.packet(Life::Present));
        let mut due = Vec::new();
        let mut at = now;
        for pause in ANNOUNCE_PAUSES {
            at = clock::after(at, pause);
            due.push(at);
        }
        state.own.insert(key, Own { record: record.clone(), announcement, expires, due });
        drop(state);
        self.changed.notify_one();
        packets.into_iter().map(|packet| Ok((packet?, reach))).collect()
    }

    /// Removes a node of this process; returns the goodbyes to say.
    pub(super) fn remove_own(&self, node: &Node, service: &str) -> Result<Outgoing> {
        let key = (service.to_owned(), node.id.clone());
        let mut state = self.lock();
        let ours = state
            .own
            .get(&key)
            .is_some_and(|own| own.record.nodes.iter().all(|known| known.address == node.address));
        if ours { state.leave(&key) } else { Ok(Vec::new()) }
    }

    /// Returns whether this process has no nodes.
    pub(super) fn has_no_own(&self) -> bool {
        self.lock().own.is_empty()
    }

    /// Returns the records of the nodes of this process.
    pub(super) fn own(&self) -> Vec<Record> {
        let now = clock::now();
        let state = self.lock();
        let live = state.own.values().filter(|own| own.expires > now);
        live.map(|own| own.record.clone()).collect()
    }

    /// Notes that a service, or all of them, is watched.
    pub(super) fn want(self: &Arc<Self>, service: Option<&str>) -> Wanted {
        let service = service.map(str::to_owned);
        let mut state = self.lock();
        let count = state.wanted.entry(service.clone()).or_default();
        *count = count.saturating_add(1);
        Wanted { core: Arc::clone(self), service }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the maps whole, so a poisoned lock is still sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the answers to questions that may be given to someone.
    pub(super) fn answers(&self, questions: &[Question], from: SocketAddr) -> Vec<Vec<u8>> {
        let now = clock::now();
        let state = self.lock();
        let may_know = |own: &&Own| {
            let ip = own.announcement.ip();
            own.expires > now && (Reach::of(ip) == Reach::Everyone || is_loopback(from))
        };
        let visible: Vec<&Own> = state.own.values().filter(may_know).collect();
        let services: BTreeSet<&str> = visible.iter().map(|own| own.record.name.as_str()).collect();
        let lists: Vec<Announcement> =
            services.into_iter().filter_map(|s| Announcement::of_service(s).ok()).collect();
        let all = visible.iter().map(|own| &own.announcement).chain(&lists);
        all.flat_map(|own| questions.iter().filter_map(|question| own.answer(question))).collect()
    }

    /// Takes in what others say; returns the services to ask about.
    fn hear(&self, packet: Packet) -> Vec<String> {
        let now = clock::now();
        let mut state = self.lock();
        for (record, life) in packet.nodes {
            let Some(node) = record.nodes.first() else { continue };
            let key = (record.name.clone(), node.id.clone());
            if !state.wants(&record.name) {
                continue;
            }
            if life == Life::Leaving {
                let same =
                    |known: &Record| known.nodes.iter().all(|known| known.address == node.address);
                if self.table.remove_if(&key.0, &key.1, same) {
                    state.heard.remove(&key);
                }
            } else if state.heard.contains_key(&key) || state.heard.len() < NODES_MAX {
                let put = self.table.put(node, &record, None, &self.limits);
                if put.is_ok() {
                    state.heard.insert(key, now);
                }
            }
        }
        let mut unknown = Vec::new();
        for service in packet.services {
            let room = state.listed.len() < SERVICES_MAX;
            if state.wanted.contains_key(&None) && room && state.listed.insert(service.clone()) {
                unknown.push(service);
            }
        }
        unknown
    }

    /// Returns the announcements and goodbyes that are due.
    fn due(&self, now: Instant) -> Outgoing {
        let mut state = self.lock();
        let over = state.own.iter().filter(|(_, own)| own.expires <= now);
        let over: Vec<Key> = over.map(|(key, _)| key.clone()).collect();
        let goodbyes = over.iter().filter_map(|key| state.leave(key).ok());
        let mut outgoing: Outgoing = goodbyes.flatten().collect();
        for own in state.own.values_mut().filter(|own| own.due.iter().any(|at| *at <= now)) {
            own.due.retain(|at| *at > now);
            if let Ok(packet) = own.announcement.packet(Life::Present) {
                outgoing.push((packet, Reach::of(own.announcement.ip())));
            }
        }
        outgoing
    }

    /// Forgets nodes that have been silent for too long; returns the services to ask about.
    fn refresh(&self, now: Instant) -> Vec<String> {
        let mut state = self.lock();
        state.heard.retain(|(service, node), at| {
            let silent = now.duration_since(*at) > SILENCE_MAX;
            if silent {
                self.table.remove_if(service, node, |_| true);
            }
            !silent
        });
        let one_by_one = state.wanted.keys().flatten();
        let mut services: BTreeSet<String> = one_by_one.chain(&state.listed).cloned().collect();
        if state.wanted.contains_key(&None) {
            services.insert(LIST.to_owned());
        }
        services.into_iter().collect()
    }

    /// Returns when something is due, refreshing aside.
    fn next(&self) -> Option<Instant> {
        let state = self.lock();
        state.own.values().flat_map(|own| own.due.iter().chain([&own.expires])).min().copied()
    }
}

impl State {
    fn wants(&self, service: &str) -> bool {
        self.wanted.contains_key(&None) || self.wanted.contains_key(&Some(service.to_owned()))
    }

    fn leave(&mut self, key: &Key) -> Result<Outgoing> {
        let Some(own) = self.own.remove(key) else { return Ok(Vec::new()) };
        let reach = Reach::of(own.announcement.ip());
        let mut goodbyes = vec![(own.announcement.packet(Life::Leaving)?, reach)];
        if !self.own.keys().any(|(service, _)| *service == key.0) {
            goodbyes.push((Announcement::of_service(&key.0)?.packet(Life::Leaving)?, reach));
        }
        Ok(goodbyes)
    }
}

/// A service that someone watches; forgotten when dropped.
#[derive(Debug)]
pub(super) struct Wanted {
    core: Arc<Core>,
    service: Option<String>,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        let mut state = self.core.lock();
        if let Some(count) = state.wanted.get_mut(&self.service) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                state.wanted.remove(&self.service);
            }
        }
        if !state.wanted.contains_key(&None) {
            state.listed.clear();
        }
        let forgotten = state.heard.keys().filter(|key| !state.wants(&key.0));
        let forgotten: Vec<Key> = forgotten.cloned().collect();
        for key in forgotten {
            state.heard.remove(&key);
            self.core.table.remove_if(&key.0, &key.1, |_| true);
        }
    }
}

/// Answers and listens until dropped.
pub(super) async fn run(core: Arc<Core>, net: Arc<Net>) {
    let mut buffer = Vec::new();
    let mut refresh_at = clock::after(clock::now(), jitter(REFRESH_INTERVAL, 20));
    loop {
        let wake_at = core.next().map_or(refresh_at, |next| next.min(refresh_at));
        let senders = net.senders();
        // Cancel safety: a packet is taken only when it is returned, the others only wait.
        tokio::select! {
            from = receive(Some(&net.listener), &senders, &mut buffer) => {
                handle(&core, &net, &buffer, from).await;
            }
            () = clock::sleep_until(wake_at) => {
                let now = clock::now();
                for (packet, reach) in core.due(now) {
                    log(net.send(&packet, reach).await);
                }
                if refresh_at <= now {
                    ask(&net, core.refresh(now)).await;
                    refresh_at = clock::after(now, jitter(REFRESH_INTERVAL, 20));
                }
            }
            () = core.changed.notified() => {}
        }
    }
}

async fn handle(core: &Core, net: &Net, bytes: &[u8], from: SocketAddr) {
    let only_machine = net.senders().iter().all(|s| s.scope.interface.is_loopback());
    if only_machine && !is_loopback(from) {
        return;
    }
    let packet = Packet::read(bytes);
    for answer in core.answers(&packet.questions, from) {
        if let Err(error) = net.listener.send(&answer, from).await {
            tracing::debug!(%error, "multicast answer not sent");
        }
    }
    ask(net, core.hear(packet)).await;
}

async fn ask(net: &Net, services: Vec<String>) {
    for service in services {
        // A name that others list and DNS cannot say is not asked for.
        if let Ok(packet) = question(&service) {
            log(net.send(&packet, Reach::Everyone).await);
        }
    }
}

fn log(sent: Result<()>) {
    if let Err(error) = sent {
        tracing::debug!(%error, "multicast packet not sent");
    }
}

/// Waits for a packet on any of the sockets and returns who sent it.
pub(super) async fn receive(
    listener: Option<&Listener>,
    senders: &[Sender],
    buffer: &mut Vec<u8>,
) -> SocketAddr {
    std::future::poll_fn(|cx| {
        if let Some(listener) = listener
            && let Poll::Ready(from) = listener.poll_receive(cx, buffer)
        {
            return Poll::Ready(from);
        }
        for sender in senders {
            if let Poll::Ready(from) = sender.poll_receive(cx, buffer) {
                return Poll::Ready(from);
            }
        }
        Poll::Pending
    })
    .await
}

/// Opens sockets for one exchange of question and answers.
pub(super) fn exchange(interfaces: &[Ipv4Addr], port: u16) -> io::Result<Vec<Sender>> {
    interfaces.iter().map(|interface| Sender::open(Scope { interface: *interface, port })).collect()
}
