//! What a record must satisfy before a backend keeps it.

use std::net::IpAddr;
use std::time::Duration;

use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::limits::RegistryLimits;
use crate::core::net::Address;
use crate::registry::record::Node;
use crate::registry::record::Record;

/// The id of errors that the registry itself makes.
pub(super) const ERROR_ID: &str = "micro.registry";

/// Bytes of the name of a service, of a version and of the id of a node; more is a 400.
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes of a node's address; more is a 400.
pub const ADDRESS_BYTES_MAX: usize = 512;

/// Bytes of one record's JSON, whether written or read; more is a 413 or not read at all.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// Checks a record that its owner wants to register and returns its single node.
///
/// Every backend calls this first in `register`, so that none keeps what another refuses.
///
/// # Errors
///
/// 400 if the record does not hold exactly one node, if a name is empty, too long or holds control
/// characters, if the address is none or cannot be reached by others (`0.0.0.0`, `[::]`, port 0),
/// or if `ttl` is zero; 413 if the metadata of the node is longer than its limit.
pub fn check<'a>(record: &'a Record, ttl: Duration, limits: &RegistryLimits) -> Result<&'a Node> {
    let node = own_node(record)?;
    check_name("the name of a service", &record.name)?;
    check_name("the id of a node", &node.id)?;
    if record.version.len() > NAME_BYTES_MAX {
        return Err(bad(format_args!("the version of {} is too long", record.name)));
    }
    check_address(node)?;
    if ttl.is_zero() {
        return Err(bad(format_args!("the time to live of {} is zero", node.id)));
    }
    let bytes: usize = node.metadata.iter().map(|(k, v)| k.len().saturating_add(v.len())).sum();
    let bytes_max = limits.node_metadata_bytes_max;
    if bytes > bytes_max {
        let detail = format!("metadata of {} has {bytes} bytes, at most {bytes_max}", node.id);
        return Err(Error::too_large(ERROR_ID, detail));
    }
    Ok(node)
}

/// Returns the single node of a record that belongs to its owner.
///
/// # Errors
///
/// 400 if there is none or more than one.
pub fn own_node(record: &Record) -> Result<&Node> {
    match record.nodes.as_slice() {
        [node] => Ok(node),
        nodes => Err(bad(format_args!(
            "a record to register or deregister holds its owner's node, that of {} holds {}",
            record.name,
            nodes.len()
        ))),
    }
}

fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(bad(format_args!("{what} is empty")));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(bad(format_args!("{what} has {} bytes, at most {NAME_BYTES_MAX}", name.len())));
    }
    if name.chars().any(char::is_control) {
        return Err(bad(format_args!("{what} holds a control character: {name:?}")));
    }
    Ok(())
}

/// Refuses addresses at which nobody else can find the node.
fn check_address(node: &Node) -> Result<()> {
    let address = node.address.as_str();
    let refuse = |why: &str| {
        Err(bad(format_args!("node {} advertises {address:?}: {why}; set `advertise`", node.id)))
    };
    if address.is_empty() || address.len() > ADDRESS_BYTES_MAX {
        return refuse("it is empty or too long");
    }
    let bound = match address.parse() {
        Ok(Address::Tcp(bound)) => bound,
        Ok(_) => return Ok(()),
        Err(_) => return refuse("it is neither host:port nor unix:/path"),
    };
    let (host, port) = bound.rsplit_once(':').unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        return refuse("others cannot connect to an unspecified host");
    }
    if port.parse::<u16>().is_ok_and(|port| port == 0) {
        return refuse("others cannot connect to port 0");
    }
    Ok(())
}

pub(super) fn bad(detail: std::fmt::Arguments<'_>) -> Error {
    Error::bad_request(ERROR_ID, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(15);

    fn record(service: &str, id: &str, address: &str) -> Record {
        let node = Node { id: id.into(), address: address.into(), ..Node::default() };
        Record { name: service.into(), nodes: vec![node], ..Record::default() }
    }

    fn code(record: &Record) -> u16 {
        check(record, TTL, &RegistryLimits::DEFAULT).map_or_else(|error| error.code(), |_| 200)
    }

    #[test]
    fn addresses_that_nobody_can_reach_are_refused() {
        for address in
            ["", ":80", "0.0.0.0:80", "[::]:80", "127.0.0.1:0", "host:0", "host", "host:http"]
        {
            assert_eq!(code(&record("greeter", "a", address)), 400, "{address}");
        }
        for address in ["127.0.0.1:80", "[::1]:80", "host:80", "unix:/run/a.sock", "memory:a"] {
            assert_eq!(code(&record("greeter", "a", address)), 200, "{address}");
        }
    }

    #[test]
    fn names_are_limited_in_length_and_content() {
        let longest = "x".repeat(NAME_BYTES_MAX);
        assert_eq!(code(&record(&longest, &longest, "h:1")), 200);
        assert_eq!(code(&record(&format!("{longest}x"), "a", "h:1")), 400);
        assert_eq!(code(&record("a", &longest.repeat(10), "h:1")), 400);
        for name in ["", "a\nb", "\u{7f}"] {
            assert_eq!(code(&record(name, "a", "h:1")), 400);
            assert_eq!(code(&record("a", name, "h:1")), 400);
        }
    }

    #[test]
    fn metadata_is_limited() {
        let limit = RegistryLimits::DEFAULT.node_metadata_bytes_max;
        for (bytes, expected) in [(limit, 200), (limit + 1, 413), (limit * 10, 413)] {
            let mut record = record("a", "b", "h:1");
            record.nodes[0].metadata.insert("k".into(), "v".repeat(bytes - 1));
            assert_eq!(code(&record), expected);
        }
    }

    #[test]
    fn a_record_holds_one_node_and_lives_longer_than_nothing() {
        let mut record = record("a", "b", "h:1");
        assert_eq!(
            check(&record, Duration::ZERO, &RegistryLimits::DEFAULT).unwrap_err().code(),
            400
        );
        record.nodes.push(record.nodes[0].clone());
        assert_eq!(code(&record), 400);
        record.nodes.clear();
        assert_eq!(code(&record), 400);
    }
}
