//! Connections that are silent though the server is there.

use std::ops::Range;

use libtest_mimic::Trial;
use micro::broker::Broker;
use micro::core::shutdown::TaskTracker;
use micro_tests::server::pubsub_trial;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Process, message, next, shared, topic};

pub(super) fn trials() -> Vec<Trial> {
    vec![pubsub_trial(
        "pubsub::a_silent_connection_of_subscriptions_is_replaced",
        a_silent_connection_of_subscriptions_is_replaced,
    )]
}

/// A way to the server on which single connections fall silent and stay open.
struct Way {
    address: String,
    /// Connections that were made.
    made: watch::Receiver<usize>,
    /// Those that are silent, by their numbers from 0.
    silent: watch::Sender<Range<usize>>,
    tasks: TaskTracker,
}

impl Way {
    async fn to(target: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (count, made) = watch::channel(0);
        let (silent, falls_silent) = watch::channel(0..0);
        let tasks = TaskTracker::new();
        let owner = tasks.clone();
        tasks.spawn("way", async move {
            while let Ok((socket, _)) = listener.accept().await {
                let number = *count.borrow();
                count.send_replace(number + 1);
                let passed = pass(socket, target.clone(), number, falls_silent.clone());
                owner.spawn("connection", passed);
            }
        });
        Self { address, made, silent, tasks }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

/// Passes on what a connection carries until it falls silent; then holds it until it is cut.
async fn pass(
    mut socket: TcpStream,
    target: String,
    number: usize,
    mut falls_silent: watch::Receiver<Range<usize>>,
) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let silence = async {
        let _is_over = falls_silent.wait_for(|silent| silent.contains(&number)).await.is_err();
    };
    let is_silent = tokio::select! {
        _ = copy_bidirectional(&mut socket, &mut server) => false,
        () = silence => true,
    };
    if is_silent {
        std::future::pending::<()>().await;
    }
}

/// The connection for all else works on: nothing but its own silence tells that it is dead.
async fn a_silent_connection_of_subscriptions_is_replaced() {
    let way = Way::to(shared().address()).await;
    let (process, topic) = (Process::at(way.address.clone()), topic());
    let (_group, mut came) = process.listen(&topic, Some("q")).await;
    process.broker.publish(message(&topic, "1")).await.unwrap();
    assert_eq!(next(&mut came).await.message.body, "1");
    let made = *way.made.borrow();
    assert_eq!(made, 2, "one connection asks and one waits");
    way.silent.send_replace(1..made);
    process.broker.publish(message(&topic, "2")).await.unwrap();
    assert_eq!(next(&mut came).await.message.body, "2");
    assert_eq!(*way.made.borrow(), 3, "another one is replaced as well");
    process.end().await;
}
