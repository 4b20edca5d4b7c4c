//! A way to the server that can be cut.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use micro::core::shutdown::TaskTracker;

/// Passes connections on to a port, or cuts and refuses them.
pub(crate) struct Proxy {
    port: u16,
    is_open: watch::Sender<bool>,
    tasks: TaskTracker,
}

impl Proxy {
    pub(crate) async fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (is_open, opened) = watch::channel(true);
        let tasks = TaskTracker::new();
        let owner = tasks.clone();
        tasks.spawn("proxy", async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut opened = opened.clone();
                if !*opened.borrow() {
                    continue;
                }
                owner.spawn("proxied", async move {
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut socket, &mut server) => {}
                        _ = opened.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { port, is_open, tasks }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Cuts all connections and takes no further ones.
    pub(crate) fn cut(&self) {
        self.is_open.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.is_open.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}
