//! What commands are given: JSON in arguments, lines on standard input, pairs.

use micro::Streaming;
use micro::core::error::Error;
use micro::core::shutdown::TaskTracker;
use micro::core::stream::Sender;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Stdin};

use crate::failure::{Failure, Outcome};

/// Bytes of one line or of one value on standard input; more is refused.
const INPUT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Messages that are read before they are sent.
const LINES_AHEAD: usize = 16;

/// Reads a message from an argument, or from standard input where the argument is `-`.
pub(crate) async fn message(text: Option<&str>) -> Outcome<Value> {
    match text {
        None => Ok(Value::Object(serde_json::Map::new())),
        Some("-") => json(&String::from_utf8_lossy(&rest().await?), "standard input"),
        Some(text) => json(text, text),
    }
}

/// Reads JSON that a user wrote.
pub(crate) fn json(text: &str, place: &str) -> Outcome<Value> {
    let wrong = |error: serde_json::Error| Failure::usage(not_json(place, &error));
    serde_json::from_str(text).map_err(wrong)
}

fn not_json(place: &str, error: &serde_json::Error) -> String {
    format!("not JSON: {error}, in {place}; text needs quotes, such as '\"Ada\"'")
}

/// Reads all of standard input.
pub(crate) async fn rest() -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut input = limited(tokio::io::stdin());
    loop {
        if input.read_buf(&mut bytes).await? == 0 {
            break;
        }
    }
    if bytes.len() > INPUT_BYTES_MAX {
        return Err(Failure::usage(format!(
            "standard input has more than {INPUT_BYTES_MAX} bytes"
        )));
    }
    Ok(bytes)
}

/// Reads one byte more than is allowed, so that too much is seen.
fn limited(input: Stdin) -> tokio::io::Take<Stdin> {
    input.take(u64::try_from(INPUT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1))
}

/// Returns the lines of standard input as messages; empty lines are none.
pub(crate) fn lines(tasks: &TaskTracker) -> Streaming<Value> {
    let (sender, messages) = Streaming::channel(LINES_AHEAD);
    tasks.spawn("standard input", read(sender)).detach();
    messages
}

async fn read(sender: Sender<Value>) {
    let mut input = BufReader::new(tokio::io::stdin());
    let (mut line, mut number) = (Vec::new(), 0_usize);
    loop {
        line.clear();
        number = number.saturating_add(1);
        let limit = u64::try_from(INPUT_BYTES_MAX).unwrap_or(u64::MAX);
        let read = (&mut input).take(limit).read_until(b'\n', &mut line).await;
        let message = match read {
            Ok(0) => return,
            Ok(_) if line.trim_ascii().is_empty() => continue,
            Ok(_) => serde_json::from_slice(&line).map_err(|error| {
                let place = format!("line {number} of standard input");
                Error::bad_request("micro.cli", not_json(&place, &error))
            }),
            Err(error) => {
                let detail = "standard input cannot be read";
                Err(Error::internal("micro.cli", detail).with_source(error))
            }
        };
        let sent = match message {
            Ok(message) => sender.send(message).await,
            Err(error) => {
                // Whoever waits for the answer gets the error.
                let _told = sender.fail(error).await;
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Reads `KEY=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let pair = pair.map(|(key, value)| (key.to_owned(), value.to_owned()));
    pair.ok_or_else(|| "expected KEY=VALUE".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_is_none_says_where() {
        assert_eq!(json("{\"a\": 1}", "x").unwrap()["a"], 1);
        let Err(Failure::Usage(text)) = json("Ada", "Ada") else { panic!("no usage error") };
        assert!(text.contains("line 1 column 1") && text.contains("'\"Ada\"'"), "{text}");
    }

    #[test]
    fn pairs_need_a_key() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(pair("=b").is_err() && pair("a").is_err());
    }
}
