//! DNS messages: the question for a service, the answer for a node, and what can be read of both.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;

use hickory_proto::op::Message;
use hickory_proto::op::MessageType;
use hickory_proto::op::OpCode;
use hickory_proto::op::Query;
use hickory_proto::rr::Name;
use hickory_proto::rr::RData;
use hickory_proto::rr::Record as Resource;
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::rdata::AAAA;
use hickory_proto::rr::rdata::PTR;
use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::rdata::TXT;

use crate::core::error::Error;
use crate::core::error::Result;
use crate::registry::check::ERROR_ID;
use crate::registry::check::bad;
use crate::registry::mdns::txt;
use crate::registry::record::Node;
use crate::registry::record::Record;

/// Bytes of a packet, as multicast DNS allows; a longer one is not sent and not read.
pub(super) const PACKET_BYTES_MAX: usize = 9000;
/// Questions of a packet that is read at all.
const QUESTIONS_MAX: u16 = 16;
/// Records of a packet that is read at all.
const RECORDS_MAX: u16 = 256;
/// Seconds that others may remember a record, as go-micro says.
const TTL_SECONDS: u32 = 120;
/// The domain of all names.
const DOMAIN: &str = "micro";
/// The pseudo service whose nodes are the names of services.
pub(super) const LIST: &str = "_services";
/// The port of the nodes of [`LIST`]; nobody listens there.
const LIST_PORT: u16 = 9999;

/// A node as it is announced, ready to be put into packets.
#[derive(Clone, Debug)]
pub(super) struct Announcement {
    /// The name that is asked for.
    service: Name,
    /// The name of the node below that of the service.
    instance: Name,
    host: Name,
    address: SocketAddr,
    text: Vec<Vec<u8>>,
}

/// What is said of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Present,
    /// The node says goodbye.
    Leaving,
}

impl Announcement {
    /// Makes the announcement of a record's node.
    ///
    /// # Errors
    ///
    /// 400 if the names do not fit into DNS or the address is not `ip:port`, 413 if the whole does
    /// not fit into a packet.
    pub(super) fn new(record: &Record, node: &Node) -> Result<Self> {
        let address = node.address.parse().map_err(|_invalid| {
            bad(format_args!(
                "node {} advertises {:?}: multicast DNS announces `ip:port` only",
                node.id, node.address
            ))
        })?;
        let announcement = Self {
            service: service_name(&record.name)?,
            instance: name(&[node.id.as_str(), record.name.as_str(), DOMAIN])?,
            host: host(),
            address,
            text: txt::encode(record, node),
        };
        let bytes = pack(&announcement.message(Life::Present, true))?.len();
        if bytes > PACKET_BYTES_MAX {
            let detail = format!(
                "the record of {} has {bytes} bytes as a packet, at most {PACKET_BYTES_MAX}",
                node.id
            );
            return Err(Error::too_large(ERROR_ID, detail));
        }
        Ok(announcement)
    }

    /// Makes the announcement that a service exists, for lists.
    pub(super) fn of_service(service: &str) -> Result<Self> {
        Ok(Self {
            service: service_name(LIST)?,
            instance: name(&[service, LIST, DOMAIN])?,
            host: host(),
            address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, LIST_PORT)),
            text: vec![Vec::new()],
        })
    }

    /// Returns the address of the node.
    pub(super) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// Returns the unsolicited packet that tells of the node.
    pub(super) fn packet(&self, life: Life) -> Result<Vec<u8>> {
        pack(&self.message(life, false))
    }

    /// Returns the answer to a question, if it is about this node.
    ///
    /// go-micro's reader takes one node from a packet and only if its question is repeated.
    pub(super) fn answer(&self, question: &Question) -> Option<Vec<u8>> {
        let asked = &question.query;
        let any = matches!(asked.query_type, RecordType::PTR | RecordType::ANY);
        let of_service = any && text_of(&asked.name)? == text_of(&self.service)?;
        let mut message = self.message(Life::Present, of_service);
        if !of_service {
            if text_of(&asked.name)? != text_of(&self.instance)? {
                return None;
            }
            let wanted = asked.query_type;
            message.answers.retain(|record| any || record.record_type() == wanted);
            if message.answers.is_empty() {
                return None;
            }
        }
        message.metadata.id = if asked.mdns_unicast_response { question.id } else { 0 };
        let mut repeated = asked.clone();
        repeated.set_mdns_unicast_response(false);
        message.add_query(repeated);
        pack(&message).ok()
    }

    fn message(&self, life: Life, with_pointer: bool) -> Message {
        let ttl = if life == Life::Present { TTL_SECONDS } else { 0 };
        let mut message = Message::response(0, OpCode::Query);
        message.metadata.authoritative = true;
        let mut add = |name: &Name, data: RData| {
            message.add_answer(Resource::from_rdata(name.clone(), ttl, data));
        };
        if with_pointer {
            add(&self.service, RData::PTR(PTR(self.instance.clone())));
        }
        let server = SRV::new(10, 1, self.address.port(), self.host.clone());
        add(&self.instance, RData::SRV(server));
        match self.address.ip() {
            IpAddr::V4(ip) => add(&self.host, RData::A(A(ip))),
            IpAddr::V6(ip) => add(&self.host, RData::AAAA(AAAA(ip))),
        }
        // The text is last: go-micro's reader names the node after the last record.
        let strings = self.text.iter().map(Vec::as_slice).collect();
        add(&self.instance, RData::TXT(TXT::from_bytes(strings)));
        message
    }
}

/// A question of someone else.
#[derive(Debug)]
pub(super) struct Question {
    id: u16,
    query: Query,
}

/// What a packet of someone else says.
#[derive(Debug, Default)]
pub(super) struct Packet {
    pub(super) questions: Vec<Question>,
    /// The records of the nodes it describes, one node each.
    pub(super) nodes: Vec<(Record, Life)>,
    /// The names of services it lists.
    pub(super) services: Vec<String>,
}

impl Packet {
    /// Reads a packet; whatever is malformed, too long or of no concern is left out.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let none = Self::default();
        if bytes.len() > PACKET_BYTES_MAX || !has_few_parts(bytes) {
            return none;
        }
        let Ok(message) = Message::from_vec(bytes) else { return none };
        if message.metadata.op_code != OpCode::Query || message.metadata.truncation {
            return none;
        }
        if message.metadata.message_type == MessageType::Query {
            let id = message.metadata.id;
            let questions = message.queries.into_iter().map(|query| Question { id, query });
            return Self { questions: questions.collect(), ..none };
        }
        let resources: Vec<Resource> =
            message.answers.into_iter().chain(message.additionals).collect();
        let services = resources.iter().filter_map(listed_service).collect();
        Self { nodes: nodes(&resources), services, ..none }
    }
}

/// Returns the packet that asks for a service.
pub(super) fn question(service: &str) -> Result<Vec<u8>> {
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(service_name(service)?, RecordType::PTR));
    pack(&message)
}

/// Looks at the counts in the header, for which a decoder may make room in advance.
fn has_few_parts(bytes: &[u8]) -> bool {
    let count = |at: usize| {
        let bytes = bytes.get(at..at.saturating_add(2))?;
        Some(u16::from_be_bytes(bytes.try_into().ok()?))
    };
    let within = |at, max| count(at).is_some_and(|count| count <= max);
    within(4, QUESTIONS_MAX) && [6, 8, 10].into_iter().all(|at| within(at, RECORDS_MAX))
}

/// Puts the nodes together that the resource records of a packet describe.
fn nodes(resources: &[Resource]) -> Vec<(Record, Life)> {
    let mut addresses: BTreeMap<String, IpAddr> = BTreeMap::new();
    let mut texts: BTreeMap<String, &TXT> = BTreeMap::new();
    for resource in resources {
        let Some(owner) = text_of(&resource.name) else { continue };
        match &resource.data {
            // The older protocol wins, as in go-micro.
            RData::A(A(ip)) => drop(addresses.insert(owner, IpAddr::V4(*ip))),
            RData::AAAA(AAAA(ip)) => drop(addresses.entry(owner).or_insert(IpAddr::V6(*ip))),
            RData::TXT(text) => drop(texts.insert(owner, text)),
            _ => {}
        }
    }
    // One for each instance: a packet that repeats itself must not repeat the work.
    let mut instances = BTreeSet::new();
    let mut node = |resource: &Resource| {
        let RData::SRV(server) = &resource.data else { return None };
        let instance = text_of(&resource.name)?;
        if !instances.insert(instance.clone()) {
            return None;
        }
        let text = texts.get(&instance)?;
        let mut record = txt::decode(text.txt_data.iter().map(AsRef::as_ref))?;
        let ip = addresses.get(&text_of(&server.target)?)?;
        let id = instance.strip_suffix(&format!(".{}.{DOMAIN}", record.name))?;
        let node = record.nodes.first_mut()?;
        node.id = id.to_owned();
        node.address = SocketAddr::new(*ip, server.port).to_string();
        if record.name.is_empty() || node.id.is_empty() || server.port == 0 {
            return None;
        }
        let life = if resource.ttl == 0 { Life::Leaving } else { Life::Present };
        Some((record, life))
    };
    resources.iter().filter_map(&mut node).collect()
}

fn listed_service(resource: &Resource) -> Option<String> {
    let RData::PTR(PTR(target)) = &resource.data else { return None };
    if resource.ttl == 0 || text_of(&resource.name)? != format!("{LIST}.{DOMAIN}") {
        return None;
    }
    let target = text_of(target)?;
    target.strip_suffix(&format!(".{LIST}.{DOMAIN}")).map(str::to_owned)
}

fn service_name(service: &str) -> Result<Name> {
    name(&[service, DOMAIN])
}

/// Makes a name of parts that may hold dots; every label is taken as it is.
fn name(parts: &[&str]) -> Result<Name> {
    let labels = parts.iter().flat_map(|part| part.split('.')).map(str::as_bytes);
    Name::from_labels(labels).map_err(|error| {
        bad(format_args!("{:?} does not fit into DNS: {error}", parts.join("."))).with_source(error)
    })
}

/// Returns a name as text with dots, without the last; `None` if it is not text.
fn text_of(name: &Name) -> Option<String> {
    let labels: Option<Vec<&str>> =
        name.iter().map(|label| std::str::from_utf8(label).ok()).collect();
    Some(labels?.join("."))
}

/// Returns the name of this machine; it only ties the records of a packet together.
fn host() -> Name {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let known = kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let plain: String = known
        .trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(63)
        .collect();
    let plain = if plain.is_empty() { "localhost".to_owned() } else { plain };
    // A label of up to 63 letters, digits and hyphens is always a name.
    Name::from_labels([plain.as_bytes()]).unwrap_or_else(|_error| Name::root())
}

fn pack(message: &Message) -> Result<Vec<u8>> {
    message.to_vec().map_err(|error| Error::internal(ERROR_ID, &error).with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(service: &str, id: &str, address: &str) -> Record {
        let node = Node { id: id.into(), address: address.into(), ..Node::default() };
        let (name, version) = (service.to_owned(), "1".to_owned());
        Record { name, version, nodes: vec![node], ..Record::default() }
    }

    fn announce(record: &Record) -> Announcement {
        Announcement::new(record, &record.nodes[0]).unwrap()
    }

    fn ask(service: &str) -> Question {
        let mut packet = Packet::read(&question(service).unwrap());
        assert_eq!(packet.questions.len(), 1);
        packet.questions.remove(0)
    }

    #[test]
    fn an_answer_describes_the_node_and_repeats_the_question() {
        for address in ["10.0.0.5:37787", "[::1]:80"] {
            let record = record("greeter", "greeter-1.a", address);
            let answer = announce(&record).answer(&ask("greeter")).unwrap();
            assert_eq!(Packet::read(&answer).nodes, [(record, Life::Present)]);
            let message = Message::from_vec(&answer).unwrap();
            assert_eq!(message.queries[0].name.to_string(), "greeter.micro.");
            assert!(message.metadata.authoritative);
            let kinds: Vec<_> = message.answers.iter().map(Resource::record_type).collect();
            assert_eq!(kinds[..2], [RecordType::PTR, RecordType::SRV]);
            assert_eq!(kinds.last(), Some(&RecordType::TXT));
            assert!(message.answers.iter().all(|record| record.ttl == 120));
            let RData::SRV(server) = &message.answers[1].data else { panic!() };
            assert_eq!((server.priority, server.weight), (10, 1));
        }
        let other = announce(&record("greeter", "a", "10.0.0.5:1"));
        assert!(other.answer(&ask("greeter2")).is_none());
        assert!(other.answer(&ask("Greeter")).is_none(), "names are told apart by case");
    }

    #[test]
    fn a_question_has_the_bytes_of_go_micros() {
        let expected = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x07greeter\x05micro\0\0\x0c\0\x01";
        assert_eq!(question("greeter").unwrap(), expected);
    }

    #[test]
    fn a_goodbye_has_no_time_to_live() {
        let record = record("greeter", "a", "10.0.0.5:1");
        let packet = announce(&record).packet(Life::Leaving).unwrap();
        assert_eq!(Packet::read(&packet).nodes, [(record, Life::Leaving)]);
    }

    #[test]
    fn services_are_listed() {
        let answer = Announcement::of_service("com.example.shop").unwrap().answer(&ask(LIST));
        let packet = Packet::read(&answer.unwrap());
        assert_eq!(packet.services, ["com.example.shop"]);
        assert!(packet.nodes.is_empty());
    }

    #[test]
    fn a_node_is_found_by_its_own_name_too() {
        let announcement = announce(&record("greeter", "a", "10.0.0.5:1"));
        let of = |kind| {
            let query = Query::query(name(&["a", "greeter", DOMAIN]).unwrap(), kind);
            announcement.answer(&Question { id: 7, query })
        };
        let server = Message::from_vec(&of(RecordType::SRV).unwrap()).unwrap();
        assert_eq!(server.answers.len(), 1);
        assert_eq!(Packet::read(&of(RecordType::ANY).unwrap()).nodes.len(), 1);
        assert!(of(RecordType::MX).is_none());
    }

    #[test]
    fn what_dns_cannot_say_is_refused() {
        for (service, id, address) in [
            ("a..b", "1", "10.0.0.5:1"),
            ("a", ".1", "10.0.0.5:1"),
            (&"x".repeat(64), "1", "10.0.0.5:1"),
            ("a", "1", "unix:/run/a"),
            ("a", "1", "host:80"),
        ] {
            let record = record(service, id, address);
            let error = Announcement::new(&record, &record.nodes[0]).unwrap_err();
            assert_eq!(error.code(), 400, "{error}");
        }
        let mut huge = record("a", "1", "10.0.0.5:1");
        for n in 0..3000 {
            let name = format!("{n}{}", fastrand::u64(..));
            huge.endpoints.push(crate::registry::Endpoint { name, ..Default::default() });
        }
        assert_eq!(Announcement::new(&huge, &huge.nodes[0]).unwrap_err().code(), 413);
    }

    #[test]
    fn a_header_that_promises_much_is_not_believed() {
        for at in [4, 6, 8, 10] {
            let mut packet = question("greeter").unwrap();
            packet[at..at + 2].copy_from_slice(&[0xff, 0xff]);
            assert!(Packet::read(&packet).questions.is_empty());
        }
        assert!(Packet::read(&vec![0; PACKET_BYTES_MAX + 1]).questions.is_empty());
    }

    proptest! {
        #[test]
        fn hostile_packets_are_harmless(
            at in 0_usize..300, bytes in prop::collection::vec(any::<u8>(), 1..40),
        ) {
            let answer = announce(&record("greeter", "a", "10.0.0.5:1")).answer(&ask("greeter"));
            let mut packet = answer.unwrap();
            let at = at.min(packet.len());
            Packet::read(&packet[..at]);
            for (old, new) in packet[at..].iter_mut().zip(&bytes) {
                *old = *new;
            }
            Packet::read(&packet);
            Packet::read(&bytes);
        }
    }
}
