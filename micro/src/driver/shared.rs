//! One connection for each server.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::error::{Error, Result};
use crate::driver::server_url::Server;

/// The connection to a server, however it is made of sockets.
pub trait Link: Any + fmt::Debug + Send + Sync {
    /// Returns the short name of the vendor, such as `nats`.
    fn vendor(&self) -> &'static str;

    /// Returns whether the server answered last time it was spoken to.
    fn is_up(&self) -> bool;
}

/// A link and where it leads.
type Entry = (Server, Arc<dyn Link>);

/// The connections of one process; clones share them.
///
/// ```
/// use micro::driver::{Drivers, Link, Server};
///
/// #[derive(Debug)]
/// struct Tape(Server);
///
/// impl Link for Tape {
///     fn vendor(&self) -> &'static str {
///         "tape"
///     }
///     fn is_up(&self) -> bool {
///         true
///     }
/// }
///
/// let drivers = Drivers::default();
/// let server = Server::new("127.0.0.1", 7);
/// let one = drivers.share(&server, |server| Ok(Tape(server.clone())))?;
/// let two = drivers.share(&server, |_| unreachable!("it is there"))?;
/// assert!(std::sync::Arc::<Tape>::ptr_eq(&one, &two));
/// # Ok::<(), micro::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Drivers {
    links: Arc<Mutex<Vec<Entry>>>,
}

impl Drivers {
    /// Returns the link of type `T` to a server, which `open` makes where there is none.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn share<T: Link>(
        &self,
        server: &Server,
        open: impl FnOnce(&Server) -> Result<T>,
    ) -> Result<Arc<T>> {
        let mut links = self.links();
        for (_, link) in links.iter().filter(|(other, _)| other == server) {
            let link: Arc<dyn Any + Send + Sync> = Arc::<dyn Link>::clone(link);
            if let Ok(link) = link.downcast() {
                return Ok(link);
            }
        }
        let link = Arc::new(open(server)?);
        links.push((server.clone(), Arc::<T>::clone(&link)));
        Ok(link)
    }

    /// Checks that every server answers.
    ///
    /// # Errors
    /// 503 that names the servers that do not.
    pub fn check(&self) -> Result<()> {
        let down = |(server, link): &Entry| {
            (!link.is_up()).then(|| format!("{} at {server}", link.vendor()))
        };
        let down: Vec<_> = self.links().iter().filter_map(down).collect();
        if down.is_empty() {
            return Ok(());
        }
        Err(Error::unavailable("micro.driver", format!("no answer from {}", down.join(", "))))
    }

    fn links(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Drivers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.links().iter().map(|(server, link)| (link.vendor(), server)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Wire(bool);

    #[derive(Debug)]
    struct Radio;

    impl Link for Wire {
        fn vendor(&self) -> &'static str {
            "wire"
        }

        fn is_up(&self) -> bool {
            self.0
        }
    }

    impl Link for Radio {
        fn vendor(&self) -> &'static str {
            "radio"
        }

        fn is_up(&self) -> bool {
            true
        }
    }

    #[test]
    fn a_server_has_one_link_of_each_vendor() {
        let drivers = Drivers::default();
        let (a, b) = (Server::new("a", 1), Server::new("b", 1));
        let one = drivers.share(&a, |_| Ok(Wire(true))).unwrap();
        drivers.share(&a, |_| Ok(Radio)).unwrap();
        let other = drivers.share(&b, |_| Ok(Wire(false))).unwrap();
        assert!(Arc::ptr_eq(&one, &drivers.share(&a, |_| Ok(Wire(false))).unwrap()));
        assert!(!Arc::ptr_eq(&one, &other));
        assert_eq!(drivers.check().unwrap_err().detail(), "no answer from wire at b:1");
        let other = Server::new("a", 1).with_user("ada", "x");
        assert!(!drivers.share(&other, |_| Ok(Wire(false))).unwrap().0, "of another user");
    }

    #[test]
    fn a_link_that_cannot_be_made_leaves_nothing_behind() {
        let (drivers, a) = (Drivers::default(), Server::new("a", 1));
        let fails = |_: &Server| Err::<Wire, _>(Error::bad_request("t", "no"));
        assert!(drivers.share(&a, fails).is_err());
        assert!(drivers.check().is_ok());
        assert!(drivers.share(&a, |_| Ok(Wire(true))).unwrap().is_up());
    }
}
