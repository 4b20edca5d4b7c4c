//! Who is connected: the limits on connections, and the way to tell them to end.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::limits::ConnectionLimits;

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
    active: AtomicUsize,
    requests: AtomicUsize,
    /// Ticks of the connection's own timer since it last had a request.
    idle_ticks: AtomicUsize,
    /// Whether bytes came while no request was active: a head is on its way.
    pub(super) reading: AtomicBool,
    /// Whether a response went out before its request was read to the end.
    pub(super) unread: AtomicBool,
    /// Bytes of request bodies that are not complete.
    pub(super) unfinished: AtomicUsize,
}

impl Seat {
    fn new(order: Order) -> Self {
        let seat = Self {
            order: AtomicU8::new(0),
            told: Notify::new(),
            active: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            idle_ticks: AtomicUsize::new(0),
            reading: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            unfinished: AtomicUsize::new(0),
        };
        seat.tell(order);
        seat
    }

    fn tell(&self, order: Order) {
        let number = match order {
            Order::Serve => 0,
            Order::Drain => 1,
            Order::Close => 2,
        };
        if self.order.fetch_max(number, Ordering::AcqRel) < number {
            self.told.notify_one();
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

    /// Counts a request until the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.reading.store(false, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Returns whether a request is being served.
    pub(super) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed) > 0
    }

    /// Returns how many requests there have been.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Notes for how many ticks the connection has been idle.
    pub(super) fn set_idle(&self, ticks: usize) {
        self.idle_ticks.store(ticks, Ordering::Relaxed);
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
    order: Option<Order>,
    /// Connections that came before any order.
    early: usize,
}

/// A connection in the roster, struck off on drop.
#[derive(Debug)]
pub(super) struct Member {
    roster: Arc<Roster>,
    id: u64,
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
        let siblings = stranger.and_then(|ip| seats.strangers.get(&ip)).copied().unwrap_or(0);
        // First of all: who is refused anyway must not cost anybody else a connection.
        if stranger.is_some() && siblings >= limits.per_ip_max {
            return None;
        }
        if seats.taken.len() >= limits.total_max && !seats.evict() {
            return None;
        }
        if let Some(ip) = stranger {
            seats.strangers.insert(ip, siblings + 1);
        }
        let seat = Arc::new(Seat::new(seats.order.unwrap_or(Order::Serve)));
        let id = seats.next;
        seats.next += 1;
        seats.taken.insert(id, Arc::clone(&seat));
        let early = seats.order.is_none();
        seats.early += usize::from(early);
        Some(Member { roster: Arc::clone(self), id, stranger, early, seat })
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
        let idle = self.taken.values().filter(|seat| !seat.is_active());
        let open = idle.filter(|seat| seat.order() != Order::Close);
        let oldest = open.max_by_key(|seat| seat.idle_ticks.load(Ordering::Relaxed));
        oldest.inspect(|seat| seat.tell(Order::Close)).is_some()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut seats = self.roster.lock();
        seats.taken.remove(&self.id);
        if let Some(ip) = self.stranger
            && let Some(count) = seats.strangers.get_mut(&ip)
        {
            *count -= 1;
            if *count == 0 {
                seats.strangers.remove(&ip);
            }
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
        a.seat.set_idle(1);
        b.seat.set_idle(2);
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
        tokio::join!(roster.empty(clock::after(began, std::time::Duration::from_secs(9))), leave);
        assert_eq!((roster.len(), clock::now()), (1, began), "the late one holds up nobody");
    }
}
