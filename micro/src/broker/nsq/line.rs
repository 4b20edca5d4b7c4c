//! The connection by which one nsqd delivers the messages of a subscription, made again whenever
//! it is lost.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot, watch};

use crate::broker::pause::RETRY_HINT_MAX;
use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};

use super::ERROR_ID;
use super::command;
use super::connection::{Connection, Reader, Settings};
use super::frame::{Frame, MessageId};
use super::held::Held;
use super::leave::leave;
use super::member::Subscribed;
use super::ready::Ready;
use super::unsettled::Unsettled;
use super::writer::Writer;

/// The first and the longest pause before a connection that was lost is made again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// nsqd answers to SUB within this.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Commands that wait to be written; those who have more wait.
const COMMANDS_MAX: usize = 256;
/// A multiple of what a subscription handles at a time: an nsqd that delivers more than this, far
/// more than it was asked for, is not to be trusted.
const UNASKED_MAX: u32 = 4;

/// What the handlers of a connection share.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) subscribed: Arc<Subscribed>,
    pub(super) settings: Settings,
    commands: mpsc::Sender<Vec<u8>>,
    ready: Mutex<Ready>,
    unsettled: Arc<Unsettled>,
}

impl Line {
    /// Sends a command; returns whether there is still a connection.
    async fn send(&self, command: Vec<u8>) -> bool {
        self.commands.send(command).await.is_ok()
    }

    /// Sends a command that may as well be left out.
    pub(super) fn hint(&self, command: Vec<u8>) {
        let _left_out = self.commands.try_send(command).is_err();
    }

    /// Returns whether the connection is lost, so that no message of it can be settled.
    pub(super) fn is_lost(&self) -> bool {
        self.commands.is_closed()
    }

    /// Waits until the connection is lost.
    pub(super) async fn lost(&self) {
        self.commands.closed().await;
    }

    /// Takes a message that came; returns how many are held.
    fn take(&self, id: MessageId) -> u32 {
        self.unsettled.insert(id);
        self.ready().take()
    }

    /// Sends the command that settles a message, and asks for further ones where that is due.
    pub(super) async fn settle(&self, id: MessageId, mut command: Vec<u8>) {
        let Ok(room) = self.commands.reserve().await else {
            let topic = &self.subscribed.topic;
            tracing::debug!(topic, "a message comes again: its connection was lost");
            return;
        };
        let due = self.ready().settle();
        if let Some(count) = due {
            command.extend(command::ready(count));
        }
        self.unsettled.settle(id, || room.send(command));
    }

    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for this connection's share of what the subscription handles at a time.
    async fn ask(&self) {
        let lines = u32::try_from(*self.subscribed.lines.borrow()).unwrap_or(u32::MAX).max(1);
        let share = self.subscribed.concurrency().div_ceil(lines).min(self.settings.max_rdy_count);
        let due = self.ready().ask(share);
        if let Some(count) = due {
            // Where it is lost, the reader notices.
            let _lost = !self.send(command::ready(count)).await;
        }
    }

    /// Takes nothing more: what was delivered is settled yet.
    async fn close(&self) {
        self.ready().ask(0);
        let _lost = !self.send([&command::ready(0), command::CLOSE].concat()).await;
    }
}

/// Keeps the subscription on one nsqd until it drains, or the connection is lost to one that is no
/// longer `listed`; `first` is told what became of the first try.
pub(super) async fn keep(
    subscribed: Arc<Subscribed>,
    address: String,
    listed: Arc<AtomicBool>,
    first: oneshot::Sender<Result<()>>,
) {
    let mut first = Some(first);
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    // Progress: each turn waits for a connection, and for its end where it is made.
    loop {
        let opened = tokio::select! {
            biased;
            () = subscribed.life.draining() => return,
            opened = Session::open(&subscribed, &address) => opened,
        };
        let told = opened.as_ref().map(drop).map_err(Clone::clone);
        let is_first = first.take().map(|first| first.send(told)).is_some();
        let topic = &subscribed.topic;
        match opened {
            Ok(session) => {
                if !is_first {
                    tracing::info!(topic, address, "subscription is made again");
                }
                let began = clock::now();
                session.run(&address).await;
                // One that ends connections at once is not asked again at once.
                if clock::now() - began > BACKOFF.1 {
                    backoff.reset();
                }
            }
            Err(error) => tracing::debug!(topic, address, %error, "cannot subscribe yet"),
        }
        if subscribed.life.is_draining() || !listed.load(Relaxed) {
            return;
        }
        tokio::select! {
            biased;
            () = subscribed.life.draining() => return,
            () = clock::sleep(backoff.next_delay()) => {}
        }
    }
}

/// A connection that is subscribed.
struct Session {
    reader: Reader,
    writer: Writer,
    line: Arc<Line>,
    written: mpsc::Receiver<Vec<u8>>,
}

/// Counts a connection among those of the subscription.
struct Counted(Arc<Subscribed>);

impl Counted {
    fn new(subscribed: &Arc<Subscribed>) -> Self {
        subscribed.lines.send_modify(|lines| *lines += 1);
        Self(Arc::clone(subscribed))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.lines.send_modify(|lines| *lines = lines.saturating_sub(1));
    }
}

impl Session {
    async fn open(subscribed: &Arc<Subscribed>, address: &str) -> Result<Self> {
        let most = subscribed.message_bytes_max;
        let Connection { mut reader, mut writer, settings } =
            Connection::open(address, most).await?;
        let asked = async {
            writer.write_all(&command::subscribe(&subscribed.topic, &subscribed.channel)).await?;
            reader.answer().await
        };
        let no = |why: &dyn std::fmt::Display| {
            let text = format!("subscribe to {} at {address}: {why}", subscribed.topic);
            Error::unavailable(ERROR_ID, text).with_retry(Retry::Safe)
        };
        match clock::timeout(SUBSCRIBE_TIMEOUT, asked).await {
            Ok(Ok(answer)) if answer == b"OK"[..] => {}
            Ok(Ok(_)) => return Err(no(&"nsqd answers neither yes nor no")),
            Ok(Err(error)) => return Err(no(&error.detail())),
            Err(_elapsed) => return Err(no(&"nsqd does not answer")),
        }
        let (commands, written) = mpsc::channel(COMMANDS_MAX);
        let subscribed = Arc::clone(subscribed);
        let (ready, unsettled) = (Mutex::default(), Arc::default());
        let line = Arc::new(Line { subscribed, settings, commands, ready, unsettled });
        Ok(Self { reader, writer: Writer::new(writer), line, written })
    }

    /// Hands over what comes until the connection is lost, or all is done after draining began.
    async fn run(self, address: &str) {
        let Self { mut reader, mut writer, line, mut written } = self;
        let subscribed = Arc::clone(&line.subscribed);
        let unsettled = Arc::clone(&line.unsettled);
        // Cancel safety: what is cut here is given back below, after the rest of what was being
        // written.
        let ended = tokio::select! {
            biased;
            () = subscribed.life.closed() => Ok(()),
            ended = work(&mut reader, &mut writer, line, &mut written) => ended,
        };
        let ended = match ended {
            Ok(()) => leave(reader, writer, &unsettled, written).await,
            lost => lost,
        };
        if let Err(error) = ended {
            tracing::warn!(topic = subscribed.topic, address, %error, "subscription is lost");
        }
    }
}

async fn work(
    reader: &mut Reader,
    writer: &mut Writer,
    line: Arc<Line>,
    written: &mut mpsc::Receiver<Vec<u8>>,
) -> Result<()> {
    let counted = Counted::new(&line.subscribed);
    // Cancel safety: a connection of which one half has ended is only left.
    tokio::select! {
        biased;
        error = read(reader, line, counted) => Err(error),
        ended = write(writer, written) => ended,
    }
}

/// Writes what is sent until nobody can send any more.
async fn write(writer: &mut Writer, written: &mut mpsc::Receiver<Vec<u8>>) -> Result<()> {
    let mut taken = Vec::with_capacity(COMMANDS_MAX);
    while written.recv_many(&mut taken, COMMANDS_MAX).await > 0 {
        taken.drain(..).for_each(|command| writer.put(&command));
        writer.flush().await?;
    }
    Ok(())
}

/// Hands over what comes, until the connection ends.
async fn read(reader: &mut Reader, line: Arc<Line>, counted: Counted) -> Error {
    let subscribed = Arc::clone(&line.subscribed);
    let mut lines: watch::Receiver<usize> = subscribed.lines.subscribe();
    line.ask().await;
    let commands = line.commands.downgrade();
    let unsettled = Arc::clone(&line.unsettled);
    // Handlers have the others: once nobody has one, all is written.
    let mut incoming =
        Incoming { subscribed: Arc::clone(&subscribed), commands, unsettled, line: Some(line) };
    let mut counted = Some(counted);
    loop {
        let is_open = counted.is_some();
        // Cancel safety: a part of a frame stays with the reader.
        let frame = tokio::select! {
            biased;
            () = subscribed.life.draining(), if is_open => {
                drop(counted.take());
                if let Some(line) = &incoming.line {
                    line.close().await;
                }
                continue;
            }
            Ok(()) = lines.changed(), if is_open => {
                lines.mark_unchanged();
                if let Some(line) = &incoming.line {
                    line.ask().await;
                }
                continue;
            }
            frame = reader.next() => frame,
        };
        let taken = match frame {
            Ok(frame) => incoming.take(frame).await,
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            return error;
        }
    }
}

/// What comes by a connection, and where it goes.
struct Incoming {
    subscribed: Arc<Subscribed>,
    commands: mpsc::WeakSender<Vec<u8>>,
    unsettled: Arc<Unsettled>,
    /// None once nsqd has said that it sends no more.
    line: Option<Arc<Line>>,
}

impl Incoming {
    /// Does what a frame asks for.
    ///
    /// # Errors
    /// Those that end the connection.
    async fn take(&mut self, frame: Frame) -> Result<()> {
        let topic = &self.subscribed.topic;
        match frame {
            Frame::Heartbeat => {
                if let Some(commands) = self.commands.upgrade() {
                    let _lost = commands.send(command::NOTHING.to_vec()).await.is_err();
                }
            }
            Frame::Answer(answer) if answer == b"CLOSE_WAIT"[..] => drop(self.line.take()),
            Frame::Answer(_) => {}
            Frame::Error(text) if is_about_a_message(&text) => {
                tracing::debug!(topic, text, "nsqd has given a message to others");
            }
            Frame::Error(text) => return Err(Error::unavailable(ERROR_ID, text)),
            Frame::Message(raw) => {
                // It was on its way when nsqd was told to send no more.
                let Some(line) = &self.line else {
                    self.give_back(raw.id, Duration::ZERO).await;
                    return Ok(());
                };
                let held = line.take(raw.id);
                if held > self.subscribed.concurrency().saturating_mul(UNASKED_MAX) {
                    let text = "nsqd delivers more than was asked for";
                    return Err(Error::internal(ERROR_ID, text));
                }
                let handling = Held::new(Arc::clone(line), raw).handle();
                self.subscribed.tasks.spawn("broker.nsq.handler", handling).detach();
            }
            Frame::TooLong { id, bytes } => {
                let (id_text, most) = (id.to_string(), self.subscribed.message_bytes_max);
                tracing::error!(
                    topic,
                    id = id_text,
                    bytes,
                    most,
                    "a message is longer than `message_bytes`, and waits until that is raised"
                );
                self.give_back(id, RETRY_HINT_MAX).await;
            }
        }
        Ok(())
    }

    /// Has a message delivered again that nobody handles.
    async fn give_back(&self, id: MessageId, pause: Duration) {
        let again = command::requeue(id, pause);
        if let Some(line) = &self.line {
            line.take(id);
            return line.settle(id, again).await;
        }
        match self.commands.upgrade() {
            Some(commands) => {
                let _lost = commands.send(again).await.is_err();
            }
            // It goes back with what is left.
            None => self.unsettled.insert(id),
        }
    }
}

/// Tells errors after which the connection stays: nsqd no longer waits for the message.
fn is_about_a_message(text: &str) -> bool {
    ["E_FIN_FAILED", "E_REQ_FAILED", "E_TOUCH_FAILED"].iter().any(|code| text.starts_with(code))
}
