//! How a broker on MQTT is known to its server.

use std::time::Duration;

use crate::config::parse_duration;
use crate::core::error::{Error, Result};
use crate::driver::ServerUrl;

use super::names;

/// The most bytes of the name of a client.
const CLIENT_BYTES_MAX: usize = 64;

/// How long the server keeps the session of a subscription whose connection is lost: long enough to
/// connect again, and short enough that what it keeps for a process that crashed is little.
const EXPIRY: Duration = Duration::from_secs(30);

/// How long it keeps that of a process which says that it comes back.
const EXPIRY_NAMED: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest that is not for ever.
const EXPIRY_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How a broker on MQTT is known to its server.
///
/// ```
/// use std::time::Duration;
///
/// use micro::broker::MqttOptions;
///
/// let options = MqttOptions::default().with_client("mailer-1").with_expiry(Duration::from_secs(600));
/// assert_eq!(options.client.as_deref(), Some("mailer-1"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MqttOptions {
    /// The name of this process, the same after it was restarted: the sessions of its subscriptions
    /// are then taken up where they were. No two processes may have the same at a time. 1 to 64
    /// letters, digits, `-`, `_` and `.`; none by default.
    pub client: Option<String>,
    /// How long the server keeps the session of a subscription that is not connected: 30 seconds,
    /// or a day with a [client](Self::client). A second to a year.
    pub expiry: Option<Duration>,
}

impl MqttOptions {
    /// Takes `client` and `expiry` out of a URL.
    ///
    /// # Errors
    /// 412 that names an option with a wrong value.
    pub fn take(url: &mut ServerUrl) -> Result<Self> {
        let mut options = Self { client: url.take("client"), expiry: None };
        if let Some(expiry) = url.take("expiry") {
            let wrong = |why| refused(&format!("the option `expiry` of `mqtt`: {why}"));
            options.expiry = Some(parse_duration(&expiry).map_err(wrong)?);
        }
        options.check()?;
        Ok(options)
    }

    /// Names this process.
    #[must_use]
    pub fn with_client(mut self, client: impl Into<String>) -> Self {
        self.client = Some(client.into());
        self
    }

    /// Says how long the server keeps the session of a subscription that is not connected.
    #[must_use]
    pub fn with_expiry(mut self, expiry: Duration) -> Self {
        self.expiry = Some(expiry);
        self
    }

    /// Checks every value.
    pub(super) fn check(&self) -> Result<()> {
        let is_name = |name: &String| {
            (1..=CLIENT_BYTES_MAX).contains(&name.len()) && names::word(name) == *name
        };
        if self.client.as_ref().is_some_and(|name| !is_name(name)) {
            let text =
                "the option `client` of `mqtt` has 1 to 64 letters, digits, `-`, `_` and `.`";
            return Err(refused(text));
        }
        if self.expiry.is_some_and(|expiry| expiry.as_secs() == 0 || expiry > EXPIRY_MAX) {
            return Err(refused("the option `expiry` of `mqtt` is a second to a year"));
        }
        Ok(())
    }

    /// Returns the seconds that a session is kept.
    pub(super) fn expiry_secs(&self) -> u32 {
        let usual = if self.client.is_some() { EXPIRY_NAMED } else { EXPIRY };
        u32::try_from(self.expiry.unwrap_or(usual).as_secs()).unwrap_or(u32::MAX)
    }
}

fn refused(text: &str) -> Error {
    Error::precondition_failed(super::ERROR_ID, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(query: &str) -> Result<MqttOptions> {
        let mut url = ServerUrl::parse(&format!("mqtt://h?{query}"), 1883)?;
        let options = MqttOptions::take(&mut url)?;
        url.finish_without_path("broker").map(|()| options)
    }

    #[test]
    fn a_url_says_who_the_client_is_and_how_long_its_session_lives() {
        assert_eq!(taken("").unwrap().expiry_secs(), 30);
        let named = taken("client=mailer-1.a").unwrap();
        assert_eq!((named.client.as_deref(), named.expiry_secs()), (Some("mailer-1.a"), 86_400));
        assert_eq!(taken("expiry=5m").unwrap().expiry_secs(), 300);
        assert_eq!(taken(&format!("client={}", "x".repeat(64))).unwrap().client.unwrap().len(), 64);
    }

    #[test]
    fn what_is_wrong_is_refused_by_name() {
        let long = format!("client={}", "x".repeat(65));
        let longest = format!("client={}", "x".repeat(640));
        for (query, part) in [
            ("client=", "`client`"),
            ("client=a%2Fb", "`client`"),
            (&long, "`client`"),
            (&longest, "`client`"),
            ("expiry=0s", "`expiry`"),
            ("expiry=soon", "`expiry`"),
            ("expiry=8761h", "`expiry`"),
            ("clean=true", "`clean`"),
        ] {
            let error = taken(query).unwrap_err();
            assert_eq!(error.code(), 412);
            assert!(error.detail().contains(part), "{error}");
        }
    }
}
