//! Who is connected: the limits on connections, and the way to tell them to end.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::limits::ConnectionLimits;
use crate::transport::native::Session;

/// What a connection was told to do; a later order never takes back an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// Go on.
    Serve,
    /// Take no more requests and end with the last response.
    Drain,
    /// End at once.
    Close,
}

/// One connection's place in the roster.
#[derive(Debug)]
pub(super) struct Seat {
    order: AtomicU8,
    told: Notify,
    /// Wakes the upgraded connection when it has to end.
    cut: Notify,
    /// Wakes whoever waits for the end of the upgraded connection.
    released: Notify,
    upgraded: AtomicBool,
    /// Whether who holds the upgraded connection ends it when told, with the last word said.
    ends_itself: AtomicBool,
    active: AtomicUsize,
    requests: AtomicUsize,
    /// How long the connection had no request when its own timer last looked, in milliseconds.
    idle_millis: AtomicU64,
    /// When the connection was accepted.
    pub(super) since: Instant,
    /// When the head began that is on its way, in microseconds since the accept and at least one;
    /// zero while there is none.
    reading_micros: AtomicU64,
    /// Whether a response went out before its request was read to the end.
    pub(super) unread: AtomicBool,
    /// Whether to look if the peer is there, which nobody sees who does not read.
    probe: AtomicBool,
    /// Bytes of request bodies that are not complete.
    pub(super) unfinished: AtomicUsize,
    /// Knows better than the timer how long the connection has been idle.
    native: OnceLock<Session>,
    /// Whose connection it is: the first account that a call on it proved.
    account: OnceLock<String>,
    id: u64,
    roster: Weak<Roster>,
}

impl Seat {
    fn new(id: u64, order: Order, roster: &Arc<Roster>) -> Self {
        let seat = Self {
            order: AtomicU8::new(0),
            told: Notify::new(),
            cut: Notify::new(),
            released: Notify::new(),
            upgraded: AtomicBool::new(false),
            ends_itself: AtomicBool::new(false),
            active: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            idle_millis: AtomicU64::new(0),
            since: clock::now(),
            reading_micros: AtomicU64::new(0),
            unread: AtomicBool::new(false),
            probe: AtomicBool::new(false),
            unfinished: AtomicUsize::new(0),
            native: OnceLock::new(),
            account: OnceLock::new(),
            id,
            roster: Arc::downgrade(roster),
        };
        seat.tell(order);
        seat
    }

    pub(super) fn tell(&self, order: Order) {
        let number = match order {
            Order::Serve => 0,
            Order::Drain => 1,
            Order::Close => 2,
        };
        if self.order.fetch_max(number, Ordering::AcqRel) < number {
            self.told.notify_one();
            if order == Order::Close {
                self.cut.notify_waiters();
            }
        }
    }

    /// Returns the present order.
    pub(super) fn order(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Serve,
            1 => Order::Drain,
            _ => Order::Close,
        }
    }

    /// Waits for the next order. Cancel safe.
    pub(super) async fn told(&self) {
        self.told.notified().await;
    }

    /// Asks whoever has the stream to look if the peer is there.
    pub(super) fn ask_to_probe(&self) {
        self.probe.store(true, Ordering::Relaxed);
    }

    /// Returns whether that was asked since the last look.
    pub(super) fn is_to_probe(&self) -> bool {
        self.probe.load(Ordering::Relaxed) && self.probe.swap(false, Ordering::Relaxed)
    }

    /// Counts a request until the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.reading_micros.store(0, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Returns whether a request is being served, or the connection is no longer HTTP's.
    pub(super) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed) > 0 || self.is_upgraded()
    }

    /// Returns how many requests there have been.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Notes that bytes of a head came, unless others came before them.
    pub(super) fn note_head(&self) {
        if self.reading_micros.load(Ordering::Relaxed) == 0 {
            let passed = clock::now().saturating_duration_since(self.since).as_micros();
            let micros = u64::try_from(passed).unwrap_or(u64::MAX).max(1);
            self.reading_micros.store(micros, Ordering::Relaxed);
        }
    }

    /// Returns when the head began that is on its way.
    pub(super) fn head_since(&self) -> Option<Instant> {
        let micros = self.reading_micros.load(Ordering::Relaxed);
        (micros > 0).then(|| clock::after(self.since, Duration::from_micros(micros)))
    }

    /// Notes for how long the connection has been idle.
    pub(super) fn set_idle(&self, idle: Duration) {
        let millis = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        self.idle_millis.store(millis, Ordering::Relaxed);
    }

    /// Lets the session say how long the connection has been idle.
    pub(super) fn set_native(&self, session: Session) {
        // A connection is handed to the transport once.
        let _first = self.native.set(session);
    }

    /// Returns for how long the connection has been idle; `None` while it is in use.
    fn idle(&self, now: Instant) -> Option<Duration> {
        match self.native.get() {
            Some(session) => session.idle(now),
            None if self.is_active() => None,
            None => Some(Duration::from_millis(self.idle_millis.load(Ordering::Relaxed))),
        }
    }

    /// Counts the connection for the account that a call on it proved; `false` when the account
    /// has as many connections as it may, in which case this one is told to end.
    ///
    /// The first account counts, whoever else calls on the connection.
    pub(super) fn claim(&self, account: &str, max: usize) -> bool {
        if self.account.get().is_some() {
            return true;
        }
        let Some(roster) = self.roster.upgrade() else { return true };
        let claimed = roster.lock().claim(self, account, max);
        if !claimed {
            // HTTP ends after the response that says so; the transport ends within moments.
            let order = if self.native.get().is_some() { Order::Close } else { Order::Drain };
            self.tell(order);
        }
        claimed
    }

    /// Notes that the connection goes on as something else than HTTP.
    pub(super) fn set_upgraded(&self) {
        self.upgraded.store(true, Ordering::Release);
    }

    /// Returns whether the connection went on as something else than HTTP.
    pub(super) fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Acquire)
    }

    /// Notes that the holder of the upgraded connection follows the order to close by itself.
    #[cfg(feature = "ws")]
    pub(super) fn set_ends_itself(&self) {
        self.ends_itself.store(true, Ordering::Release);
    }

    /// Returns whether the upgraded connection is to be cut under its holder's hands.
    pub(super) fn is_cut_off(&self) -> bool {
        self.is_upgraded() && !self.ends_itself.load(Ordering::Acquire)
    }

    /// Waits for the order to close. Cancel safe.
    pub(super) async fn cut(&self) {
        // Progress: the order is given before this is woken.
        loop {
            let cut = self.cut.notified();
            if self.order() == Order::Close {
                return;
            }
            cut.await;
        }
    }

    /// Says that the stream of the connection is gone.
    pub(super) fn release(&self) {
        self.released.notify_one();
    }

    /// Waits until the stream of the connection is gone; closes it when given up.
    pub(super) async fn released(&self) {
        struct Cut<'a>(&'a Seat);
        impl Drop for Cut<'_> {
            fn drop(&mut self) {
                self.0.tell(Order::Close);
            }
        }
        let _cut = Cut(self);
        self.released.notified().await;
    }
}

/// A request that is being served.
#[derive(Debug)]
pub(super) struct Busy(Arc<Seat>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All connections of a server.
#[derive(Debug, Default)]
pub(super) struct Roster {
    inner: Mutex<Seats>,
    empty: Notify,
}

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    taken: HashMap<u64, Arc<Seat>>,
    /// Connections from each address on another host.
    strangers: HashMap<IpAddr, usize>,
    /// Connections of each account.
    accounts: HashMap<String, usize>,
    order: Option<Order>,
    /// Connections that came before any order.
    early: usize,
}

/// A connection in the roster, struck off on drop.
#[derive(Debug)]
pub(super) struct Member {
    roster: Arc<Roster>,
    stranger: Option<IpAddr>,
    /// Whether it came before any order.
    early: bool,
    pub(super) seat: Arc<Seat>,
}

impl Roster {
    /// Adds a connection; `None` when there are too many, in all or from its address.
    ///
    /// `stranger` is the address of a peer on another host. Where the roster is full the
    /// connection that has been idle longest is told to close and makes room.
    pub(super) fn join(
        self: &Arc<Self>,
        stranger: Option<IpAddr>,
        limits: &ConnectionLimits,
    ) -> Option<Member> {
        let mut seats = self.lock();
        let from = stranger.and_then(|ip| seats.strangers.get(&ip)).copied().unwrap_or_default();
        // First of all: who is refused anyway must not cost anybody else a connection.
        if stranger.is_some() && from >= limits.per_ip_max {
            return None;
        }
        if seats.taken.len() >= limits.total_max && !seats.evict() {
            return None;
        }
        if let Some(ip) = stranger {
            seats.strangers.insert(ip, from + 1);
        }
        let id = seats.next;
        seats.next += 1;
        let seat = Arc::new(Seat::new(id, seats.order.unwrap_or(Order::Serve), self));
        seats.taken.insert(id, Arc::clone(&seat));
        let early = seats.order.is_none();
        seats.early += usize::from(early);
        Some(Member { roster: Arc::clone(self), stranger, early, seat })
    }

    /// Tells every connection, and those that come later.
    pub(super) fn tell(&self, order: Order) {
        let mut seats = self.lock();
        seats.order = Some(order);
        for seat in seats.taken.values() {
            seat.tell(order);
        }
    }

    /// Returns how many connections there are.
    pub(super) fn len(&self) -> usize {
        self.lock().taken.len()
    }

    /// Returns how many connections went on as something whose calls nobody else counts.
    pub(super) fn upgraded(&self) -> usize {
        let seats = self.lock();
        let upgraded = seats.taken.values().filter(|seat| seat.is_upgraded());
        upgraded.filter(|seat| seat.native.get().is_none()).count()
    }

    /// Waits until all have left who came before any order, or until `until`. Cancel safe.
    ///
    /// Those who come later, such as probes of a server that drains, hold up nobody.
    pub(super) async fn empty(&self, until: Instant) {
        loop {
            let mut empty = std::pin::pin!(self.empty.notified());
            empty.as_mut().enable();
            if self.lock().early == 0 || clock::timeout_at(until, empty).await.is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seats {
    /// Tells the connection that has been idle longest to close; `false` if none is idle.
    fn evict(&self) -> bool {
        let now = clock::now();
        let open = self.taken.values().filter(|seat| seat.order() != Order::Close);
        let idle = open.filter_map(|seat| Some((seat, seat.idle(now)?)));
        let oldest = idle.max_by_key(|(_, idle)| *idle);
        oldest.inspect(|(seat, _)| seat.tell(Order::Close)).is_some()
    }

    fn claim(&mut self, seat: &Seat, account: &str, max: usize) -> bool {
        // A call may outlive its connection, which counts for nobody then.
        if seat.account.get().is_some() || !self.taken.contains_key(&seat.id) {
            return true;
        }
        let count = self.accounts.get(account).copied().unwrap_or_default();
        if count >= max {
            return false;
        }
        self.accounts.insert(account.to_owned(), count + 1);
        // Set under the lock only, and only once.
        let _first = seat.account.set(account.to_owned());
        true
    }
}

/// Counts one less, and forgets what is not counted any more.
fn discount<K, Q>(counts: &mut HashMap<K, usize>, key: &Q)
where
    K: Hash + Eq + Borrow<Q>,
    Q: Hash + Eq + ?Sized,
{
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut seats = self.roster.lock();
        seats.taken.remove(&self.seat.id);
        if let Some(ip) = self.stranger {
            discount(&mut seats.strangers, &ip);
        }
        if let Some(account) = self.seat.account.get() {
            discount(&mut seats.accounts, account.as_str());
        }
        seats.early -= usize::from(self.early);
        if self.early && seats.early == 0 {
            self.roster.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(total_max: usize, per_ip_max: usize) -> ConnectionLimits {
        ConnectionLimits { total_max, per_ip_max, ..ConnectionLimits::default() }
    }

    #[test]
    fn an_address_on_another_host_has_its_own_limit() {
        let (roster, limits) = (Arc::new(Roster::default()), limits(1000, 3));
        let ip = Some(IpAddr::from([10, 0, 0, 1]));
        let mut members: Vec<_> = (0..30).filter_map(|_| roster.join(ip, &limits)).collect();
        assert_eq!(members.len(), 3);
        assert!(roster.join(Some(IpAddr::from([10, 0, 0, 2])), &limits).is_some());
        assert!((0..30).all(|_| roster.join(None, &limits).is_some()));
        members.pop();
        assert!(roster.join(ip, &limits).is_some());
    }

    #[test]
    fn a_full_roster_closes_the_longest_idle_and_else_refuses() {
        let (roster, limits) = (Arc::new(Roster::default()), limits(2, 100));
        let (a, b) = (roster.join(None, &limits).unwrap(), roster.join(None, &limits).unwrap());
        a.seat.set_idle(Duration::from_secs(1));
        b.seat.set_idle(Duration::from_secs(2));
        let c = roster.join(None, &limits).unwrap();
        assert_eq!((a.seat.order(), b.seat.order()), (Order::Serve, Order::Close));
        drop(b);
        let _busy = (a.seat.begin(), c.seat.begin());
        assert!(roster.join(None, &limits).is_none());
    }

    #[test]
    fn an_address_over_its_limit_closes_nobodys_connection() {
        let (roster, limits) = (Arc::new(Roster::default()), limits(2, 1));
        let ip = Some(IpAddr::from([10, 0, 0, 1]));
        let members = (roster.join(None, &limits).unwrap(), roster.join(ip, &limits).unwrap());
        assert!((0..10).all(|_| roster.join(ip, &limits).is_none()));
        assert_eq!(members.0.seat.order(), Order::Serve);
        assert_eq!(members.1.seat.order(), Order::Serve);
    }

    #[tokio::test(start_paused = true)]
    async fn late_connections_get_the_order_too_and_the_end_is_seen() {
        let roster = Arc::new(Roster::default());
        let early = roster.join(None, &limits(9, 9)).unwrap();
        roster.tell(Order::Drain);
        let late = roster.join(None, &limits(9, 9)).unwrap();
        early.seat.told().await;
        late.seat.told().await;
        assert_eq!((early.seat.order(), late.seat.order()), (Order::Drain, Order::Drain));
        let began = clock::now();
        let leave = async { drop(early) };
        tokio::join!(roster.empty(clock::after(began, Duration::from_secs(9))), leave);
        assert_eq!((roster.len(), clock::now()), (1, began), "the late one holds up nobody");
    }
}
