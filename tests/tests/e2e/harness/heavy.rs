//! Room for one test at a time that keeps the machine busy.

#[cfg(target_os = "linux")]
pub(crate) use self::machine::Heavy;
#[cfg(not(target_os = "linux"))]
pub(crate) use self::process::Heavy;

#[cfg(target_os = "linux")]
mod machine {
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
}

#[cfg(not(target_os = "linux"))]
mod process {
    use tokio::sync::{Mutex, MutexGuard};

    static ROOM: Mutex<()> = Mutex::const_new(());

    /// The room; given back when dropped.
    pub(crate) struct Heavy {
        _held: MutexGuard<'static, ()>,
    }

    impl Heavy {
        /// Waits for the room among the tests of this run.
        pub(crate) async fn room() -> Self {
            Self { _held: ROOM.lock().await }
        }
    }
}
