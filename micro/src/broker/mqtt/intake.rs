//! What the server delivers to one subscription, and what it is told of that.
//!
//! A message is acknowledged when it is settled and not before: MQTT has no other word for the
//! server. What waits for another delivery waits here.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectReturnCode, Disconnect, DisconnectReasonCode, Packet, PubAck, Publish, SubAck,
    Subscribe, Unsubscribe,
};
use tokio::sync::{oneshot, watch};

use crate::broker::memory::group::{Group, Reserved};
use crate::broker::memory::size_of;
use crate::broker::message::Message;
use crate::broker::receipt::{Parcel, Receipt, Settled};
use crate::core::error::{Error, Result};

use super::ERROR_ID;
use super::gaps::Gaps;
use super::line::Party;
use super::names::Names;
use super::refusal::{login_refusal, refusal};
use super::requests::Requests;
use super::wire;

/// The server's side of a subscription.
pub(super) struct Intake {
    names: Names,
    group: Arc<Group>,
    gaps: Gaps,
    /// Messages that may be unsettled, and bytes of them; with more nothing is read.
    window: usize,
    bytes_max: usize,
    state: Mutex<State>,
    /// Whether the subscription stands.
    stands: watch::Sender<bool>,
    /// For the receipts, which outlive a borrow.
    this: Weak<Self>,
}

#[derive(Default)]
struct State {
    requests: Option<Requests>,
    /// Counts connections.
    connection: u64,
    /// Counts messages.
    number: u64,
    /// What is not settled, by the server's number: at most as many as it may have under way.
    open: HashMap<u16, Open>,
    /// Messages that handlers have, wait for them or came back, those that nobody confirms among
    /// them, and their bytes.
    copies: usize,
    bytes: usize,
    /// What came back unsettled and nobody has taken: some of those.
    back: Vec<Back>,
    /// What came since somebody last asked.
    came: bool,
    /// Whoever waits for the first answer to the subscription.
    first: Option<oneshot::Sender<Result<()>>>,
    /// Whoever waits until the server has taken the filters back, by the number of that packet.
    parting: Option<(u16, oneshot::Sender<()>)>,
    /// The number of the latest packet that asks for something.
    asked: u16,
    /// Nothing more is asked for.
    is_leaving: bool,
    /// The server has taken the subscription, on some connection.
    has_stood: bool,
    /// The server had kept the session when the connection was made.
    had_session: bool,
}

/// A message that is not settled.
struct Open {
    number: u64,
    /// The connection that it came by last, which alone may acknowledge it.
    connection: u64,
    id: String,
}

/// A message that its subscription did not settle.
#[derive(Clone, Debug)]
pub(super) struct Back {
    key: Key,
    pub(super) message: Arc<Message>,
    pub(super) attempts: u32,
    /// It was offered, and nobody took it.
    is_kept: bool,
}

/// Which message it is: the server's number, and ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    packet: u16,
    number: u64,
}

impl Intake {
    /// `window` and `bytes_max` bound what is not settled, but for the message that exceeds them.
    pub(super) fn new(
        names: Names,
        group: Arc<Group>,
        gaps: Gaps,
        (window, bytes_max): (u16, usize),
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            names,
            group,
            gaps,
            window: window.into(),
            bytes_max,
            state: Mutex::default(),
            stands: watch::Sender::new(false),
            this: Weak::clone(this),
        })
    }

    /// Returns what becomes of the first attempt to subscribe.
    pub(super) fn first(&self) -> oneshot::Receiver<Result<()>> {
        let (sender, receiver) = oneshot::channel();
        self.lock().first = Some(sender);
        receiver
    }

    /// Tells whether the server has ever taken the subscription.
    pub(super) fn has_stood(&self) -> bool {
        self.lock().has_stood
    }

    /// Tells whether the subscription stands.
    pub(super) fn stands(&self) -> watch::Receiver<bool> {
        self.stands.subscribe()
    }

    /// Returns the topic or pattern.
    pub(super) fn pattern(&self) -> &str {
        &self.names.pattern
    }

    /// Returns where a group's members give back what they did not settle.
    pub(super) fn returns(&self) -> Option<&str> {
        self.names.returns.as_deref()
    }

    /// Asks for nothing any more.
    pub(super) fn leave(&self) {
        self.lock().is_leaving = true;
    }

    /// Tells the server that nothing more is wanted, and waits until it has taken that: what it had
    /// sent before has come by then. `false` if the connection is lost meanwhile or is not there.
    /// Cancel safe.
    pub(super) async fn part(&self) -> bool {
        let (sender, parted) = oneshot::channel();
        {
            let mut state = self.lock();
            state.is_leaving = true;
            let Some(requests) = state.requests.clone() else { return false };
            let pkid = state.next_asked();
            state.parting = Some((pkid, sender));
            let filters = self.names.filters.clone();
            // There is room but on a connection that has ended.
            if !requests.push(Packet::Unsubscribe(Unsubscribe { pkid, filters, properties: None }))
            {
                return false;
            }
        }
        parted.await.is_ok()
    }

    /// Returns what came back and was not offered to anybody in vain. It stays until it is
    /// acknowledged.
    pub(super) fn backs(&self) -> Vec<Back> {
        self.lock().back.iter().filter(|back| !back.is_kept).cloned().collect()
    }

    /// Notes that nobody took a message that came back: it stays in the session.
    pub(super) fn keep(&self, back: &Back) {
        let mut state = self.lock();
        if let Some(kept) = state.back.iter_mut().find(|one| one.key == back.key) {
            kept.is_kept = true;
        }
    }

    /// Tells whether anything came since this was last asked.
    pub(super) fn take_came(&self) -> bool {
        std::mem::take(&mut self.lock().came)
    }

    /// Acknowledges what was given to another member.
    pub(super) fn acknowledge(&self, back: &Back) {
        let mut state = self.lock();
        let before = state.back.len();
        state.back.retain(|one| one.key != back.key);
        let was_there = state.back.len() < before;
        drop(state);
        if was_there {
            self.let_go(size_of(&back.message));
        }
        self.settled(back.key);
    }

    /// Asks the client to end the connection in order.
    pub(super) fn disconnect(&self) {
        let reason = DisconnectReasonCode::NormalDisconnection;
        if let Some(requests) = &self.lock().requests {
            let _over = requests.push(Packet::Disconnect(Disconnect::new(reason)));
        }
    }

    fn arrived(&self, publish: Publish) -> std::result::Result<(), String> {
        let packet = publish.pkid;
        let name = std::str::from_utf8(&publish.topic).unwrap_or_default();
        let whence = match self.names.returns.as_deref() == Some(name) {
            true => wire::read_back(&publish),
            false => self.names.topic(name).map(|topic| (topic, 0)),
        };
        let is_confirmed = publish.qos != QoS::AtMostOnce;
        let Some((topic, attempts)) = whence else {
            tracing::debug!(topic = self.names.pattern, name, "what came is not for us");
            if is_confirmed {
                self.acknowledge_packet(packet);
            }
            return Ok(());
        };
        let message = Arc::new(wire::read(topic, publish));
        let key = if is_confirmed {
            let Some(key) = self.open(packet, &message.id) else { return Ok(()) };
            Some(key)
        } else {
            None
        };
        let receipt = self.receipt(key, Arc::clone(&message));
        match self.push(Parcel { message, attempts, receipt: Some(receipt) }) {
            Pushed::Taken => Ok(()),
            Pushed::Refused(parcel) => {
                if let Some(receipt) = parcel.receipt {
                    receipt.settle(Settled::Returned { attempts: parcel.attempts });
                }
                Ok(())
            }
            Pushed::Full(parcel) => {
                self.let_go(size_of(&parcel.message));
                if let Some(receipt) = parcel.receipt {
                    receipt.void();
                }
                if key.is_none() {
                    tracing::warn!(topic = self.names.pattern, "no room for what nobody confirms");
                    return Ok(());
                }
                self.lock().open.remove(&packet);
                Err("the server sends more than we asked for".to_owned())
            }
        }
    }

    /// Notes a message that came; `None` for one that is being handled, which the server sends
    /// again after the connection was lost.
    fn open(&self, packet: u16, id: &str) -> Option<Key> {
        let mut state = self.lock();
        state.came = true;
        let connection = state.connection;
        if let Some(open) = state.open.get_mut(&packet)
            && open.id == id
            && open.connection != connection
        {
            open.connection = connection;
            return None;
        }
        state.number = state.number.wrapping_add(1);
        let number = state.number;
        state.open.insert(packet, Open { number, connection, id: id.to_owned() });
        Some(Key { packet, number })
    }

    /// Counts a message, and returns what tells when it is settled; `None` for one that the server
    /// does not want to hear of.
    fn receipt(&self, key: Option<Key>, message: Arc<Message>) -> Receipt {
        let bytes = size_of(&message);
        {
            let mut state = self.lock();
            state.copies += 1;
            state.bytes = state.bytes.saturating_add(bytes);
        }
        let this = Weak::clone(&self.this);
        Receipt::new(move |settled| {
            let Some(intake) = this.upgrade() else { return };
            match (settled, key) {
                (Settled::Returned { attempts }, Some(key)) => {
                    intake.lock().back.push(Back { key, message, attempts, is_kept: false });
                }
                // Nobody has it any more, and nobody asked for more.
                (Settled::Returned { .. }, None) => intake.let_go(bytes),
                (Settled::Acked | Settled::Dead | Settled::Dropped, key) => {
                    intake.let_go(bytes);
                    if let Some(key) = key {
                        intake.settled(key);
                    }
                }
            }
        })
    }

    /// Has room again for a message of so many bytes.
    fn let_go(&self, bytes: usize) {
        let mut state = self.lock();
        let was_full = self.is_full_of(&state);
        state.copies = state.copies.saturating_sub(1);
        state.bytes = state.bytes.saturating_sub(bytes);
        if was_full && let Some(requests) = &state.requests {
            requests.wake();
        }
    }

    fn is_full_of(&self, state: &State) -> bool {
        state.open.len() > self.window || state.copies > self.window || state.bytes > self.bytes_max
    }

    fn push(&self, parcel: Parcel) -> Pushed {
        match self.group.try_reserve(size_of(&parcel.message)) {
            Reserved::Room(room) => match self.group.push(parcel, room) {
                Ok(()) => Pushed::Taken,
                Err(parcel) => Pushed::Refused(parcel),
            },
            Reserved::Full => Pushed::Full(parcel),
            Reserved::Gone | Reserved::Dropped | Reserved::Disconnected => Pushed::Refused(parcel),
        }
    }

    /// Acknowledges a message, if the connection that it came by is there: otherwise the server
    /// sends it again, or has forgotten it.
    fn settled(&self, key: Key) {
        let mut state = self.lock();
        let is_current = state.open.get(&key.packet).is_some_and(|open| open.number == key.number);
        if !is_current {
            return;
        }
        let open = state.open.remove(&key.packet);
        if open.is_some_and(|open| open.connection == state.connection) {
            acknowledge(&state, key.packet);
        } else if let Some(requests) = &state.requests {
            // There is more room.
            requests.wake();
        }
    }

    fn acknowledge_packet(&self, packet: u16) {
        let mut state = self.lock();
        state.came = true;
        acknowledge(&state, packet);
    }

    fn subscribed(&self, ack: &SubAck) -> std::result::Result<(), String> {
        let error = ack.return_codes.iter().find_map(|code| refusal(&self.names.pattern, *code));
        let (first, had_session) = {
            let mut state = self.lock();
            (state.first.take(), state.had_session)
        };
        let Some(error) = error else {
            self.lock().has_stood = true;
            self.stands.send_replace(true);
            match first {
                // Whoever subscribes may have left; then the connection ends too.
                Some(first) => drop(first.send(Ok(()))),
                None => self.gaps.reconnected(had_session),
            }
            return Ok(());
        };
        let why = error.detail().to_owned();
        match first {
            Some(first) => drop(first.send(Err(error))),
            None => tracing::error!(topic = self.names.pattern, why, "cannot subscribe again"),
        }
        Err(why)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so a poisoned lock is still sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a message that was pushed to the handlers.
enum Pushed {
    Taken,
    /// They take nothing more.
    Refused(Parcel),
    /// They have no room.
    Full(Parcel),
}

impl Party for Intake {
    fn up(&self, requests: Requests, connack: &ConnAck) -> std::result::Result<(), String> {
        let properties = connack.properties.as_ref();
        let shares = properties.and_then(|properties| properties.shared_subscription_available);
        let mut state = self.lock();
        if self.names.returns.is_some() && shares == Some(0) {
            let why = "the server has no shared subscriptions, and so no queues";
            if let Some(first) = state.first.take() {
                let text = format!("subscribe to {}: {why}", self.names.pattern);
                let _left = first.send(Err(Error::unimplemented(ERROR_ID, text))).is_err();
            }
            return Err(why.to_owned());
        }
        state.connection = state.connection.wrapping_add(1);
        let is_leaving = state.is_leaving;
        let (pkid, filters) = (state.next_asked(), self.names.wanted());
        let subscribe = Subscribe { pkid, filters, properties: None };
        let asked = is_leaving || requests.push(Packet::Subscribe(subscribe));
        state.requests = Some(requests);
        state.had_session = connack.session_present;
        drop(state);
        // Whoever leaves waits for the connection alone.
        self.stands.send_replace(is_leaving);
        if asked { Ok(()) } else { Err("the connection has ended".to_owned()) }
    }

    fn refused(&self, code: ConnectReturnCode) {
        let what = format!("subscribe to {}", self.names.pattern);
        if let Some(error) = login_refusal(&what, code)
            && let Some(first) = self.lock().first.take()
        {
            let _left = first.send(Err(error)).is_err();
        }
    }

    fn told(&self, packet: Packet) -> std::result::Result<(), String> {
        match packet {
            Packet::Publish(publish) => self.arrived(publish),
            Packet::SubAck(ack) => self.subscribed(&ack),
            Packet::UnsubAck(ack) => {
                let mut state = self.lock();
                let awaited = state.parting.take_if(|(pkid, _)| *pkid == ack.pkid);
                if let Some((_, parted)) = awaited {
                    // Whoever waited may have left.
                    let _left = parted.send(()).is_err();
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn is_full(&self) -> bool {
        let state = self.lock();
        let unsent = state.requests.as_ref().map_or(0, Requests::len);
        self.is_full_of(&state) || unsent > self.window
    }

    fn down(&self, _unsent: VecDeque<Packet>, why: &str) {
        let mut state = self.lock();
        state.requests = None;
        state.parting = None;
        drop(state);
        if self.stands.send_replace(false) {
            tracing::info!(topic = self.names.pattern, why, "subscription is interrupted");
        }
    }
}

impl State {
    fn next_asked(&mut self) -> u16 {
        self.asked = self.asked.checked_add(1).unwrap_or(1);
        self.asked
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Intake")
            .field("names", &self.names)
            .field("open", &state.open.len())
            .field("copies", &state.copies)
            .field("bytes", &state.bytes)
            .field("back", &state.back.len())
            .finish_non_exhaustive()
    }
}

fn acknowledge(state: &State, packet: u16) {
    if let Some(requests) = &state.requests {
        // There is room but on a connection that has ended.
        let _over = requests.push(Packet::PubAck(PubAck::new(packet, None)));
    }
}
