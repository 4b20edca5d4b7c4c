//! Compressed bodies: what requests may come in, and what responses go out in.
//!
//! With the feature `compression`, bodies in `gzip` and `deflate` (RFC 9110) are read, through a
//! reader that gives out no more than its limits, and responses are compressed for those who ask.
//! Without it a compressed request is a 415.

#[cfg(feature = "compression")]
mod pack;
#[cfg(feature = "compression")]
mod unpack;

use http::header::HeaderValue;

use crate::core::error::{Error, Result};

#[cfg(feature = "compression")]
pub(super) use self::pack::{Packed, Source};
#[cfg(feature = "compression")]
pub(super) use self::unpack::Unpacked;

/// What requests may come in, as `Accept-Encoding` says it.
pub(super) const ACCEPTED: &str =
    if cfg!(feature = "compression") { "gzip, deflate" } else { "identity" };

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    /// What HTTP calls so: a stream of zlib.
    Deflate,
}

impl Coding {
    #[cfg(feature = "compression")]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }
}

/// Reads how a request is compressed; `None` if it is not.
///
/// # Errors
/// 415 for what there is no reader for, and for what was compressed more than once.
#[cold]
pub(super) fn of_request(value: &HeaderValue) -> Result<Option<Coding>> {
    let text = value.to_str().unwrap_or_default().trim().to_ascii_lowercase();
    let known = Coding::named(&text).filter(|_| cfg!(feature = "compression"));
    if known.is_none() && !text.is_empty() && text != "identity" {
        let text = text.escape_debug();
        let detail = format!("bodies compressed as `{text}` are not read here, only {ACCEPTED}");
        return Err(Error::new("micro.server", 415, detail));
    }
    Ok(known)
}

/// Reads how a response may be compressed: what the client likes best of what there is.
pub(super) fn for_response(value: &HeaderValue) -> Option<Coding> {
    if !cfg!(feature = "compression") {
        return None;
    }
    let mut best: Option<(Coding, f32)> = None;
    for item in value.to_str().unwrap_or_default().split(',') {
        let mut parts = item.split(';');
        let name = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let coding = if name == "*" { Some(Coding::Gzip) } else { Coding::named(&name) };
        let weight = parts.find_map(|part| part.trim().strip_prefix("q=")?.trim().parse().ok());
        let (Some(coding), weight) = (coding, weight.unwrap_or(1.0)) else { continue };
        if weight > 0.0 && best.is_none_or(|(_, other)| weight > other) {
            best = Some((coding, weight));
        }
    }
    best.map(|(coding, _)| coding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_reader_is_for_is_a_415() {
        for (text, known) in [("", true), ("identity", true), ("br", false), ("gzip, gzip", false)]
        {
            let read = of_request(&HeaderValue::from_static(text));
            assert_eq!(read.is_ok(), known, "{text}");
            assert!(read.is_ok_and(|coding| coding.is_none()) || !known);
        }
        let gzip = of_request(&HeaderValue::from_static("GZIP"));
        assert_eq!(gzip.is_ok(), cfg!(feature = "compression"));
    }

    #[cfg(feature = "compression")]
    #[test]
    fn the_client_chooses_how_responses_are_compressed() {
        for (text, expected) in [
            ("", None),
            ("br", None),
            ("identity", None),
            ("gzip", Some(Coding::Gzip)),
            ("deflate, gzip", Some(Coding::Deflate)),
            ("deflate;q=0.5, gzip;q=0.8, br", Some(Coding::Gzip)),
            ("gzip;q=0, deflate", Some(Coding::Deflate)),
            ("*", Some(Coding::Gzip)),
            ("*;q=0", None),
        ] {
            assert_eq!(for_response(&HeaderValue::from_static(text)), expected, "{text}");
        }
    }
}
