//! One end of a session: carries bytes between a pipe and the bus.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::limits::ConnectionLimits;
use crate::core::net::{Pipe, Socket};
use crate::transport::tunnel::message::{HEAD_BYTES, Message, Reason, Word};
use crate::transport::tunnel::socket::Fate;
use crate::transport::tunnel::window::{Breach, Inward, Outward};
use crate::transport::tunnel::{Arrival, Care, Inbox};

/// Bytes of one message of data: 64 KiB, what a pipe holds.
const DATA_BYTES_MAX: usize = 64 * 1024;

/// How soon a beat follows what was sent or received.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// For how long beats follow; the pings of the native protocol come at this interval while calls
/// wait, so that beats go on as long as any does.
const BEATS_FOR: Duration = Duration::from_secs(10);

/// How long the peer's end is waited for once this one was told.
const LINGER: Duration = Duration::from_secs(1);

/// Why a session broke.
#[derive(Debug)]
pub(super) enum Broken {
    /// The bus is away.
    Bus(String),
    /// Nobody is at the peer's name any more.
    Gone,
    /// The peer says so.
    Reset(Reason),
    /// The bus lost a message, or carried one twice.
    Gap { expected: u64, number: u64 },
    /// The peer broke a rule.
    Breach,
    /// The peer takes nothing.
    Slow(Duration),
}

impl From<Breach> for Broken {
    fn from(_: Breach) -> Self {
        Self::Breach
    }
}

impl Broken {
    /// Returns what the peer is told, if it can hear of it.
    fn reason(&self) -> Option<Reason> {
        match self {
            Self::Bus(_) | Self::Gone | Self::Reset(_) => None,
            Self::Gap { .. } | Self::Breach | Self::Slow(_) => Some(Reason::Broken),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus(why) => f.write_str(why),
            Self::Gone => f.write_str("the peer is gone"),
            Self::Reset(reason) => write!(f, "the peer says that {reason}"),
            Self::Gap { expected, number } => {
                write!(f, "message {number} came where {expected} was due")
            }
            Self::Breach => f.write_str("the peer broke the rules of sessions"),
            Self::Slow(timeout) => write!(f, "the peer took nothing for {timeout:?}"),
        }
    }
}

/// What happens next.
enum Step {
    Arrived(Arrival),
    Read,
    Write,
    Due,
}

async fn until(alarm: Option<Instant>) {
    match alarm {
        Some(at) => clock::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// One end of a session.
#[derive(Debug)]
pub(super) struct Session {
    inbox: Box<dyn Inbox>,
    peer: String,
    fate: Fate,
    write_timeout: Duration,
    /// The numbers of the next message each way.
    next: (u64, u64),
    outward: Outward,
    inward: Inward,
    /// Read from the pipe, and not sent.
    unsent: BytesMut,
    /// Received, and not written into the pipe; with the length of each when it came.
    unread: VecDeque<(Bytes, usize)>,
    /// Nobody reads the pipe any more: what comes is dropped.
    is_deaf: bool,
    said_end: Option<Instant>,
    heard_end: bool,
    /// When the window was found full, until credit comes.
    full_since: Option<Instant>,
    last_word: Instant,
    next_beat: Option<Instant>,
}

impl Session {
    /// Makes an end whose peer has the other; `window` is what both use.
    pub(super) fn new(
        inbox: Box<dyn Inbox>,
        peer: String,
        window: u32,
        limits: &ConnectionLimits,
    ) -> Self {
        let now = clock::now();
        Self {
            inbox,
            peer,
            fate: Fate::default(),
            write_timeout: limits.write_timeout,
            next: (0, 0),
            outward: Outward::new(window),
            inward: Inward::new(window),
            unsent: BytesMut::new(),
            unread: VecDeque::new(),
            is_deaf: false,
            said_end: None,
            heard_end: false,
            full_since: None,
            last_word: now,
            next_beat: Some(clock::after(now, BEAT_INTERVAL)),
        }
    }

    pub(super) fn fate(&self) -> Fate {
        self.fate.clone()
    }

    /// Carries both ways until both ends are done or the session breaks; the other end of the pipe
    /// sees that as its end.
    pub(super) async fn carry(mut self, pipe: Pipe) {
        let Err(broken) = self.run(&pipe).await else { return };
        tracing::debug!(peer = %self.peer, %broken, "a session broke");
        self.fate.seal(broken.to_string());
        drop(pipe);
        if let Some(reason) = broken.reason() {
            let _told = self.post(&Message::Reset(reason), Care::Lost).await;
        }
    }

    async fn run(&mut self, pipe: &Pipe) -> Result<(), Broken> {
        // Progress: each turn takes a message, moves bytes, or comes closer to a limit of time.
        while !(self.said_end.is_some() && self.heard_end && self.unread.is_empty()) {
            match self.step(pipe).await? {
                Step::Arrived(Arrival::Message(bytes)) => self.hear(bytes, pipe).await?,
                Step::Arrived(Arrival::Returned) => return Err(Broken::Gone),
                Step::Read => self.read(pipe).await?,
                Step::Write => self.write(pipe).await?,
                Step::Due => {
                    if self.due().await?.is_break() {
                        // The peer may have done as much, or not know that all is said.
                        return self.post(&Message::Reset(Reason::Done), Care::Lost).await;
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits for what is next. Cancel safe: each part only waits.
    async fn step(&mut self, pipe: &Pipe) -> Result<Step, Broken> {
        let has_room = self.outward.room() > 0;
        let reads = self.said_end.is_none() && has_room;
        let (unsent, unread) = (!self.unsent.is_empty(), !self.unread.is_empty());
        let alarm = self.alarm();
        let inbox = &mut self.inbox;
        tokio::select! {
            arrival = poll_fn(|task| inbox.poll_next(task)) => {
                arrival.map(Step::Arrived).map_err(|error| Broken::Bus(error.detail().to_owned()))
            }
            // What ended is found out by reading and writing.
            _ = poll_fn(|task| pipe.poll_read_ready(task)), if reads && !unsent => Ok(Step::Read),
            _ = poll_fn(|task| pipe.poll_write_ready(task)), if unread => Ok(Step::Write),
            () = std::future::ready(()), if reads && unsent => Ok(Step::Read),
            () = until(alarm) => Ok(Step::Due),
        }
    }

    /// Returns when something is due, if anything is.
    fn alarm(&self) -> Option<Instant> {
        let late = self.said_end.map(|at| clock::after(at, LINGER));
        let slow = self.full_since.map(|at| clock::after(at, self.write_timeout));
        [late, slow, self.next_beat].into_iter().flatten().min()
    }

    /// Does what is due; breaks when the peer's end was waited for long enough.
    async fn due(&mut self) -> Result<ControlFlow<()>, Broken> {
        let now = clock::now();
        if self.said_end.is_some_and(|at| clock::after(at, LINGER) <= now) {
            return Ok(ControlFlow::Break(()));
        }
        if self.full_since.is_some_and(|at| clock::after(at, self.write_timeout) <= now) {
            return Err(Broken::Slow(self.write_timeout));
        }
        if self.next_beat.is_some_and(|at| at <= now) {
            let next = clock::after(now, BEAT_INTERVAL);
            self.next_beat = Some(next).filter(|at| *at <= clock::after(self.last_word, BEATS_FOR));
            self.say(Word::Beat).await?;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Takes a message of the peer.
    async fn hear(&mut self, bytes: Bytes, pipe: &Pipe) -> Result<(), Broken> {
        let (number, word) = match Message::read(bytes) {
            Some(Message::Numbered { number, word }) => (number, word),
            Some(Message::Reset(Reason::Done)) if self.said_end.is_some() => {
                self.heard_end = true;
                return Ok(());
            }
            Some(Message::Reset(reason)) => return Err(Broken::Reset(reason)),
            Some(Message::Open { .. } | Message::Accept { .. }) | None => {
                return Err(Broken::Breach);
            }
        };
        let expected = self.next.1;
        if number != expected {
            return Err(Broken::Gap { expected, number });
        }
        self.next.1 = expected.wrapping_add(1);
        match word {
            Word::Data(_) | Word::End if self.heard_end => Err(Broken::Breach),
            Word::Data(bytes) => {
                let length = bytes.len();
                self.inward.arrive(length)?;
                self.stir();
                if self.is_deaf {
                    return self.taken(length).await;
                }
                self.unread.push_back((bytes, length));
                Ok(())
            }
            Word::Credit { total } => {
                self.outward.credit(total)?;
                if self.outward.room() > 0 {
                    self.full_since = None;
                }
                Ok(())
            }
            Word::Beat => Ok(()),
            Word::End => {
                self.heard_end = true;
                self.end_pipe(pipe);
                Ok(())
            }
        }
    }

    /// Sends what the pipe brings, as far as there is room.
    async fn read(&mut self, pipe: &Pipe) -> Result<(), Broken> {
        let longest = self.inbox.message_bytes_max().saturating_sub(HEAD_BYTES).min(DATA_BYTES_MAX);
        if self.unsent.is_empty() {
            self.unsent.reserve(DATA_BYTES_MAX);
            match pipe.try_read(&mut self.unsent) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Ok(1..) => {}
                Ok(0) | Err(_) => {
                    self.said_end = Some(clock::now());
                    return self.say(Word::End).await;
                }
            }
        }
        let length = self.unsent.len().min(self.outward.room()).min(longest);
        if length == 0 {
            return Err(Broken::Bus("the bus takes no message of any use".to_owned()));
        }
        let bytes = self.unsent.split_to(length).freeze();
        if self.unsent.is_empty() {
            // A session at rest keeps no room.
            self.unsent = BytesMut::new();
        }
        self.outward.send(length);
        if self.outward.room() == 0 {
            self.full_since = Some(clock::now());
        }
        self.stir();
        self.say(Word::Data(bytes)).await
    }

    /// Writes what has come into the pipe.
    async fn write(&mut self, pipe: &Pipe) -> Result<(), Broken> {
        let Some((bytes, length)) = self.unread.front_mut() else { return Ok(()) };
        let length = *length;
        match pipe.try_write(bytes) {
            Ok(count) => {
                bytes.advance(count);
                if !bytes.is_empty() {
                    return Ok(());
                }
                self.unread.pop_front();
                self.end_pipe(pipe);
                self.taken(length).await
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => {
                self.is_deaf = true;
                // Progress: each turn drops a message.
                while let Some((_, length)) = self.unread.pop_front() {
                    self.taken(length).await?;
                }
                Ok(())
            }
        }
    }

    /// Lets the reader of the pipe see the end once it has what came before.
    fn end_pipe(&self, pipe: &Pipe) {
        if self.heard_end && self.unread.is_empty() {
            // A pipe cannot fail to end.
            let _ended = pipe.shutdown();
        }
    }

    async fn taken(&mut self, length: usize) -> Result<(), Broken> {
        match self.inward.take(length) {
            Some(total) => self.say(Word::Credit { total }).await,
            None => Ok(()),
        }
    }

    /// Has beats follow what was sent or received.
    fn stir(&mut self) {
        self.last_word = clock::now();
        self.next_beat.get_or_insert(clock::after(self.last_word, BEAT_INTERVAL));
    }

    async fn say(&mut self, word: Word) -> Result<(), Broken> {
        let care = if word == Word::Beat { Care::Returned } else { Care::Lost };
        let number = self.next.0;
        self.next.0 = number.wrapping_add(1);
        self.post(&Message::Numbered { number, word }, care).await
    }

    async fn post(&mut self, message: &Message, care: Care) -> Result<(), Broken> {
        let sending = self.inbox.send(&self.peer, message.write(), care);
        match clock::timeout(self.write_timeout, sending).await {
            Ok(sent) => sent.map_err(|error| Broken::Bus(error.detail().to_owned())),
            Err(_) => {
                Err(Broken::Bus(format!("the bus took nothing for {:?}", self.write_timeout)))
            }
        }
    }
}
