//! Where a server is and who asks: `nats://ada:secret@10.0.0.1:4222,10.0.0.2/place?option=1`.

use std::fmt;

use crate::core::error::{Error, Result};
use crate::core::secret::{Secret, without_passwords};

/// Hosts of one server, at most: members of a cluster that a client tries in turn.
pub const HOSTS_MAX: usize = 16;

const ERROR_ID: &str = "micro.driver";

/// A server, or the members of a cluster, and as whom they are asked.
#[derive(Clone)]
pub struct Server {
    hosts: Vec<(String, u16)>,
    user: Option<(String, Secret<String>)>,
}

impl Server {
    /// Makes a server of one host.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { hosts: vec![(host.into(), port)], user: None }
    }

    /// Says as whom it is asked.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some((user.into(), Secret::new(password.into())));
        self
    }

    /// Returns the hosts and ports, at least one; an IPv6 address is without its brackets.
    pub fn hosts(&self) -> &[(String, u16)] {
        &self.hosts
    }

    /// Returns the addresses as `host:port`, an IPv6 address in brackets.
    pub fn addresses(&self) -> impl Iterator<Item = String> + '_ {
        self.hosts.iter().map(|(host, port)| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        })
    }

    /// Returns the name of the user, if one was given.
    pub fn user(&self) -> Option<&str> {
        self.user.as_ref().map(|(user, _)| user.as_str())
    }

    /// Returns the password; empty where only a user was given.
    pub fn password(&self) -> Option<&Secret<String>> {
        self.user.as_ref().map(|(_, password)| password)
    }
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        let secret = |server: &Self| server.password().map(|password| password.expose().clone());
        (&self.hosts, self.user(), secret(self)) == (&other.hosts, other.user(), secret(other))
    }
}

impl Eq for Server {}

/// Shows the hosts and never the user.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, address) in self.addresses().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{address}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({self})")
    }
}

/// The URL of a server: what is asked, a path within it, and options.
///
/// User, password, path and options may be percent-encoded (RFC 3986). Several hosts are separated
/// by commas; one without a port has the vendor's usual one, and no host is `127.0.0.1`.
///
/// ```
/// use micro::driver::ServerUrl;
///
/// let mut url = ServerUrl::parse("nats://ada:s%40cret@10.0.0.1,[::1]:5/shop?bucket=b", 4222)?;
/// assert_eq!(url.server().to_string(), "10.0.0.1:4222,[::1]:5");
/// assert_eq!(url.server().password().map(|p| p.expose().as_str()), Some("s@cret"));
/// assert_eq!(url.path(), "shop");
/// assert_eq!(url.take("bucket").as_deref(), Some("b"));
/// url.finish("store")?; // Nothing is left unread.
/// # Ok::<(), micro::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ServerUrl {
    scheme: String,
    server: Server,
    path: String,
    options: Vec<(String, Secret<String>)>,
}

impl ServerUrl {
    /// Reads a URL, or the bare name of a backend.
    ///
    /// # Errors
    /// 412 that says what is wrong and holds no part of a password.
    pub fn parse(text: &str, port: u16) -> Result<Self> {
        let (base, options) = text.split_once('?').unwrap_or((text, ""));
        let (scheme, rest) = match base.split_once(':') {
            Some((scheme, rest)) => (scheme, rest.strip_prefix("//").unwrap_or(rest)),
            None => (base, ""),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, authority),
        };
        let wrong = |why: &str| invalid(scheme, why);
        let listed: Vec<_> = hosts.split(',').collect();
        if listed.len() > HOSTS_MAX {
            return Err(wrong(&format!("has more than {HOSTS_MAX} hosts")));
        }
        let hosts = listed.into_iter().map(|host| read_host(host, port).map_err(|why| wrong(&why)));
        let hosts = hosts.collect::<Result<_>>()?;
        let decoded =
            |text: &str| decode(text).ok_or_else(|| wrong("has a `%` that encodes no text"));
        let user = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
            Some((user, password)) => Some((decoded(user)?, Secret::new(decoded(password)?))),
            None => None,
        };
        let mut read = Vec::new();
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            read.push((decoded(name)?, Secret::new(decoded(value)?)));
        }
        let server = Server { hosts, user };
        let scheme = scheme.to_ascii_lowercase();
        Ok(Self { scheme, server, path: decoded(path)?, options: read })
    }

    /// Returns what names the backend.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Returns what is connected to.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Returns the path, without the slash that it begins with.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Takes an option out of the URL, if it is there.
    pub fn take(&mut self, option: &str) -> Option<String> {
        let at = self.options.iter().position(|(name, _)| name == option)?;
        Some(self.options.swap_remove(at).1.into_exposed())
    }

    /// Takes an option that is a value of type `T`, such as a number.
    ///
    /// # Errors
    /// 412 that names the option.
    pub fn take_as<T: std::str::FromStr>(&mut self, option: &str) -> Result<Option<T>> {
        let Some(text) = self.take(option) else { return Ok(None) };
        let Ok(value) = text.parse() else {
            let value = without_passwords(&text);
            let value = value.escape_debug();
            let why = format!("has the option `{option}` with a wrong value: `{value}`");
            return Err(invalid(&self.scheme, &why));
        };
        Ok(Some(value))
    }

    /// Checks that nothing is left unread.
    ///
    /// # Errors
    /// 412 that names the component and an option that it does not have.
    pub fn finish(&self, component: &str) -> Result<()> {
        let Some((option, _)) = self.options.first() else { return Ok(()) };
        let detail = match option.contains('@') {
            // The rest of a password, perhaps.
            true => format!(
                "the {component} `{}` has an `@` in an option: a `?` in a password is `%3F`",
                self.scheme
            ),
            false => {
                let option = option.escape_debug();
                format!("the {component} `{}` has no option `{option}`", self.scheme)
            }
        };
        Err(Error::precondition_failed(ERROR_ID, detail))
    }

    /// Checks that there is no path.
    ///
    /// # Errors
    /// 412 that names the component.
    pub fn finish_without_path(&self, component: &str) -> Result<()> {
        if self.path.is_empty() {
            return self.finish(component);
        }
        let detail = format!("the {component} `{}` takes no path", self.scheme);
        Err(Error::precondition_failed(ERROR_ID, detail))
    }
}

fn invalid(scheme: &str, why: &str) -> Error {
    Error::precondition_failed(ERROR_ID, format!("the URL of `{}` {why}", scheme.escape_debug()))
}

fn read_host(text: &str, port: u16) -> std::result::Result<(String, u16), String> {
    let (host, written) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((host, after)) => (host, after.strip_prefix(':')),
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if !host.chars().all(plain) {
        return Err("has a host that is neither a name nor an address".to_owned());
    }
    let port = match written.map(str::parse) {
        Some(Ok(port)) => port,
        Some(Err(_)) => return Err("has a port that is no number below 65536".to_owned()),
        None => port,
    };
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok((host.to_owned(), port))
}

/// Undoes percent-encoding; `None` where it encodes no UTF-8.
fn decode(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_whole() {
        for (text, hosts, user, path) in [
            ("nats", "127.0.0.1:4222", None, ""),
            ("nats://", "127.0.0.1:4222", None, ""),
            ("NATS://h", "h:4222", None, ""),
            ("nats://h:1,g", "h:1,g:4222", None, ""),
            ("nats://[2001:db8::1]", "[2001:db8::1]:4222", None, ""),
            ("nats://ada@h/a%2Fb", "h:4222", Some(("ada", "")), "a/b"),
            ("nats://a%3Ada:p%C3%A4%40@h/", "h:4222", Some(("a:da", "p\u{e4}@")), ""),
        ] {
            let url = ServerUrl::parse(text, 4222).unwrap();
            assert_eq!((url.scheme(), url.server().to_string()), ("nats", hosts.to_owned()));
            let server = url.server();
            let read = server.user().zip(server.password().map(|p| p.expose().as_str()));
            assert_eq!((read, url.path()), (user, path), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        let many = format!("nats://{}", vec!["h"; HOSTS_MAX + 1].join(","));
        for (text, part) in [
            ("nats://u:hunter2@h:99999", "port"),
            ("nats://u:hunter2@h h", "host"),
            ("nats://u:hunter2%@h", "`%`"),
            ("nats://u:hunter2%ff@h", "`%`"),
            ("nats://u:hunter2%+1@h", "`%`"),
            (&many, "more than 16 hosts"),
        ] {
            let error = ServerUrl::parse(text, 4222).unwrap_err();
            assert!(error.detail().contains(part), "{error}");
            assert!(!error.detail().contains("hunter2"), "{error}");
            assert_eq!(error.code(), 412);
        }
        let most = format!("nats://{}", vec!["h"; HOSTS_MAX].join(","));
        assert!(ServerUrl::parse(&most, 1).is_ok());
    }

    #[test]
    fn options_are_taken_and_none_is_left() {
        let mut url = ServerUrl::parse("nats://h?n=7&t=x&secret=hunter2", 1).unwrap();
        assert!(!format!("{url:?}").contains("hunter2"));
        assert_eq!(url.take_as::<u8>("n").unwrap(), Some(7));
        assert_eq!(url.take_as::<u8>("n").unwrap(), None);
        assert!(url.take_as::<u8>("t").unwrap_err().detail().contains("`t`"));
        let error = url.finish("store").unwrap_err();
        assert_eq!(error.detail(), "the store `nats` has no option `secret`");
        assert!(url.take("secret").is_some());
        url.finish("store").unwrap();
        let url = ServerUrl::parse("nats://u:12?hunter2@h", 1).unwrap();
        let error = url.finish("store").unwrap_err();
        assert!(error.detail().contains("`%3F`"), "{error}");
        assert!(!error.detail().contains("hunter2"), "{error}");
    }

    #[test]
    fn a_path_that_nobody_asked_for_is_refused() {
        let url = ServerUrl::parse("nats://h/shop", 1).unwrap();
        let error = url.finish_without_path("broker").unwrap_err();
        assert_eq!(error.detail(), "the broker `nats` takes no path");
    }
}
