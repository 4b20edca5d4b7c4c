//! How a backend is named: `local`, `file:///etc/nodes.json`, `etcd://10.0.0.1:2379?ttl=5s`.

use std::fmt;

use crate::core::error::{Error, Result};
use crate::core::nearest::nearest;
use crate::driver::ServerUrl;

/// A backend's name with its address and options.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) scheme: String,
    /// What follows `://`, without the options.
    pub(crate) rest: String,
    options: Vec<(String, String)>,
}

/// A backend that there is, or would be with a feature.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backend {
    pub(crate) scheme: &'static str,
    /// The feature that it needs and that is not enabled.
    pub(crate) missing: Option<&'static str>,
}

impl Backend {
    pub(crate) const fn built_in(scheme: &'static str) -> Self {
        Self { scheme, missing: None }
    }

    pub(crate) const fn behind(scheme: &'static str, feature: &'static str, enabled: bool) -> Self {
        Self { scheme, missing: if enabled { None } else { Some(feature) } }
    }
}

/// Shows the backend and nothing of its address, which may hold a password.
impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Url").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

impl Url {
    /// Reads a URL or the bare name of a backend.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (base, options) = match text.split_once('?') {
            Some((base, options)) => (base, options),
            None => (text, ""),
        };
        let (scheme, rest) = match base.split_once(':') {
            Some((scheme, rest)) => (scheme, rest.strip_prefix("//").unwrap_or(rest)),
            None => (base, ""),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+');
        if scheme.is_empty() || !scheme.chars().all(plain) {
            // The text may hold a password.
            let detail = "a backend is a name such as `local` or a URL such as `file://PATH`";
            return Err(Error::precondition_failed("micro.open", detail));
        }
        let option = |text: &str| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            (key.to_owned(), value.to_owned())
        };
        let options = options.split('&').filter(|text| !text.is_empty()).map(option).collect();
        Ok(Self { scheme: scheme.to_ascii_lowercase(), rest: rest.to_owned(), options })
    }

    /// Joins a backend's name and an address given apart from it.
    pub(crate) fn join(component: &str, url: &str, address: Option<&str>) -> Result<Self> {
        let mut url = Self::parse(url)?;
        match address {
            None => {}
            Some(address) if url.rest.is_empty() => address.clone_into(&mut url.rest),
            Some(_) => {
                let detail = format!(
                    "`micro.{component}` is a URL with an address, and \
                     `micro.{component}_address` gives another"
                );
                return Err(Error::precondition_failed("micro.open", detail));
            }
        }
        Ok(url)
    }

    /// Takes an option out of the URL, if it is there.
    #[cfg_attr(
        not(all(feature = "jwt", feature = "server")),
        expect(dead_code, reason = "the backends that have options are features")
    )]
    pub(crate) fn take(&mut self, option: &str) -> Option<String> {
        let at = self.options.iter().position(|(name, _)| name == option)?;
        Some(self.options.swap_remove(at).1)
    }

    /// Reads the URL as that of a server, whose backend checks the options.
    #[allow(dead_code, reason = "the backends that have servers are features")]
    pub(crate) fn server(&self, port: u16) -> Result<ServerUrl> {
        let option = |(name, value): &(String, String)| format!("{name}={value}");
        let options: Vec<_> = self.options.iter().map(option).collect();
        ServerUrl::parse(&format!("{}://{}?{}", self.scheme, self.rest, options.join("&")), port)
    }

    /// Checks that the backend exists and is compiled in, and that nothing is left unread.
    pub(crate) fn check(&self, component: &str, backends: &[Backend]) -> Result<()> {
        self.offered(component, backends)?;
        self.finish(component)
    }

    /// Checks that the backend exists and is compiled in.
    pub(crate) fn offered(&self, component: &str, backends: &[Backend]) -> Result<()> {
        let Some(backend) = backends.iter().find(|backend| backend.scheme == self.scheme) else {
            return Err(self.unknown(component, backends));
        };
        if let Some(feature) = backend.missing {
            let detail = format!(
                "the {component} `{}` is not compiled in: enable the feature `{feature}` of micro",
                self.scheme
            );
            return Err(Error::precondition_failed("micro.open", detail));
        }
        Ok(())
    }

    fn finish(&self, component: &str) -> Result<()> {
        if let Some((option, _)) = self.options.first() {
            let detail = match option.contains('@') {
                // The rest of a password, perhaps.
                true => format!("the {component} `{}` has an `@` in an option", self.scheme),
                false => {
                    let option = option.escape_debug();
                    format!("the {component} `{}` has no option `{option}`", self.scheme)
                }
            };
            return Err(Error::precondition_failed("micro.open", detail));
        }
        Ok(())
    }

    fn unknown(&self, component: &str, backends: &[Backend]) -> Error {
        let names: Vec<_> = backends.iter().map(|backend| backend.scheme).collect();
        let hint = nearest(&self.scheme, names.iter().copied())
            .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
        let there = names.join(", ");
        let detail = format!("no {component} `{}`{hint} (there are {there})", self.scheme);
        Error::precondition_failed("micro.open", detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKENDS: [Backend; 3] = [
        Backend::built_in("local"),
        Backend::built_in("file"),
        Backend::behind("mdns", "mdns", false),
    ];

    #[test]
    fn names_and_urls_are_read() {
        for (text, scheme, rest) in [
            ("local", "local", ""),
            ("file:///etc/a.json", "file", "/etc/a.json"),
            ("file:a.json", "file", "a.json"),
            ("ETCD://h:1?ttl=5s", "etcd", "h:1"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.scheme.as_str(), url.rest.as_str()), (scheme, rest));
        }
    }

    #[test]
    fn what_cannot_be_opened_says_what_to_do() {
        for (text, part) in [
            ("loacl", "did you mean `local`?"),
            ("zookeeper://x", "there are local, file, mdns"),
            ("mdns", "enable the feature `mdns`"),
            ("local?x=1", "no option `x`"),
        ] {
            let error = Url::parse(text).unwrap().check("registry", &BACKENDS).unwrap_err();
            assert!(error.detail().contains(part), "{error}");
        }
        assert!(Url::parse("://user:hunter2@h").unwrap_err().detail().contains("a backend is"));
        for text in ["etcd://u:hunter2@h?token=hunter2", "local://u:12?hunter2@h"] {
            let url = Url::parse(text).unwrap();
            let error = url.check("registry", &BACKENDS).unwrap_err();
            assert!(!format!("{url:?} {error}").contains("hunter2"), "{url:?} {error}");
        }
    }

    #[test]
    fn an_address_is_given_once() {
        let url = Url::join("registry", "etcd", Some("h:1")).unwrap();
        assert_eq!(url.rest, "h:1");
        let error = Url::join("registry", "etcd://h:1", Some("h:2")).unwrap_err();
        assert!(error.detail().contains("`micro.registry_address`"), "{error}");
    }
}
