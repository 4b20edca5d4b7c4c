//! What the stand-in has: topics, their channels, and the messages of each.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use micro::core::clock;
use micro::core::clock::Instant;

pub(crate) type Id = [u8; 16];

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: Id,
    /// When it was taken, in nanoseconds since 1970.
    pub(crate) taken: i64,
    pub(crate) attempts: u16,
    pub(crate) body: Vec<u8>,
}

/// A message that a client has.
#[derive(Debug)]
struct Flight {
    client: u64,
    message: Message,
    began: Instant,
    due: Instant,
}

/// What waits: in memory as far as that has room, the rest on the disk.
#[derive(Debug, Default)]
struct Queue {
    memory: VecDeque<Message>,
    disk: VecDeque<Message>,
}

impl Queue {
    fn put(&mut self, message: Message, memory_max: usize) {
        match self.memory.len() < memory_max {
            true => self.memory.push_back(message),
            false => self.disk.push_back(message),
        }
    }

    fn pop(&mut self) -> Option<Message> {
        self.memory.pop_front().or_else(|| self.disk.pop_front())
    }

    fn len(&self) -> usize {
        self.memory.len() + self.disk.len()
    }
}

#[derive(Debug, Default)]
struct Channel {
    queue: Queue,
    /// Its disk takes nothing and says nothing.
    is_ephemeral: bool,
    deferred: Vec<(Instant, Message)>,
    in_flight: HashMap<Id, Flight>,
    clients: usize,
}

impl Channel {
    fn put(&mut self, message: Message, memory_max: usize) {
        if !self.is_ephemeral || self.queue.memory.len() < memory_max {
            self.queue.put(message, memory_max);
        }
    }
}

#[derive(Debug, Default)]
struct Topic {
    /// What came before the first channel.
    waiting: Queue,
    deferred: Vec<(Duration, Message)>,
    channels: BTreeMap<String, Channel>,
}

/// Everything that outlives the process, where it ends in order.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Messages that each topic and channel has in memory.
    memory_max: usize,
    topics: BTreeMap<String, Topic>,
    messages: u64,
    /// Messages that were sent to clients.
    pub(crate) deliveries: usize,
    /// Messages that nobody settled in time.
    pub(crate) timeouts: usize,
}

impl Disk {
    pub(crate) fn new(memory_max: usize) -> Self {
        Self { memory_max, ..Self::default() }
    }

    pub(crate) fn has(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    /// Counts the messages of a channel that are not finished; of a topic where that has none.
    pub(crate) fn depth(&self, topic: &str, channel: &str) -> usize {
        let Some(topic) = self.topics.get(topic) else { return 0 };
        let Some(channel) = topic.channels.get(channel) else { return topic.waiting.len() };
        channel.queue.len() + channel.deferred.len() + channel.in_flight.len()
    }

    pub(crate) fn channels(&self, topic: &str) -> Vec<String> {
        self.topics
            .get(topic)
            .map(|topic| topic.channels.keys().cloned().collect())
            .unwrap_or_default()
    }

    pub(crate) fn publish(&mut self, topic: &str, bodies: Vec<Vec<u8>>, defer: Duration) {
        let now = clock::now();
        for body in bodies {
            self.messages += 1;
            let mut id = [0; 16];
            id.copy_from_slice(format!("{:016x}", self.messages).as_bytes());
            let taken = i64::try_from(clock::unix_now().as_nanos()).unwrap();
            let message = Message { id, taken, attempts: 0, body };
            let topic = self.topics.entry(topic.to_owned()).or_default();
            if topic.channels.is_empty() {
                match defer.is_zero() {
                    true => topic.waiting.put(message, self.memory_max),
                    false => topic.deferred.push((defer, message)),
                }
                continue;
            }
            for channel in topic.channels.values_mut() {
                match defer.is_zero() {
                    true => channel.put(message.clone(), self.memory_max),
                    false => channel.deferred.push((clock::after(now, defer), message.clone())),
                }
            }
        }
    }

    /// Adds a client to a channel; the first channel gets what has waited.
    pub(crate) fn join(&mut self, topic: &str, name: &str) {
        let topic = self.topics.entry(topic.to_owned()).or_default();
        let channel = topic.channels.entry(name.to_owned()).or_default();
        channel.is_ephemeral = name.ends_with("#ephemeral");
        channel.clients += 1;
        while let Some(message) = topic.waiting.pop() {
            channel.put(message, self.memory_max);
        }
        let now = clock::now();
        let deferred = topic.deferred.drain(..);
        channel
            .deferred
            .extend(deferred.map(|(defer, message)| (clock::after(now, defer), message)));
    }

    /// Takes a client out of a channel; what it had stays in flight until its time is over.
    pub(crate) fn leave(&mut self, topic: &str, name: &str) {
        let Some(topic) = self.topics.get_mut(topic) else { return };
        let Some(channel) = topic.channels.get_mut(name) else { return };
        channel.clients -= 1;
        if channel.clients == 0 && channel.is_ephemeral {
            topic.channels.remove(name);
        }
    }

    /// Takes the next message for a client.
    pub(crate) fn take(
        &mut self,
        topic: &str,
        channel: &str,
        client: u64,
        timeout: Duration,
    ) -> Option<Message> {
        let channel = self.channel(topic, channel)?;
        let mut message = channel.queue.pop()?;
        message.attempts = message.attempts.saturating_add(1);
        let now = clock::now();
        let flight = Flight { client, message: message.clone(), began: now, due: now + timeout };
        channel.in_flight.insert(message.id, flight);
        self.deliveries += 1;
        Some(message)
    }

    pub(crate) fn in_flight(&self, topic: &str, channel: &str, client: u64) -> usize {
        let channel = self.topics.get(topic).and_then(|topic| topic.channels.get(channel));
        channel.map_or(0, |channel| {
            channel.in_flight.values().filter(|flight| flight.client == client).count()
        })
    }

    /// Takes a message away from a client that has it.
    pub(crate) fn finish(
        &mut self,
        topic: &str,
        channel: &str,
        client: u64,
        id: Id,
    ) -> Option<Message> {
        let channel = self.channel(topic, channel)?;
        channel.in_flight.get(&id).filter(|flight| flight.client == client)?;
        channel.in_flight.remove(&id).map(|flight| flight.message)
    }

    pub(crate) fn requeue(
        &mut self,
        topic: &str,
        name: &str,
        client: u64,
        (id, pause): (Id, Duration),
    ) -> bool {
        let Some(message) = self.finish(topic, name, client, id) else { return false };
        let memory_max = self.memory_max;
        let Some(channel) = self.channel(topic, name) else { return false };
        match pause.is_zero() {
            true => channel.put(message, memory_max),
            false => channel.deferred.push((clock::now() + pause, message)),
        }
        true
    }

    /// Gives a client more time, up to `most` since the delivery.
    pub(crate) fn touch(
        &mut self,
        (topic, channel, client): (&str, &str, u64),
        id: Id,
        timeout: Duration,
        most: Duration,
    ) -> bool {
        let Some(channel) = self.channel(topic, channel) else { return false };
        let Some(flight) = channel.in_flight.get_mut(&id) else { return false };
        if flight.client != client {
            return false;
        }
        flight.due = (clock::now() + timeout).min(flight.began + most);
        true
    }

    /// Puts back what is due; returns whether anything was.
    pub(crate) fn tick(&mut self) -> bool {
        let now = clock::now();
        let mut changed = false;
        let channels = self.topics.values_mut().flat_map(|topic| topic.channels.values_mut());
        for channel in channels {
            let due: Vec<_> = channel.deferred.extract_if(.., |(due, _)| *due <= now).collect();
            let late: Vec<_> =
                channel.in_flight.extract_if(|_, flight| flight.due <= now).collect();
            changed |= !due.is_empty() || !late.is_empty();
            self.timeouts += late.len();
            let due = due.into_iter().map(|(_, message)| message);
            let late = late.into_iter().map(|(_, flight)| flight.message);
            due.chain(late).for_each(|message| channel.put(message, self.memory_max));
        }
        changed
    }

    /// Writes down what is in memory, as an orderly end does; ephemeral channels are gone.
    pub(crate) fn end(&mut self) {
        for topic in self.topics.values_mut() {
            topic.channels.retain(|_, channel| !channel.is_ephemeral);
            for channel in topic.channels.values_mut() {
                let flying = channel.in_flight.drain().map(|(_, flight)| flight.message);
                let deferred = channel.deferred.drain(..).map(|(_, message)| message);
                channel.queue.disk.extend(flying.chain(deferred));
            }
        }
    }

    /// Loses what is in memory, as a crash does.
    pub(crate) fn crash(&mut self) {
        for topic in self.topics.values_mut() {
            topic.channels.retain(|_, channel| !channel.is_ephemeral);
            topic.waiting.memory.clear();
            topic.deferred.clear();
            for channel in topic.channels.values_mut() {
                channel.queue.memory.clear();
                channel.in_flight.clear();
                channel.deferred.clear();
            }
        }
    }

    fn channel(&mut self, topic: &str, channel: &str) -> Option<&mut Channel> {
        self.topics.get_mut(topic)?.channels.get_mut(channel)
    }
}
