//! Room for one test at a time that keeps the machine busy.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

/// A name in the kernel that one process at a time can hold, and that ends with it.
const NAME: &str = "micro-tests-heavy";

/// The room; given back when dropped.
pub(crate) struct Heavy {
    /// Closing the socket gives the name back.
    _held: UnixListener,
}

impl Heavy {
    /// Waits for the room, whoever has it: another test, or another run of the tests.
    pub(crate) async fn room() -> Self {
        let name = SocketAddr::from_abstract_name(NAME).unwrap();
        loop {
            if let Ok(held) = UnixListener::bind_addr(&name) {
                return Self { _held: held };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
