//! One connection to the server, made again for as long as somebody wants it.
//!
//! Of the client crate the packets are used and not its event loop, which has no way to stop
//! reading: Mosquitto 2.0.11 sends a backlog whole, whatever it was asked to have under way, and what
//! there is no room for has to wait on its side. What a connection leaves unsent or unanswered is
//! told to whoever asked, and nothing is sent twice behind their backs.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Connect, ConnectProperties, ConnectReturnCode, Login, Packet, PingReq,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::core::backoff::Backoff;
use crate::core::clock::{self, Instant};
use crate::core::shutdown::{Shutdown, TaskHandle, TaskTracker};
use crate::driver::Server;

use super::requests::{Requests, Sent};

/// First and longest pause before the connection is made again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A connection that lasted so long is no reason to pause longer before the next.
const STEADY: Duration = Duration::from_secs(10);

/// How often the server is asked for a sign of life; one that has not answered by the next time is
/// given up.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How long the last packets may take to leave.
const PARTING_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes that are read at a time, at least.
const READ_BYTES: usize = 16 * 1024;

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
    /// Packets that may wait to be sent: never more than there may be.
    pub(super) requests_max: usize,
    /// Bytes of the longest packet that we take.
    pub(super) packet_max: u32,
}

/// Whoever a connection is for. None of these may wait.
pub(super) trait Party: Send + Sync + 'static {
    /// Begins to use a connection.
    ///
    /// # Errors
    /// Why it is of no use; then it ends.
    fn up(&self, requests: Requests, connack: &ConnAck) -> Result<(), String>;

    /// Learns that the server refuses to be connected to; the connection ends then.
    fn refused(&self, code: ConnectReturnCode);

    /// Hears of a packet that came.
    ///
    /// # Errors
    /// Why the connection has to be made again.
    fn told(&self, packet: Packet) -> Result<(), String>;

    /// Tells whether there is no room for another packet; it wakes the connection when there is.
    fn is_full(&self) -> bool {
        false
    }

    /// Learns that the connection is no more, and what was not sent; or that it was not made.
    fn down(&self, unsent: VecDeque<Packet>, why: &str);
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
            if is_fresh {
                let (server, client) = (&self.server, &self.wanted.client);
                tracing::warn!(%server, client, "a packet is too long, its session is given up");
            }
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
        let requests = Requests::new(self.wanted.requests_max);
        let hosts = self.server.hosts();
        let session = Session {
            host: hosts.get(turn % hosts.len().max(1)).cloned().unwrap_or_default(),
            hello: self.hello(is_fresh),
            packet_max: self.wanted.packet_max,
            requests: requests.clone(),
            party: Arc::clone(&self.party),
            life: self.life.clone(),
            input: BytesMut::new(),
            output: BytesMut::new(),
        };
        // In a task of its own: a packet that makes its reader panic costs the connection.
        let session = self.tasks.spawn("broker.mqtt.session", session.run()).abort_on_drop();
        let end = session.await.unwrap_or_else(|error| End::Lost(error.detail().to_owned()));
        let why = match &end {
            End::Parted => "the connection is closed",
            End::Oversized(why) | End::Lost(why) => why,
        };
        self.party.down(requests.end(), why);
        end
    }

    fn hello(&self, is_fresh: bool) -> Packet {
        let wanted = &self.wanted;
        let properties = ConnectProperties {
            session_expiry_interval: Some(wanted.expiry_secs),
            receive_maximum: Some(wanted.receive_max),
            max_packet_size: Some(wanted.packet_max),
            ..ConnectProperties::default()
        };
        let connect = Connect {
            keep_alive: u16::try_from(KEEP_ALIVE.as_secs()).unwrap_or(u16::MAX),
            client_id: wanted.client.clone(),
            clean_start: is_fresh || wanted.expiry_secs == 0,
            properties: Some(properties),
        };
        let user = self.server.user().zip(self.server.password());
        let login = user.map(|(user, password)| Login::new(user, password.expose()));
        Packet::Connect(connect, None, login)
    }
}

struct Session {
    host: (String, u16),
    hello: Packet,
    packet_max: u32,
    requests: Requests,
    party: Arc<dyn Party>,
    life: Shutdown,
    /// What was read and not understood yet: a packet and what is read at a time, at most.
    input: BytesMut,
    /// What is ready to be sent.
    output: BytesMut,
}

/// What a wait was for.
enum Woken {
    Written(std::io::Result<usize>),
    Read(std::io::Result<usize>),
    Ping,
    Other,
}

impl Session {
    async fn run(mut self) -> End {
        let life = self.life.clone();
        // Cancel safety: where it is dropped the connection is dropped too.
        let connected = tokio::select! {
            biased;
            () = life.draining() => return End::Parted,
            connected = clock::timeout(CONNECT_PATIENCE, self.connect()) => connected,
        };
        let (mut socket, ping) = match connected {
            Ok(Ok(connected)) => connected,
            Ok(Err(end)) => return end,
            Err(_) => return End::Lost("the server does not answer".to_owned()),
        };
        if self.life.is_draining() {
            // Whoever ended it did not know of the connection yet.
            return End::Parted;
        }
        match self.serve(&mut socket, ping).await {
            Ok(end) | Err(end) => end,
        }
    }

    /// Makes the connection, and returns how often the server wants a sign of life.
    async fn connect(&mut self) -> Result<(TcpStream, Duration), End> {
        let lost = |error: std::io::Error| End::Lost(error.to_string());
        let mut socket =
            TcpStream::connect((self.host.0.as_str(), self.host.1)).await.map_err(lost)?;
        socket.set_nodelay(true).map_err(lost)?;
        self.hello.write(&mut self.output, None).map_err(|error| End::Lost(error.to_string()))?;
        socket.write_all_buf(&mut self.output).await.map_err(lost)?;
        let packet = loop {
            if let Some(packet) = self.packet()? {
                break packet;
            }
            self.input.reserve(READ_BYTES);
            if socket.read_buf(&mut self.input).await.map_err(lost)? == 0 {
                return Err(End::Lost("the server hangs up".to_owned()));
            }
        };
        let connack = match packet {
            Packet::ConnAck(connack) if connack.code == ConnectReturnCode::Success => connack,
            Packet::ConnAck(connack) => {
                self.party.refused(connack.code);
                return Err(End::Lost(format!("the server refuses: {:?}", connack.code)));
            }
            _ => return Err(End::Lost("the server answers something else".to_owned())),
        };
        let wanted = connack.properties.as_ref().and_then(|known| known.server_keep_alive);
        let wanted = wanted.filter(|secs| *secs > 0).map(|secs| Duration::from_secs(secs.into()));
        self.party.up(self.requests.clone(), &connack).map_err(End::Lost)?;
        Ok((socket, wanted.unwrap_or(KEEP_ALIVE).min(KEEP_ALIVE)))
    }

    async fn serve(&mut self, socket: &mut TcpStream, ping: Duration) -> Result<End, End> {
        let (mut reader, mut writer) = socket.split();
        let (mut next_ping, mut is_asked) = (clock::after(clock::now(), ping), false);
        // Bytes before the end of a question that has not left.
        let mut unasked = 0_usize;
        // Progress: each turn hears what came, and then sends, reads or waits.
        loop {
            while !self.party.is_full()
                && let Some(packet) = self.packet()?
            {
                match packet {
                    Packet::PingResp(_) => is_asked = false,
                    Packet::Disconnect(why) => {
                        return Err(End::Lost(format!(
                            "the server ends it: {:?}",
                            why.reason_code
                        )));
                    }
                    packet => self.party.told(packet).map_err(End::Lost)?,
                }
            }
            if self.requests.ready(&mut self.output).map_err(End::Lost)? == Sent::Last {
                let parting = writer.write_all_buf(&mut self.output);
                let _late = clock::timeout(PARTING_PATIENCE, parting).await.is_err();
                return Ok(End::Parted);
            }
            let is_full = self.party.is_full();
            if is_full {
                // An answer would not be read.
                is_asked = false;
            } else {
                self.input.reserve(READ_BYTES);
            }
            // Cancel safety: either has written or read all or nothing of what it tells.
            let woken = tokio::select! {
                biased;
                () = self.life.closed() => return Ok(End::Parted),
                () = clock::sleep_until(next_ping) => Woken::Ping,
                written = writer.write_buf(&mut self.output), if !self.output.is_empty() => {
                    Woken::Written(written)
                }
                read = reader.read_buf(&mut self.input), if !is_full => Woken::Read(read),
                () = self.requests.added() => Woken::Other,
            };
            match woken {
                // Whatever comes is a sign of life: the answer may be behind much else.
                Woken::Read(Ok(1..)) => is_asked = false,
                Woken::Written(Ok(bytes @ 1..)) if unasked > 0 => {
                    // The server's time begins when the question has left.
                    unasked = unasked.saturating_sub(bytes);
                    next_ping = clock::after(clock::now(), ping);
                }
                Woken::Written(Ok(1..)) | Woken::Other => {}
                Woken::Written(Ok(0)) | Woken::Read(Ok(0)) => {
                    return Err(End::Lost("the server hangs up".to_owned()));
                }
                Woken::Written(Err(error)) | Woken::Read(Err(error)) => {
                    return Err(End::Lost(error.to_string()));
                }
                Woken::Ping if is_asked => {
                    return Err(End::Lost("the server is silent".to_owned()));
                }
                Woken::Ping => {
                    next_ping = self.ping(ping)?;
                    (is_asked, unasked) = (true, self.output.len());
                }
            }
        }
    }

    /// Asks the server for a sign of life, and returns when to do so again.
    fn ping(&mut self, every: Duration) -> Result<Instant, End> {
        let asked = Packet::PingReq(PingReq).write(&mut self.output, None);
        asked.map_err(|error| End::Lost(error.to_string()))?;
        Ok(clock::after(clock::now(), every))
    }

    /// Takes a packet out of what was read, if it is there whole.
    fn packet(&mut self) -> Result<Option<Packet>, End> {
        match Packet::read(&mut self.input, Some(self.packet_max)) {
            Ok(packet) => Ok(Some(packet)),
            Err(PacketError::InsufficientBytes(_)) => Ok(None),
            Err(error @ PacketError::PayloadSizeLimitExceeded { .. }) => {
                Err(End::Oversized(error.to_string()))
            }
            Err(error) => Err(End::Lost(error.to_string())),
        }
    }
}
