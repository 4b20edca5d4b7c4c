//! The names in certificates: `spiffe://domain/namespace/service`.

use std::fmt;

use crate::core::error::Error;
use crate::core::error::Result;
use crate::transport::tls::ERROR_ID;

/// Bytes of one part of a name.
pub const NAME_BYTES_MAX: usize = 128;

/// Who a process is.
///
/// Names are compared exactly. Parts are of lower case letters, digits, `-`, `_` and `.`, so that
/// a name has one form.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Name {
    /// Whom one authority vouches for, such as `shop.example`.
    pub domain: String,
    /// A part of the domain, such as `production`.
    pub namespace: String,
    /// The service, such as `orders`.
    pub service: String,
}

impl Name {
    /// Joins the parts of a name.
    ///
    /// # Errors
    /// 400 when a part is empty, too long, or has other characters than a name has.
    pub fn new(domain: &str, namespace: &str, service: &str) -> Result<Self> {
        for (what, part) in [("domain", domain), ("namespace", namespace), ("service", service)] {
            if !is_part(part) {
                let part = part.escape_debug();
                let detail = format!("`{part}` is no {what}: a-z, 0-9, `-`, `_` and `.` make one");
                return Err(Error::bad_request(ERROR_ID, detail));
            }
        }
        let (domain, namespace) = (domain.to_owned(), namespace.to_owned());
        Ok(Self { domain, namespace, service: service.to_owned() })
    }

    /// Reads a URI; `None` for one that is not exactly of this form.
    pub fn parse(uri: &str) -> Option<Self> {
        let mut parts = uri.strip_prefix("spiffe://")?.split('/');
        let (domain, namespace, service) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        Self::new(domain, namespace, service).ok()
    }

    /// Returns who vouches for the name: its domain.
    pub fn issuer(&self) -> String {
        format!("spiffe://{}", self.domain)
    }

    /// Returns whether both are of one domain and namespace.
    pub fn is_near(&self, other: &Self) -> bool {
        self.domain == other.domain && self.namespace == other.namespace
    }
}

fn is_part(text: &str) -> bool {
    let plain =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(plain)
        && !matches!(text, "." | "..")
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/{}/{}", self.domain, self.namespace, self.service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a17_a_name_has_one_form() {
        let name = Name::parse("spiffe://shop.example/prod/orders").unwrap();
        assert_eq!(name, Name::new("shop.example", "prod", "orders").unwrap());
        assert_eq!(name.to_string(), "spiffe://shop.example/prod/orders");
        for text in [
            "",
            "spiffe://",
            "spiffe://shop.example",
            "spiffe://shop.example/prod",
            "spiffe://shop.example/prod/",
            "spiffe://shop.example//orders",
            "spiffe://shop.example/prod/orders/",
            "spiffe://shop.example/prod/orders/x",
            "spiffe://shop.example/prod/../orders",
            "spiffe://shop.example/../orders",
            "SPIFFE://shop.example/prod/orders",
            "spiffe://Shop.example/prod/orders",
            "spiffe://shop.example:80/prod/orders",
            "spiffe://shop.example/prod/orders?x",
            "spiffe://shop.example/prod/orders#x",
            "spiffe://shop.example/prod/%6frders",
            "spiffe://shop.example/prod/orders\0",
            "https://shop.example/prod/orders",
        ] {
            assert_eq!(Name::parse(text), None, "{text:?}");
        }
    }
}
