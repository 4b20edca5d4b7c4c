//! Where a node listens.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::core::error::Error;

/// An address as it stands in a registry record or on the command line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// `host:port`, optionally with `tcp://`.
    Tcp(String),
    /// `unix:/path`.
    Unix(PathBuf),
    /// `memory:name`, within one process.
    Memory(String),
    /// `scheme://rest` or `scheme+unix:/path`: what only the transport of that scheme can read.
    Scheme {
        /// Such as `grpc`, in lower case.
        scheme: String,
        /// What the transport is given, such as `host:port` or `unix:/path`.
        rest: String,
    },
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(path) = behind(text, "unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            // `unix:////run/a` names the same file as `unix:///run/a`, which is how it is written.
            let path = match path.strip_prefix('/') {
                Some(below) => format!("/{}", below.trim_start_matches('/')),
                None => path.to_owned(),
            };
            return if path.is_empty() { Err(invalid(text)) } else { Ok(Self::Unix(path.into())) };
        }
        if let Some(name) = behind(text, "memory:") {
            return Ok(Self::Memory(name.to_owned()));
        }
        if let Some((scheme, rest)) = schemed(text) {
            return if rest.is_empty() || rest == "unix:" {
                Err(invalid(text))
            } else {
                Ok(Self::Scheme { scheme: scheme.to_ascii_lowercase(), rest: rest.to_owned() })
            };
        }
        let host = behind(text, "tcp://").unwrap_or(text);
        // go-micro writes ":8080" for all interfaces; the rest of the world expects a host.
        let host = if host.starts_with(':') { format!("0.0.0.0{host}") } else { host.to_owned() };
        match host.rsplit_once(':') {
            Some((name, port)) if is_host(name) && port.parse::<u16>().is_ok() => {
                Ok(Self::Tcp(host))
            }
            _ => Err(invalid(text)),
        }
    }
}

/// What follows the prefix, whose letters may be of either case.
fn behind<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Splits a text into its scheme and what is behind it, if it has a scheme of a transport.
fn schemed(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|b| !b.is_ascii_alphanumeric() && b != b'-')?;
    let (scheme, tail) = text.split_at_checked(end)?;
    if scheme.is_empty() || scheme.eq_ignore_ascii_case("tcp") {
        return None;
    }
    match tail.strip_prefix("://") {
        Some(rest) => Some((scheme, rest.trim_end_matches('/'))),
        None => tail
            .strip_prefix('+')
            .filter(|rest| rest.starts_with("unix:"))
            .map(|rest| (scheme, rest)),
    }
}

/// Whether the text can be the name of a host, or is an IP address; one of IPv6 stands in brackets.
fn is_host(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(ip) => ip.split('%').next().is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok()),
        None => {
            !name.is_empty()
                && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_'))
        }
    }
}

fn invalid(text: &str) -> Error {
    let text = text.escape_debug();
    Error::bad_request(
        "micro.net",
        format!("`{text}` is not an address; write host:port, unix:/path or scheme://host:port"),
    )
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A host may bear the name of a scheme.
            Self::Tcp(host) if behind(host, "unix:").or(behind(host, "memory:")).is_some() => {
                write!(f, "tcp://{host}")
            }
            Self::Tcp(host) => f.write_str(host),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Memory(name) => write!(f, "memory:{name}"),
            Self::Scheme { scheme, rest } if rest.starts_with("unix:") => {
                write!(f, "{scheme}+{rest}")
            }
            Self::Scheme { scheme, rest } => write!(f, "{scheme}://{rest}"),
        }
    }
}

impl Address {
    /// Returns whether only this machine can reach the address.
    ///
    /// Host names count as reachable from elsewhere, `localhost` excepted, and so does what a
    /// scheme alone explains.
    pub fn is_local(&self) -> bool {
        let host = match self {
            Self::Tcp(host) => host,
            Self::Unix(_) | Self::Memory(_) => return true,
            Self::Scheme { rest, .. } => {
                return rest.parse::<Self>().is_ok_and(|address| address.is_local());
            }
        };
        let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
        let name = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_survives_a_round_trip() {
        for text in [
            "127.0.0.1:8080",
            "[::1]:80",
            "unix:/run/micro.sock",
            "memory:a",
            "grpc://127.0.0.1:50051",
            "http+unix:/run/micro.sock",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("tcp://a:80".parse::<Address>().unwrap().to_string(), "a:80");
        assert_eq!("HTTP://a:80/".parse::<Address>().unwrap().to_string(), "http://a:80");
        assert_eq!(":80".parse::<Address>().unwrap().to_string(), "0.0.0.0:80");
        assert_eq!("Memory://a".parse::<Address>().unwrap().to_string(), "memory://a");
    }

    #[test]
    fn an_address_that_holds_the_marks_of_another_is_read_back_the_same() {
        for text in [
            "tcp://unix:1",
            "TCP://memory:1",
            "unix:////run/a",
            "UNIX://a",
            "a://unix:b://unix:c",
            "a+unix:b://c",
            "a://b+unix:c",
            "memory://a+unix:b",
        ] {
            let address = text.parse::<Address>().unwrap();
            assert_eq!(address.to_string().parse::<Address>().unwrap(), address, "{text}");
        }
    }

    #[test]
    fn a_bad_address_is_named_in_the_error() {
        for text in [
            "",
            "localhost",
            "host:99999",
            "unix:",
            "grpc://",
            "http+unix:",
            "://a:1",
            "::1:80",
            "[::1:80",
            "a b:80",
            "tcp://a+unix::1",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.detail().contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn only_loopback_unix_and_memory_are_local() {
        for (text, local) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("localhost:1", true),
            ("unix:/a", true),
            ("memory:a", true),
            ("grpc://[::1]:1", true),
            ("http+unix:/a", true),
            ("grpc://10.0.0.1:1", false),
            ("nats://subject", false),
            ("0.0.0.0:1", false),
            ("10.0.0.1:1", false),
            ("example:1", false),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().is_local(), local, "{text}");
        }
    }
}
