//! What a certificate says, read once it is known to be of the authority.

use std::time::Duration;

use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::Oid;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::transport::tls::name::{NAME_BYTES_MAX, Name};

/// Where a certificate says what its service may do: an extension of this crate's own, under the
/// arc of UUIDs. Its value is one `UTF8String`, the scopes joined by line feeds.
pub const SCOPES_OID: &[u64] = &[2, 25, 311_874_016_534_902_277];

/// The tag of a `UTF8String`.
const UTF8_TAG: u8 = 0x0c;

/// A certificate as this crate reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) name: Name,
    pub(super) scopes: Vec<String>,
    /// Since 1970, as the next one.
    pub(super) not_before: Duration,
    pub(super) not_after: Duration,
}

/// Reads a certificate.
///
/// # Errors
/// What it lacks, for the log.
pub(super) fn facts(der: &[u8]) -> Result<Facts, &'static str> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_unreadable| "the certificate is unreadable")?;
    if !rest.is_empty() {
        return Err("the certificate is followed by something else");
    }
    let names = certificate
        .subject_alternative_name()
        .map_err(|_several| "the names of the certificate are unreadable")?
        .ok_or("the certificate has no name")?;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let name = match (uris.next(), uris.next()) {
        (Some(uri), None) => Name::parse(uri).ok_or("the certificate has another kind of name")?,
        (None, _) => return Err("the certificate has no name"),
        (Some(_), Some(_)) => return Err("the certificate has several names"),
    };
    let oid = Oid::from(SCOPES_OID).map_err(|_never| "the extension has no id")?;
    let extension = certificate
        .get_extension_unique(&oid)
        .map_err(|_several| "the scopes of the certificate stand there twice")?;
    let scopes = match extension {
        Some(extension) => scopes(extension.value).ok_or("the scopes are unreadable")?,
        None => Vec::new(),
    };
    let (not_before, not_after) = times(&certificate);
    Ok(Facts { name, scopes, not_before, not_after })
}

/// A certificate as any authority makes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plain {
    /// Its first URI, else its first name of a host, else the common name of its subject.
    pub(super) name: String,
    /// The subject of its issuer.
    pub(super) issuer: String,
    /// From when until when it is good, since 1970.
    pub(super) times: (Duration, Duration),
}

/// Reads a certificate of any authority.
///
/// # Errors
/// What it lacks, for the log.
pub(super) fn plain(der: &[u8]) -> Result<Plain, &'static str> {
    let certificate = parsed(der)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|_several| "the names of the certificate are unreadable")?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let uri = names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let host = names.iter().find_map(|name| match name {
        GeneralName::DNSName(host) => Some(*host),
        _ => None,
    });
    let common = certificate.subject().iter_common_name().find_map(|name| name.as_str().ok());
    let name = uri.or(host).or(common).filter(|name| is_name(name));
    let name = name.ok_or("the certificate has no name that an account could have")?.to_owned();
    Ok(Plain { name, issuer: certificate.issuer().to_string(), times: times(&certificate) })
}

/// Tells whether a name can be that of an account.
fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX * 4).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// Reads from when until when a certificate is good, since 1970.
///
/// # Errors
/// What is wrong with it, for the log.
pub(super) fn validity(der: &[u8]) -> Result<(Duration, Duration), &'static str> {
    parsed(der).map(|certificate| times(&certificate))
}

fn parsed(der: &[u8]) -> Result<X509Certificate<'_>, &'static str> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_unreadable| "has an unreadable certificate")?;
    if !rest.is_empty() {
        return Err("has a certificate that is followed by something else");
    }
    Ok(certificate)
}

fn times(certificate: &X509Certificate<'_>) -> (Duration, Duration) {
    let since = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let validity = certificate.validity();
    (since(validity.not_before.timestamp()), since(validity.not_after.timestamp()))
}

/// Writes scopes as the value of the extension [`SCOPES_OID`]; the caller bounds them.
pub fn scopes_value(scopes: &[String]) -> Vec<u8> {
    let text = scopes.join("\n");
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut value = vec![UTF8_TAG];
    match (text.len(), length) {
        (..=0x7f, [.., last]) => value.push(last),
        (_, [a, b, c, d]) => value.extend([0x84, a, b, c, d]),
    }
    value.extend_from_slice(text.as_bytes());
    value
}

fn scopes(value: &[u8]) -> Option<Vec<String>> {
    let (&[tag, first], rest) = value.split_first_chunk::<2>()?;
    let (length, text) = match first {
        ..=0x7f => (usize::from(first), rest),
        0x84 => {
            let (length, text) = rest.split_first_chunk::<4>()?;
            (usize::try_from(u32::from_be_bytes(*length)).ok()?, text)
        }
        _ => return None,
    };
    if tag != UTF8_TAG || text.len() != length {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    Some(text.split('\n').filter(|scope| !scope.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_as_they_were_written() {
        let long = "x".repeat(200);
        for list in [vec![], vec!["a".to_owned()], vec!["orders:read".to_owned(), long]] {
            assert_eq!(scopes(&scopes_value(&list)), Some(list));
        }
        for value in [&b""[..], b"\x0c", b"\x0c\x02a", b"\x04\x01a", b"\x0c\x01\xff", b"\x0c\x84\0"]
        {
            assert_eq!(scopes(value), None, "{value:?}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        for der in [&b""[..], b"\x30", b"\x30\x03\x02\x01\x01", &[0xff; 64]] {
            assert!(facts(der).is_err());
        }
    }
}
