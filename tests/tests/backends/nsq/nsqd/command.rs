//! What clients send, taken apart as the protocol lays it out; anything else is an error.

use std::time::Duration;

use super::Options;
use super::disk::Id;

/// Bytes of a line; nsqd reads into a buffer of 16 KiB.
const LINE_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) enum Command {
    Identify(serde_json::Value),
    Sub(String, String),
    Pub(String, Vec<Vec<u8>>, Duration),
    Rdy(u32),
    Fin(Id),
    Req(Id, Duration),
    Touch(Id),
    Cls,
    Nop,
}

/// A code, and whether the connection stays.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) &'static str, pub(crate) String);

impl Fault {
    pub(crate) fn new(code: &'static str, why: impl Into<String>) -> Self {
        Self(code, why.into())
    }

    /// Returns whether the connection ends: all but three do that.
    pub(crate) fn is_fatal(&self) -> bool {
        !matches!(self.0, "E_FIN_FAILED" | "E_REQ_FAILED" | "E_TOUCH_FAILED")
    }
}

type Taken<T> = Result<T, Fault>;

/// Takes a command off the front of what has come; `None` if it has not come whole.
pub(crate) fn take(buffer: &mut Vec<u8>, options: &Options) -> Taken<Option<Command>> {
    let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else {
        if buffer.len() > LINE_BYTES_MAX {
            return Err(Fault::new("E_INVALID", "line too long"));
        }
        return Ok(None);
    };
    let line = String::from_utf8(buffer[..end].to_vec())
        .map_err(|_| Fault::new("E_INVALID", "a command is text"))?;
    let words: Vec<_> = line.strip_suffix('\r').unwrap_or(&line).split(' ').collect();
    let rest = &buffer[end + 1..];
    let (command, used) = match words[..] {
        ["IDENTIFY"] => {
            let Some(body) = sized(rest, options.max_body_size, "E_BAD_BODY")? else {
                return Ok(None);
            };
            let value = serde_json::from_slice(body)
                .map_err(|error| Fault::new("E_BAD_BODY", error.to_string()))?;
            (Command::Identify(value), 4 + body.len())
        }
        ["SUB", topic, channel] => {
            check(topic, "E_BAD_TOPIC")?;
            check(channel, "E_BAD_CHANNEL")?;
            (Command::Sub(topic.into(), channel.into()), 0)
        }
        ["PUB", topic] => {
            check(topic, "E_BAD_TOPIC")?;
            let Some(body) = sized(rest, options.max_msg_size, "E_BAD_MESSAGE")? else {
                return Ok(None);
            };
            (Command::Pub(topic.into(), vec![body.to_vec()], Duration::ZERO), 4 + body.len())
        }
        ["DPUB", topic, defer] => {
            check(topic, "E_BAD_TOPIC")?;
            let defer = millis(defer, options.max_req_timeout)?;
            let Some(body) = sized(rest, options.max_msg_size, "E_BAD_MESSAGE")? else {
                return Ok(None);
            };
            (Command::Pub(topic.into(), vec![body.to_vec()], defer), 4 + body.len())
        }
        ["MPUB", topic] => {
            check(topic, "E_BAD_TOPIC")?;
            let Some(body) = sized(rest, options.max_body_size, "E_BAD_BODY")? else {
                return Ok(None);
            };
            let bodies = several(body, options.max_msg_size)?;
            (Command::Pub(topic.into(), bodies, Duration::ZERO), 4 + body.len())
        }
        ["RDY", count] => {
            let count = count.parse().ok().filter(|count| *count <= options.max_rdy_count);
            (
                Command::Rdy(
                    count.ok_or_else(|| Fault::new("E_INVALID", "RDY count out of range"))?,
                ),
                0,
            )
        }
        ["FIN", message] => (Command::Fin(id(message)?), 0),
        ["REQ", message, pause] => {
            (Command::Req(id(message)?, millis(pause, options.max_req_timeout)?), 0)
        }
        ["TOUCH", message] => (Command::Touch(id(message)?), 0),
        ["CLS"] => (Command::Cls, 0),
        ["NOP"] => (Command::Nop, 0),
        _ => return Err(Fault::new("E_INVALID", format!("invalid command {line}"))),
    };
    buffer.drain(..end + 1 + used);
    Ok(Some(command))
}

fn check(name: &str, code: &'static str) -> Taken<()> {
    let bare = name.strip_suffix("#ephemeral").unwrap_or(name);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.len() > 64 || bare.is_empty() || !bare.chars().all(plain) {
        return Err(Fault::new(code, format!("{name:?} is not valid")));
    }
    Ok(())
}

fn number(bytes: &[u8]) -> Option<usize> {
    let number = i32::from_be_bytes(*bytes.first_chunk()?);
    // A negative size is none.
    Some(usize::try_from(number).unwrap_or(usize::MAX))
}

fn sized<'a>(bytes: &'a [u8], most: usize, code: &'static str) -> Taken<Option<&'a [u8]>> {
    let Some(size) = number(bytes) else { return Ok(None) };
    if size == 0 || size > most {
        return Err(Fault::new(code, format!("{size} bytes, {most} are allowed")));
    }
    Ok(bytes.get(4..4 + size))
}

fn several(body: &[u8], most: usize) -> Taken<Vec<Vec<u8>>> {
    let count = number(body).ok_or_else(|| Fault::new("E_BAD_BODY", "no number of messages"))?;
    if count == 0 || count > body.len() / 5 {
        return Err(Fault::new("E_BAD_BODY", format!("{count} messages")));
    }
    let (mut rest, mut bodies) = (&body[4..], Vec::new());
    for _ in 0..count {
        let body = sized(rest, most, "E_BAD_MESSAGE")?;
        let body = body.ok_or_else(|| Fault::new("E_BAD_MESSAGE", "it is cut short"))?;
        rest = &rest[4 + body.len()..];
        bodies.push(body.to_vec());
    }
    if !rest.is_empty() {
        return Err(Fault::new("E_BAD_BODY", "more than its messages"));
    }
    Ok(bodies)
}

fn id(text: &str) -> Taken<Id> {
    text.as_bytes().try_into().map_err(|_| Fault::new("E_INVALID", "invalid message ID"))
}

fn millis(text: &str, most: Duration) -> Taken<Duration> {
    let millis = text.parse().ok().map(Duration::from_millis).filter(|pause| *pause <= most);
    millis.ok_or_else(|| Fault::new("E_INVALID", format!("timeout {text} out of range")))
}
