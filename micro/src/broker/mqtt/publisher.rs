//! Publishing: each message is confirmed by the server, or whoever published it learns that nobody
//! knows.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectReturnCode, Disconnect, DisconnectReasonCode, Packet, PubAckReason, Publish,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result, Retry};
use crate::core::shutdown::TaskTracker;
use crate::driver::Server;

use super::ERROR_ID;
use super::line::{Line, Party, Wanted};
use super::refusal::login_refusal;
use super::requests::Requests;
use super::wire::Letter;

/// Messages under way to the server, at most: enough to hide the way there and back. A server may
/// allow less.
pub(super) const UNDER_WAY_MAX: u16 = 1024;

/// Requests that wait for the client beside those messages.
const OTHERS_MAX: usize = 16;

/// How long a server that is away is waited for.
const AWAY_PATIENCE: Duration = Duration::from_secs(2);

/// How long the server may take to confirm; then nobody knows.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// Who has a message that the server has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// Somebody, or the server does not say.
    Somebody,
    /// Nobody is subscribed to it.
    Nobody,
}

/// The connection that messages are published by.
#[derive(Debug)]
pub(super) struct Publisher {
    desk: Arc<Desk>,
    line: Line,
    /// How long a message may wait for its turn.
    turn_patience: Duration,
}

/// One connection, for those who publish.
#[derive(Debug)]
struct Window {
    number: u64,
    /// Messages that may be under way.
    places: Arc<Semaphore>,
    /// Bytes of the longest packet that the server takes.
    packet_max: usize,
}

/// What is under way.
struct Desk {
    state: Mutex<State>,
    up: watch::Sender<Option<Arc<Window>>>,
}

/// Bounded by the places of the connection.
#[derive(Default)]
struct State {
    number: u64,
    requests: Option<Requests>,
    /// Why the server refuses the connection that is being made, and why it refused the one before.
    refusing: Option<ConnectReturnCode>,
    refused: Option<ConnectReturnCode>,
    /// The number of the latest message on the connection.
    packet: u16,
    /// By the number that their message has on the connection.
    waiting: HashMap<u16, Waiter>,
}

/// Whoever waits for the server's word, and the place that the message takes until then.
struct Waiter {
    answer: oneshot::Sender<Answer>,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Answer {
    Said(PubAckReason),
    NotSent,
    Unknown,
}

impl Publisher {
    pub(super) fn start(
        server: &Server,
        (client, packet_max): (String, u32),
        turn_patience: Duration,
        tasks: &TaskTracker,
    ) -> Self {
        let desk = Arc::new(Desk { state: Mutex::default(), up: watch::Sender::new(None) });
        let wanted = Wanted {
            client,
            expiry_secs: 0,
            receive_max: 1,
            requests_max: usize::from(UNDER_WAY_MAX) + OTHERS_MAX,
            packet_max,
        };
        let party: Arc<dyn Party> = Arc::<Desk>::clone(&desk);
        let line = Line::start(server, wanted, party, tasks);
        Self { desk, line, turn_patience }
    }

    pub(super) fn is_up(&self) -> bool {
        self.desk.up.borrow().is_some()
    }

    /// Ends the connection when what was sent before has left.
    pub(super) fn end(&self) {
        let reason = DisconnectReasonCode::NormalDisconnection;
        if let Some(requests) = &self.desk.lock().requests {
            // There is room but on a connection that has ended.
            let _over = requests.push(Packet::Disconnect(Disconnect::new(reason)));
        }
        self.line.end();
    }

    /// Publishes, and returns when the server has it; `topic` is for errors. Cancel safe: what was
    /// handed to the client is published all the same.
    ///
    /// # Errors
    /// 503, which tells whether the message may have been published; 413 for what is longer than
    /// the server takes; 400, 403 or 429 if the server refuses it; 401 or 403 if it refuses the
    /// login.
    pub(super) async fn publish(&self, topic: &str, letter: Letter) -> Result<Reached> {
        let end = clock::after(clock::now(), AWAY_PATIENCE);
        // Progress: each turn but the last has seen a connection end; the patience ends it.
        let (window, place) = loop {
            let window = self.window(topic, end).await?;
            if letter.bytes() > window.packet_max {
                let (bytes, most) = (letter.bytes(), window.packet_max);
                let text =
                    format!("publish to {topic}: {bytes} bytes in all, the server takes {most}");
                return Err(Error::too_large(ERROR_ID, text));
            }
            let place = Arc::clone(&window.places).acquire_owned();
            match clock::timeout(self.turn_patience, place).await {
                Ok(Ok(place)) => break (window, place),
                Ok(Err(_closed)) => {}
                Err(_) => {
                    let text = format!("publish to {topic}: the server confirms nothing");
                    return Err(Error::unavailable(ERROR_ID, text).with_retry(Retry::Safe));
                }
            }
        };
        let Some(answer) = self.desk.hand_over(window.number, letter, place) else {
            return judge(topic, &Answer::NotSent);
        };
        match clock::timeout(ANSWER_PATIENCE, answer).await {
            Ok(Ok(answer)) => judge(topic, &answer),
            _ => judge(topic, &Answer::Unknown),
        }
    }

    /// Waits for a connection.
    async fn window(&self, topic: &str, end: Instant) -> Result<Arc<Window>> {
        let mut up = self.desk.up.subscribe();
        let waited = clock::timeout_at(end, up.wait_for(Option::is_some)).await;
        let window = waited.ok().and_then(std::result::Result::ok).and_then(|up| up.clone());
        window.ok_or_else(|| {
            let refused = self.desk.lock().refused;
            let what = format!("publish to {topic}");
            refused.and_then(|code| login_refusal(&what, code)).unwrap_or_else(|| away(topic))
        })
    }
}

impl Desk {
    /// Hands a message to the client of a connection; `None` if that has ended.
    fn hand_over(
        &self,
        number: u64,
        letter: Letter,
        place: OwnedSemaphorePermit,
    ) -> Option<oneshot::Receiver<Answer>> {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.lock();
        if state.number != number {
            return None;
        }
        let packet = state.free_packet();
        let requests = state.requests.as_ref()?;
        let Letter { name, properties, payload } = letter;
        let mut publish = Publish::new(name, QoS::AtLeastOnce, payload, Some(properties));
        publish.pkid = packet;
        if !requests.push(Packet::Publish(publish)) {
            return None;
        }
        state.waiting.insert(packet, Waiter { answer, _place: place });
        Some(receiver)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so a poisoned lock is still sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns a number that no message under way has: there are far more than may be under way.
    fn free_packet(&mut self) -> u16 {
        loop {
            self.packet = self.packet.checked_add(1).unwrap_or(1);
            if !self.waiting.contains_key(&self.packet) {
                return self.packet;
            }
        }
    }
}

impl Party for Desk {
    fn up(&self, requests: Requests, connack: &ConnAck) -> std::result::Result<(), String> {
        let properties = connack.properties.as_ref();
        let receives = properties.and_then(|properties| properties.receive_max);
        let places = receives.map_or(UNDER_WAY_MAX, |most| most.clamp(1, UNDER_WAY_MAX));
        let packet_max = properties.and_then(|properties| properties.max_packet_size);
        let packet_max = packet_max.and_then(|most| usize::try_from(most).ok());
        let mut state = self.lock();
        state.number = state.number.wrapping_add(1);
        state.requests = Some(requests);
        let window = Window {
            number: state.number,
            places: Arc::new(Semaphore::new(usize::from(places))),
            packet_max: packet_max.unwrap_or(usize::MAX),
        };
        drop(state);
        self.up.send_replace(Some(Arc::new(window)));
        Ok(())
    }

    fn refused(&self, code: ConnectReturnCode) {
        self.lock().refusing = Some(code);
    }

    fn told(&self, packet: Packet) -> std::result::Result<(), String> {
        if let Packet::PubAck(ack) = packet
            && let Some(waiter) = self.lock().waiting.remove(&ack.pkid)
        {
            // Whoever waited may have left.
            let _left = waiter.answer.send(Answer::Said(ack.reason)).is_err();
        }
        Ok(())
    }

    fn down(&self, unsent: VecDeque<Packet>, _why: &str) {
        let mut waiting = {
            let mut state = self.lock();
            state.requests = None;
            state.refused = state.refusing.take();
            std::mem::take(&mut state.waiting)
        };
        if let Some(window) = self.up.send_replace(None) {
            window.places.close();
        }
        for packet in unsent {
            if let Packet::Publish(publish) = packet
                && let Some(waiter) = waiting.remove(&publish.pkid)
            {
                let _left = waiter.answer.send(Answer::NotSent).is_err();
            }
        }
        for waiter in waiting.into_values() {
            let _left = waiter.answer.send(Answer::Unknown).is_err();
        }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Desk").field("waiting", &state.waiting.len()).finish_non_exhaustive()
    }
}

fn judge(topic: &str, answer: &Answer) -> Result<Reached> {
    let refused =
        |why: &PubAckReason| format!("publish to {topic}: the server refuses it: {why:?}");
    match answer {
        Answer::Said(PubAckReason::Success) => Ok(Reached::Somebody),
        Answer::Said(PubAckReason::NoMatchingSubscribers) => Ok(Reached::Nobody),
        Answer::Said(why @ PubAckReason::NotAuthorized) => {
            Err(Error::forbidden(ERROR_ID, refused(why)))
        }
        Answer::Said(
            why @ (PubAckReason::TopicNameInvalid | PubAckReason::PayloadFormatInvalid),
        ) => Err(Error::bad_request(ERROR_ID, refused(why))),
        Answer::Said(why @ PubAckReason::QuotaExceeded) => {
            Err(Error::too_many_requests(ERROR_ID, refused(why)).with_retry(Retry::Safe))
        }
        Answer::Said(why) => {
            Err(Error::unavailable(ERROR_ID, refused(why)).with_retry(Retry::Safe))
        }
        Answer::NotSent => {
            let text = format!("publish to {topic}: the connection broke before it was sent");
            Err(Error::unavailable(ERROR_ID, text).with_retry(Retry::Safe))
        }
        Answer::Unknown => {
            let text = format!("publish to {topic}: the server has not confirmed it");
            Err(Error::unavailable(ERROR_ID, text).with_retry(Retry::Unknown))
        }
    }
}

fn away(topic: &str) -> Error {
    let text = format!("publish to {topic}: no connection to mqtt");
    Error::unavailable(ERROR_ID, text).with_retry(Retry::Safe)
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::mqttbytes::v5::{ConnAckProperties, PubAck};

    use super::*;
    use crate::broker::message::Message;
    use crate::core::content_type::ContentType;

    /// A desk with a connection whose server takes so many messages, if it says so.
    fn desk(receive_max: Option<u16>) -> (Desk, Arc<Window>, Requests) {
        let desk = Desk { state: Mutex::default(), up: watch::Sender::new(None) };
        // CONNACK is read as it comes, since its properties have no default.
        let mut bytes = vec![0x20, 3, 0, 0, 0];
        if let Some(most) = receive_max {
            let [high, low] = most.to_be_bytes();
            bytes = vec![0x20, 6, 0, 0, 3, 0x21, high, low];
        }
        let read = Packet::read(&mut bytes.as_slice().into(), None).unwrap();
        let Packet::ConnAck(connack) = read else { panic!("no CONNACK") };
        assert_eq!(connack.code, ConnectReturnCode::Success);
        let told = |properties: &ConnAckProperties| properties.receive_max;
        assert_eq!(connack.properties.as_ref().and_then(told), receive_max);
        let requests = Requests::new(8);
        desk.up(requests.clone(), &connack).unwrap();
        let window = desk.up.borrow().clone().unwrap();
        (desk, window, requests)
    }

    fn ask(desk: &Desk, window: &Window) -> oneshot::Receiver<Answer> {
        let message = Message::new("a", ContentType::Json, "{}".into());
        let place = Arc::clone(&window.places).try_acquire_owned().unwrap();
        desk.hand_over(window.number, Letter::new(&message).unwrap(), place).unwrap()
    }

    fn outcome(answer: &mut oneshot::Receiver<Answer>) -> Option<Retry> {
        let answer = answer.try_recv().unwrap();
        judge("a", &answer).map_err(|error| error.retry()).err()
    }

    #[test]
    fn the_server_says_how_many_are_under_way_within_our_limit() {
        let limit = UNDER_WAY_MAX;
        for (said, places) in [
            (None, limit),
            (Some(1), 1),
            (Some(limit), limit),
            (Some(limit + 1), limit),
            (Some(limit * 10), limit),
        ] {
            assert_eq!(desk(said).1.places.available_permits(), usize::from(places));
        }
    }

    #[test]
    fn what_was_not_sent_is_safe_to_repeat_and_what_was_sent_is_unknown() {
        let (desk, window, requests) = desk(None);
        let [mut confirmed, mut sent] = [(); 2].map(|()| ask(&desk, &window));
        requests.ready(&mut bytes::BytesMut::new()).unwrap();
        let mut waiting = ask(&desk, &window);
        desk.told(Packet::PubAck(PubAck::new(1, None))).unwrap();
        desk.down(requests.end(), "a test");
        assert_eq!(outcome(&mut confirmed), None);
        assert_eq!(outcome(&mut sent), Some(Retry::Unknown));
        assert_eq!(outcome(&mut waiting), Some(Retry::Safe));
        assert!(window.places.is_closed());
    }

    #[test]
    fn a_message_keeps_its_place_until_the_server_has_spoken() {
        let (desk, window, _requests) = desk(Some(2));
        drop(ask(&desk, &window));
        assert_eq!(window.places.available_permits(), 1, "nobody waits and it is under way");
        desk.told(Packet::PubAck(PubAck::new(1, None))).unwrap();
        assert_eq!(window.places.available_permits(), 2);
    }

    #[test]
    fn numbers_of_messages_under_way_are_not_used_again() {
        let (desk, window, _requests) = desk(None);
        let _first = ask(&desk, &window);
        desk.lock().packet = u16::MAX - 1;
        let _last = ask(&desk, &window);
        let _next = ask(&desk, &window);
        let mut numbers: Vec<_> = desk.lock().waiting.keys().copied().collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, u16::MAX]);
    }
}
