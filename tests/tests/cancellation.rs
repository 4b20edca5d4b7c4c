//! What becomes of a handler whose caller gives up, over the native protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use micro::Cancellation;
use micro::prelude::*;
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Seen {
    started: Notify,
    release: Notify,
    ended: Notify,
    finished: AtomicUsize,
}

#[derive(Debug)]
struct Work(Arc<Seen>);

/// Tells the test that a handler is gone, however it went.
struct Ended(Arc<Seen>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended.notify_one();
    }
}

impl Work {
    async fn run(&self) -> Result<()> {
        let _ended = Ended(Arc::clone(&self.0));
        self.0.started.notify_one();
        self.0.release.notified().await;
        self.0.finished.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[service(name = "work")]
impl Work {
    /// Waits to be released.
    #[handler]
    async fn plain(&self) -> Result<()> {
        self.run().await
    }

    /// Waits to be released, whoever waits for it.
    #[handler(detached)]
    async fn detached(&self) -> Result<()> {
        self.run().await
    }
}

/// How a caller gives up.
#[derive(Clone, Copy)]
enum By {
    Drop,
    Deadline,
}

/// Starts a call, gives it up while it runs, and returns whether its handler finished.
async fn finishes(cancellation: Cancellation, detached: bool, by: By) -> bool {
    let seen = Arc::new(Seen::default());
    let service = Service::new("work").no_env().no_args().registry(micro::registry::Memory::new());
    let service = service.transport(micro::transport::Memory::default());
    let service = service.cancellation(cancellation).mount(Work(Arc::clone(&seen)));
    let running = service.start().await.unwrap();
    let client: WorkClient = running.client();
    let call = if detached { client.detached() } else { client.plain() };
    let call = call.timeout(Duration::from_secs(1));
    match by {
        By::Drop => tokio::select! {
            done = call => panic!("nobody released it: {done:?}"),
            () = seen.started.notified() => {}
        },
        By::Deadline => assert_eq!(call.await.unwrap_err().code(), 408),
    }
    if detached || cancellation == Cancellation::Detached {
        seen.release.notify_one();
    }
    seen.ended.notified().await;
    running.stop().await;
    seen.finished.load(Ordering::SeqCst) == 1
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_drops_its_handler() {
    for by in [By::Drop, By::Deadline] {
        assert!(!finishes(Cancellation::Dropped, false, by).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_detached_handler_runs_to_its_end() {
    for by in [By::Drop, By::Deadline] {
        assert!(finishes(Cancellation::Dropped, true, by).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_detached_process_lets_every_handler_run_to_its_end() {
    for by in [By::Drop, By::Deadline] {
        assert!(finishes(Cancellation::Detached, false, by).await);
    }
}
