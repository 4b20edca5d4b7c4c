//! One connection to the server, made again for as long as somebody wants it.
//!
//! The client's event loop is polled in a task of its own and never waits for anybody here. Each
//! connection has an event loop of its own: what the last one left unsent or unanswered is told to
//! whoever asked, and nothing is sent twice behind their backs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::NetworkOptions;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, StateError};

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::shutdown::{Shutdown, TaskHandle, TaskTracker};
use crate::driver::Server;

/// First and longest pause before the connection is made again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A connection that lasted so long is no reason to pause longer before the next.
const STEADY: Duration = Duration::from_secs(10);

/// The least that the client takes. A server that is silent is given up after twice that.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long connecting may take, in seconds.
const CONNECT_SECS: u64 = 5;

/// How long the client may be at one thing, which it is when the server takes nothing it writes:
/// pings alone make it turn to the next every [`KEEP_ALIVE`].
const STALL: Duration = Duration::from_secs(15);

/// Connections one after the other that brought a packet longer than we take, before the session
/// that holds the packet is given up.
const OVERSIZED_MAX: u32 = 3;

/// How a connection is asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The name of the session.
    pub(super) client: String,
    /// How long the session outlives the connection, in seconds; 0 for one without a session.
    pub(super) expiry_secs: u32,
    /// Messages that the server may have under way.
    pub(super) receive_max: u16,
    /// Messages that we may have under way.
    pub(super) send_max: u16,
    /// Requests that may wait for the client: never more than there may be.
    pub(super) requests_max: usize,
    /// Bytes of the longest packet that we take.
    pub(super) packet_max: u32,
}

/// What is known when a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// All that the client did was told.
    All,
    /// It may have done more.
    Part,
}

/// Whoever a connection is for. None of these may wait.
pub(super) trait Party: Send + Sync + 'static {
    /// Begins to use a connection.
    ///
    /// # Errors
    /// Why it is of no use; then it ends.
    fn up(&self, client: AsyncClient, connack: &ConnAck) -> Result<(), String>;

    /// Hears of everything that happens on it.
    ///
    /// # Errors
    /// Why it has to be made again.
    fn told(&self, event: Event) -> Result<(), String>;

    /// Learns that the connection is no more, or was not made.
    fn down(&self, known: Known, why: &str);
}

/// The task that keeps a connection; it ends when this is dropped.
pub(super) struct Line {
    life: Shutdown,
    task: TaskHandle,
}

impl Line {
    pub(super) fn start(
        server: &Server,
        wanted: Wanted,
        party: Arc<dyn Party>,
        tasks: &TaskTracker,
    ) -> Self {
        let life = Shutdown::new();
        let keeper = Keeper {
            server: server.clone(),
            wanted,
            party,
            tasks: tasks.clone(),
            life: life.clone(),
        };
        let task = tasks.spawn("broker.mqtt", keeper.run()).abort_on_drop();
        Self { life, task }
    }

    /// Ends it: at once, or when a request to disconnect that was made before has been sent.
    pub(super) fn end(&self) {
        self.life.drain();
    }

    /// Tells whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.life.close();
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("over", &self.is_over()).finish_non_exhaustive()
    }
}

struct Keeper {
    server: Server,
    wanted: Wanted,
    party: Arc<dyn Party>,
    tasks: TaskTracker,
    life: Shutdown,
}

/// How a connection ended.
enum End {
    /// As we wanted it.
    Parted,
    /// It brought a packet longer than we take.
    Oversized(String),
    Lost(String),
}

impl Keeper {
    async fn run(self) {
        let (mut backoff, mut turn, mut oversized) = (Backoff::new(BACKOFF.0, BACKOFF.1), 0, 0);
        let mut is_lost = false;
        // Progress: each turn is a connection or a pause.
        while !self.life.is_draining() {
            let began = clock::now();
            let is_fresh = oversized >= OVERSIZED_MAX;
            let end = self.connection(turn, is_fresh).await;
            turn = turn.wrapping_add(1);
            let why = match end {
                End::Parted => break,
                End::Oversized(why) => {
                    oversized = if is_fresh { 0 } else { oversized + 1 };
                    why
                }
                End::Lost(why) => {
                    oversized = 0;
                    why
                }
            };
            if clock::now() - began > STEADY {
                backoff.reset();
                is_lost = false;
            }
            let (server, client) = (&self.server, &self.wanted.client);
            match std::mem::replace(&mut is_lost, true) {
                false => tracing::warn!(%server, client, why, "no connection to mqtt, will try on"),
                true => tracing::debug!(%server, client, why, "no connection to mqtt yet"),
            }
            // Cancel safety: nothing is under way.
            tokio::select! {
                biased;
                () = self.life.draining() => {}
                () = clock::sleep(backoff.next_delay()) => {}
            }
        }
    }

    /// Makes one connection and returns when it has ended.
    async fn connection(&self, turn: usize, is_fresh: bool) -> End {
        let options = self.options(turn, is_fresh);
        let (client, events) = AsyncClient::new(options, self.wanted.requests_max);
        let session =
            Session { client, events, party: Arc::clone(&self.party), life: self.life.clone() };
        // In a task of its own: a packet that makes the client panic costs the connection.
        let session = self.tasks.spawn("broker.mqtt.session", session.run()).abort_on_drop();
        match session.await {
            Ok(end) => end,
            Err(error) => {
                self.party.down(Known::Part, error.detail());
                End::Lost(error.detail().to_owned())
            }
        }
    }

    fn options(&self, turn: usize, is_fresh: bool) -> rumqttc::v5::MqttOptions {
        let hosts = self.server.hosts();
        let host = hosts.get(turn % hosts.len().max(1)).cloned().unwrap_or_default();
        // What it is told is put before a port.
        let name = if host.0.contains(':') { format!("[{}]", host.0) } else { host.0 };
        let wanted = &self.wanted;
        let mut options = rumqttc::v5::MqttOptions::new(&wanted.client, name, host.1);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(CONNECT_SECS);
        options
            .set_network_options(network)
            .set_connection_timeout(CONNECT_SECS)
            .set_keep_alive(KEEP_ALIVE)
            .set_clean_start(is_fresh || wanted.expiry_secs == 0)
            .set_session_expiry_interval(Some(wanted.expiry_secs))
            .set_receive_maximum(Some(wanted.receive_max))
            .set_max_packet_size(Some(wanted.packet_max))
            .set_outgoing_inflight_upper_limit(wanted.send_max)
            .set_manual_acks(true);
        if let (Some(user), Some(password)) = (self.server.user(), self.server.password()) {
            options.set_credentials(user, password.expose());
        }
        options
    }
}

struct Session {
    client: AsyncClient,
    events: EventLoop,
    party: Arc<dyn Party>,
    life: Shutdown,
}

impl Session {
    async fn run(mut self) -> End {
        let end = self.listen().await;
        // What the client did before it failed.
        while let Some(event) = self.events.state.events.pop_front() {
            let _over = self.party.told(event).is_err();
        }
        let why = match &end {
            End::Parted => "the connection is closed",
            End::Oversized(why) | End::Lost(why) => why,
        };
        self.party.down(Known::All, why);
        end
    }

    async fn listen(&mut self) -> End {
        let mut is_up = false;
        loop {
            // Cancel safety: where the poll is dropped the connection is dropped too.
            let polled = tokio::select! {
                biased;
                () = self.life.closed() => return End::Parted,
                () = self.life.draining(), if !is_up => return End::Parted,
                polled = clock::timeout(STALL, self.events.poll()) => polled,
            };
            let event = match polled {
                Ok(Ok(event)) => event,
                Ok(Err(error)) => return ended(&error),
                Err(_) => return End::Lost("the server takes nothing".to_owned()),
            };
            let heard = match event {
                Event::Incoming(Packet::ConnAck(connack)) => {
                    is_up = true;
                    self.keep_alive();
                    let heard = self.party.up(self.client.clone(), &connack);
                    if self.life.is_draining() {
                        // Whoever ended it did not know of the connection yet.
                        let _full = self.client.try_disconnect().is_err();
                    }
                    heard
                }
                Event::Outgoing(Outgoing::Disconnect) => return End::Parted,
                event => self.party.told(event),
            };
            if let Err(why) = heard {
                return End::Lost(why);
            }
        }
    }

    /// Asks the server for a sign of life as often as we want one, whatever it says is enough.
    fn keep_alive(&mut self) {
        let asked = self.events.options.keep_alive();
        if asked.is_zero() || asked > KEEP_ALIVE {
            self.events.options.set_keep_alive(KEEP_ALIVE);
        }
    }
}

fn ended(error: &ConnectionError) -> End {
    use rumqttc::v5::mqttbytes::Error::PayloadSizeLimitExceeded;
    let why = error.to_string();
    match error {
        ConnectionError::MqttState(
            StateError::IncomingPacketTooLarge { .. }
            | StateError::Deserialization(PayloadSizeLimitExceeded { .. }),
        ) => End::Oversized(why),
        _ => End::Lost(why),
    }
}
