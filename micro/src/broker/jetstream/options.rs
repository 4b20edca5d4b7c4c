//! What the streams of a broker are made with.

use std::time::Duration;

use crate::config::parse_duration;
use crate::core::error::{Error, Result};
use crate::driver::ServerUrl;

/// The most bytes of a stream's name: dead letters add to it, and subjects begin with it.
const NAME_BYTES_MAX: usize = 64;

/// What the streams are made with where they are not there yet; a stream that is there stays as it
/// is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JetStreamOptions {
    /// The stream of the events, `micro-events`; dead letters go to the stream of this name with
    /// `-dead`. Brokers with the same streams reach each other. 1 to 64 letters, digits, `-` and
    /// `_`.
    pub stream: String,
    /// Servers that hold a copy: 1.
    pub replicas: usize,
    /// Bytes of either stream: 1 GiB. More events are a 429 to their publisher; the oldest dead
    /// letters give way.
    pub bytes_max: u64,
    /// Age at which a message is gone although a group has not handled it, and a dead letter
    /// although nobody has read it: 7 days.
    pub age_max: Duration,
}

impl Default for JetStreamOptions {
    fn default() -> Self {
        Self {
            stream: "micro-events".to_owned(),
            replicas: 1,
            bytes_max: 1 << 30,
            age_max: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

impl JetStreamOptions {
    /// Takes `stream`, `replicas`, `bytes_max` and `age_max` out of a URL.
    ///
    /// # Errors
    /// 412 that names an option with a wrong value.
    pub fn take(url: &mut ServerUrl) -> Result<Self> {
        let mut options = Self::default();
        if let Some(stream) = url.take("stream") {
            options.stream = stream;
        }
        if let Some(replicas) = url.take_as("replicas")? {
            options.replicas = replicas;
        }
        if let Some(bytes) = url.take_as("bytes_max")? {
            options.bytes_max = bytes;
        }
        if let Some(age) = url.take("age_max") {
            let wrong = |why| refused(&format!("the option `age_max` of `jetstream`: {why}"));
            options.age_max = parse_duration(&age).map_err(wrong)?;
        }
        options.check()?;
        Ok(options)
    }

    /// Checks the values.
    pub(super) fn check(&self) -> Result<()> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let name = &self.stream;
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
            return Err(refused("a stream has a name of 1 to 64 letters, digits, `-` and `_`"));
        }
        if !(1..=5).contains(&self.replicas) {
            return Err(refused("a stream has 1 to 5 replicas"));
        }
        if i64::try_from(self.bytes_max).is_err() || self.bytes_max == 0 {
            return Err(refused("the bytes of a stream are a number from 1 to 2^63 - 1"));
        }
        Ok(())
    }
}

fn refused(detail: &str) -> Error {
    Error::precondition_failed("micro.broker", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(options: &str) -> Result<JetStreamOptions> {
        let mut url = ServerUrl::parse(&format!("jetstream://h?{options}"), 1)?;
        let options = JetStreamOptions::take(&mut url)?;
        url.finish_without_path("broker")?;
        Ok(options)
    }

    #[test]
    fn options_are_read_and_checked() {
        assert_eq!(take("").unwrap(), JetStreamOptions::default());
        let read = take("stream=shop&replicas=3&bytes_max=7&age_max=2h").unwrap();
        assert_eq!((read.stream.as_str(), read.replicas, read.bytes_max), ("shop", 3, 7));
        assert_eq!(read.age_max, Duration::from_secs(7200));
        let long = format!("stream={}", "x".repeat(65));
        for wrong in ["stream=a.b", "stream=", &long, "replicas=0", "replicas=6", "bytes_max=0"] {
            assert_eq!(take(wrong).unwrap_err().code(), 412, "{wrong}");
        }
        for wrong in ["bytes_max=x", "age_max=x", "bytes=1"] {
            assert_eq!(take(wrong).unwrap_err().code(), 412, "{wrong}");
        }
        assert!(take(&format!("stream={}", "x".repeat(64))).is_ok());
    }
}
