//! A stand-in for nsqd, written from NSQ's public documents: the TCP protocol, the guide to client
//! libraries, the options of nsqd. It shares nothing with the client that it examines.
//!
//! It answers every command and refuses what the documents refuse, ends connections where they say
//! so, counts deliveries, gives back what is not settled in time, whether its connection is there or
//! not, drops what an ephemeral channel has no memory for, asks whether clients are there and ends the
//! connection of one that is silent twice. Its disk is what an nsqd has that ended in order, or what
//! is left of that by a crash; no file is written.

mod client;
mod command;
mod disk;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use micro::core::clock;
use micro::core::shutdown::TaskTracker;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub(crate) use self::client::frame;
use self::disk::Disk;

/// How often what is due is put back.
const TICK: Duration = Duration::from_millis(5);

/// How RDY is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    /// As the protocol's document says: each delivery counts the number down.
    Down,
    /// As the guide's `max_in_flight` has it: a client has at most so many at a time.
    InFlight,
}

/// The options of nsqd that matter to clients, with its defaults.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) counting: Counting,
    pub(crate) heartbeat: Duration,
    /// Instead of what clients ask for, so that a test need not wait.
    pub(crate) forced_heartbeat: Option<Duration>,
    pub(crate) msg_timeout: Duration,
    /// Instead of what clients ask for, so that a test need not wait.
    pub(crate) forced_msg_timeout: Option<Duration>,
    pub(crate) mem_queue_size: usize,
    pub(crate) max_msg_timeout: Duration,
    pub(crate) max_req_timeout: Duration,
    pub(crate) max_rdy_count: u32,
    pub(crate) max_msg_size: usize,
    pub(crate) max_body_size: usize,
    pub(crate) auth_required: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            counting: Counting::Down,
            heartbeat: Duration::from_secs(30),
            forced_heartbeat: None,
            msg_timeout: Duration::from_secs(60),
            forced_msg_timeout: None,
            mem_queue_size: 10_000,
            max_msg_timeout: Duration::from_secs(15 * 60),
            max_req_timeout: Duration::from_secs(60 * 60),
            max_rdy_count: 2500,
            max_msg_size: 1024 * 1024,
            max_body_size: 5 * 1024 * 1024,
            auth_required: false,
        }
    }
}

pub(crate) struct Shared {
    pub(crate) options: Options,
    disk: Mutex<Disk>,
    changes: watch::Sender<u64>,
    is_frozen: watch::Sender<bool>,
    seen: Mutex<BTreeMap<String, usize>>,
    /// Clients that did not answer.
    dropped: AtomicUsize,
    clients: AtomicU64,
    is_running: AtomicBool,
    /// It answers to no publishing, and does none.
    is_mute: AtomicBool,
    port: u16,
}

impl Shared {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn count(&self, what: &str) {
        *self.seen.lock().unwrap().entry(what.to_owned()).or_default() += 1;
    }

    async fn thaw(&self) {
        let mut is_frozen = self.is_frozen.subscribe();
        is_frozen.wait_for(|is_frozen| !is_frozen).await.unwrap();
    }

    /// Returns where a topic is, if it is here.
    pub(crate) fn producer(&self, topic: &str) -> Option<u16> {
        (self.is_running.load(SeqCst) && self.disk().has(topic)).then_some(self.port)
    }
}

/// An nsqd that stands in for one.
pub(crate) struct Nsqd {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

impl Nsqd {
    pub(crate) async fn start(options: Options) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            disk: Mutex::new(Disk::new(options.mem_queue_size)),
            options,
            changes: watch::Sender::default(),
            is_frozen: watch::Sender::default(),
            seen: Mutex::default(),
            dropped: AtomicUsize::new(0),
            clients: AtomicU64::new(0),
            is_running: AtomicBool::new(false),
            is_mute: AtomicBool::new(false),
            port,
        });
        let mut nsqd = Self { shared, tasks: TaskTracker::new() };
        nsqd.listen(listener);
        nsqd
    }

    pub(crate) fn port(&self) -> u16 {
        self.shared.port
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    fn listen(&mut self, listener: TcpListener) {
        self.tasks = TaskTracker::new();
        let (shared, tasks) = (Arc::clone(&self.shared), self.tasks.clone());
        shared.is_running.store(true, SeqCst);
        self.tasks
            .spawn("nsqd", async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let number = shared.clients.fetch_add(1, SeqCst);
                    tasks
                        .spawn("nsqd.client", client::serve(Arc::clone(&shared), stream, number))
                        .detach();
                }
            })
            .detach();
        let shared = Arc::clone(&self.shared);
        self.tasks
            .spawn("nsqd.clock", async move {
                loop {
                    clock::sleep(TICK).await;
                    shared.thaw().await;
                    if shared.disk().tick() {
                        shared.change();
                    }
                }
            })
            .detach();
    }

    /// Cuts every connection wherever it is, and listens no more. What it has is written down, as by
    /// an nsqd that is told to end.
    pub(crate) async fn end(&mut self) {
        self.cut().await;
        self.shared.disk().end();
    }

    /// Cuts every connection wherever it is, and listens no more. What it has in memory is lost.
    pub(crate) async fn crash(&mut self) {
        self.cut().await;
        self.shared.disk().crash();
    }

    async fn cut(&self) {
        self.shared.is_running.store(false, SeqCst);
        self.tasks.abort_all();
        assert_eq!(self.tasks.wait(clock::now() + Duration::from_secs(60)).await, 0);
    }

    pub(crate) async fn start_again(&mut self) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.shared.port)).await.unwrap();
        self.listen(listener);
    }

    /// Stops doing anything; connections stay open.
    pub(crate) fn pause(&self) {
        self.shared.is_frozen.send_replace(true);
    }

    pub(crate) fn resume(&self) {
        self.shared.is_frozen.send_replace(false);
    }

    /// Answers to no publishing, and does none; all else goes on.
    pub(crate) fn mute(&self, is_mute: bool) {
        self.shared.is_mute.store(is_mute, SeqCst);
    }

    pub(crate) fn deliveries(&self) -> usize {
        self.shared.disk().deliveries
    }

    /// Counts the commands, or the errors, of a name.
    pub(crate) fn seen(&self, what: &str) -> usize {
        self.shared.seen.lock().unwrap().get(what).copied().unwrap_or_default()
    }

    pub(crate) fn dropped(&self) -> usize {
        self.shared.dropped.load(SeqCst)
    }

    pub(crate) fn timeouts(&self) -> usize {
        self.shared.disk().timeouts
    }

    pub(crate) fn depth(&self, topic: &str, channel: &str) -> usize {
        self.shared.disk().depth(topic, channel)
    }

    pub(crate) fn channels(&self, topic: &str) -> Vec<String> {
        self.shared.disk().channels(topic)
    }
}

impl Drop for Nsqd {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}
