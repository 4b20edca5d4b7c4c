//! A backend that knows nothing but what is public, and passes the suite.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use micro::broker::{
    Broker, Capabilities, Control, Delivery, Handler, Message, Overflow, SubscribeOptions,
    Subscription, deliver, validate_pattern,
};
use micro::core::clock::{self, Instant};
use micro::core::error::{Error, Result, Retry};
use micro::core::future::BoxFuture;
use micro::core::shutdown::{Shutdown, TaskHandle, TaskTracker};
use micro::testkit::broker::conforms;
use tokio::sync::mpsc;

#[tokio::test(start_paused = true)]
async fn a_backend_from_outside_conforms() {
    let make = || -> BoxFuture<'static, Arc<dyn Broker>> {
        Box::pin(async { Arc::new(Outside::default()) as Arc<dyn Broker> })
    };
    conforms(&make).await;
}

/// How long a handler may take.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);

/// Delivers at most once, in order, to groups.
#[derive(Debug, Default)]
struct Outside {
    groups: Mutex<Vec<Arc<Group>>>,
    tasks: TaskTracker,
    life: Shutdown,
    closed: AtomicBool,
}

#[derive(Debug)]
struct Group {
    topic: String,
    queue: Option<String>,
    sender: mpsc::Sender<Arc<Message>>,
    receiver: tokio::sync::Mutex<mpsc::Receiver<Arc<Message>>>,
}

impl Broker for Outside {
    fn name(&self) -> &'static str {
        "outside"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        (capabilities.ordered, capabilities.queue_groups) = (true, true);
        capabilities
    }

    fn publish(&self, message: Message) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            message.validate(1 << 20)?;
            if self.closed.load(SeqCst) {
                return Err(closed());
            }
            let message = Arc::new(message);
            let groups = {
                let mut groups = self.groups.lock().unwrap();
                // The list and whoever asks hold one each; what nobody else holds has no member.
                groups.retain(|group| Arc::strong_count(group) > 1);
                groups.clone()
            };
            for group in groups.iter().filter(|group| group.topic == message.topic) {
                let _no_member = group.sender.send(Arc::clone(&message)).await.is_err();
            }
            Ok(())
        })
    }

    fn subscribe<'a>(
        &'a self,
        topic: &'a str,
        options: SubscribeOptions,
        handler: Handler,
    ) -> BoxFuture<'a, Result<Subscription>> {
        Box::pin(async move {
            if validate_pattern(topic)? || options.overflow != Overflow::Block {
                return Err(Error::unimplemented("outside", "neither patterns nor overflow"));
            }
            if self.closed.load(SeqCst) {
                return Err(closed());
            }
            let group = self.group(topic, options.queue.as_deref());
            let life = Shutdown::new();
            let work = || {
                let (group, handler) = (Arc::clone(&group), Arc::clone(&handler));
                let lives = [self.life.clone(), life.clone()];
                self.tasks.spawn("outside", async move { work(&group, &handler, &lives).await })
            };
            let workers = (0..options.concurrency.get()).map(|_| work()).collect();
            let member = Member {
                life,
                all: self.life.clone(),
                workers: Mutex::new(workers),
                _group: group,
            };
            Ok(Subscription::new(topic, Arc::new(member)))
        })
    }

    fn close(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.closed.store(true, SeqCst);
            self.life.drain();
            match self.tasks.wait(deadline).await {
                0 => Ok(()),
                cut => {
                    self.life.close();
                    Err(Error::timeout("outside", format!("{cut} workers cut")))
                }
            }
        })
    }
}

impl Outside {
    fn group(&self, topic: &str, queue: Option<&str>) -> Arc<Group> {
        let mut groups = self.groups.lock().unwrap();
        let known = groups.iter().find(|group| {
            group.topic == topic && queue.is_some() && group.queue.as_deref() == queue
        });
        if let Some(group) = known {
            return Arc::clone(group);
        }
        let (sender, receiver) = mpsc::channel(1_000);
        let (queue, receiver) = (queue.map(Into::into), receiver.into());
        let group = Arc::new(Group { topic: topic.into(), queue, sender, receiver });
        groups.push(Arc::clone(&group));
        group
    }
}

async fn work(group: &Group, handler: &Handler, [all, own]: &[Shutdown; 2]) {
    loop {
        let next = async { group.receiver.lock().await.recv().await };
        let message = tokio::select! {
            biased;
            () = all.draining() => return,
            () = own.draining() => return,
            message = next => message,
        };
        let Some(message) = message else { return };
        tokio::select! {
            biased;
            () = all.closed() => return,
            () = own.closed() => return,
            _at_most_once = deliver(handler, Delivery::new(message, 1), ACK_TIMEOUT) => {}
        }
    }
}

struct Member {
    life: Shutdown,
    all: Shutdown,
    workers: Mutex<Vec<TaskHandle>>,
    /// Keeps the group while it has a member.
    _group: Arc<Group>,
}

impl Control for Member {
    fn drain(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.life.drain();
            let workers = std::mem::take(&mut *self.workers.lock().unwrap());
            let mut cut = 0;
            for worker in workers {
                cut += usize::from(clock::timeout_at(deadline, worker).await.is_err());
            }
            self.life.close();
            if cut == 0 { Ok(()) } else { Err(Error::timeout("outside", "handlers cut")) }
        })
    }

    fn stop(&self) {
        self.life.close();
    }

    fn is_active(&self) -> bool {
        !self.life.is_draining() && !self.all.is_draining()
    }
}

fn closed() -> Error {
    Error::unavailable("outside", "it is closed").with_retry(Retry::Safe)
}
