//! A transport with one flaw of choice, around the one in memory.

mod line;
mod streams;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Semaphore;

use self::line::Line;
use self::streams::{EndsFailures, gathered, replayed};
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection, Dispatch, Inbound, Outgoing, Running, Target};
use crate::core::future::BoxFuture;
use crate::core::limits::Limits;
use crate::core::metadata::Metadata;
use crate::core::net::Address;
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::core::stream::Streaming;
use crate::transport::{Memory, Scope, Transport};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Nothing: the decorator alone does no harm.
    None,
    /// Whoever cannot be reached may have run the call.
    BlursDialing,
    /// An address that is taken is taken again, without a word.
    ListensTwice,
    /// The deadline does not reach the handler.
    ForgetsDeadlines,
    /// The caller waits on after the deadline.
    WaitsOn,
    DropsMetadata,
    DropsPersistent,
    DropsTraces,
    /// A transport header becomes metadata.
    ShowsCredentials,
    /// Whatever is not ASCII is replaced.
    SpeaksAsciiOnly,
    CutsLongMessages,
    /// White space around a message goes.
    TrimsMessages,
    /// The server has limits of its own.
    IgnoresLimits,
    /// One call runs at a time.
    RunsOneAtATime,
    /// A call gets the answer of the one before.
    MixesAnswers,
    /// A handler gets its requests when all are there.
    GathersRequests,
    /// A reader gets the messages when all are there.
    GathersResponses,
    /// Requests that fail end.
    EndsFailedRequests,
    /// A stream that fails ends.
    EndsFailedStreams,
    /// A stream that is cut ends.
    EndsCutStreams,
    LosesTheLast,
    Reorders,
    /// A stream is read whether anybody reads it or not.
    Hoards,
    BlursCodes,
    DropsDetails,
    /// What does not exist is the fault of the server.
    BlursTheUnknown,
    /// A refusal may have run.
    BlursRefusals,
    /// Whatever failed did not run.
    SwearsNothingRan,
    /// A handler runs on without its caller.
    RunsOn,
    /// The requests of a call outlive it.
    KeepsRequests,
    /// A server that drains takes calls.
    ServesOn,
    /// A connection that drains cuts its calls.
    CutsOnDrain,
    /// A connection that drains takes calls.
    NeverDrains,
    /// A connection that closes leaves its calls waiting.
    NeverCloses,
    /// The end of a connection is never told.
    NeverSaysClosed,
    /// A connection says that it takes calls, whatever happens.
    SaysOpen,
    /// Each call leaves a task.
    LeavesTasks,
}

#[derive(Debug)]
pub(super) struct Broken {
    flaw: Flaw,
    memory: Memory,
}

impl Broken {
    pub(super) fn new(flaw: Flaw) -> Self {
        Self { flaw, memory: Memory::new() }
    }
}

impl Transport for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>>> {
        Box::pin(async move {
            match self.memory.dial(address, scope).await {
                Err(error) if self.flaw == Flaw::BlursDialing => {
                    Err(error.with_retry(Retry::Unknown))
                }
                Err(error) => Err(error),
                Ok(inner) => {
                    let (tasks, kept, last) =
                        (scope.tasks.clone(), Mutex::default(), Arc::default());
                    Ok(Arc::new(Line { flaw: self.flaw, inner, tasks, kept, last }) as _)
                }
            }
        })
    }

    fn listen<'a>(
        &'a self,
        address: &'a Address,
        dispatch: Arc<dyn Dispatch>,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        Box::pin(async move {
            let mut own = scope.clone();
            if self.flaw == Flaw::IgnoresLimits {
                own.limits = Arc::new(Limits::default());
            }
            if self.flaw == Flaw::ServesOn {
                own.shutdown = Shutdown::new();
                let (outer, inner) = (scope.shutdown.clone(), own.shutdown.clone());
                scope.tasks.spawn("serves on", async move {
                    outer.closed().await;
                    inner.close();
                });
            }
            let (tasks, turn) = (scope.tasks.clone(), Arc::new(Semaphore::new(1)));
            let desk = Desk { flaw: self.flaw, inner: dispatch, tasks, turn };
            match self.memory.listen(address, Arc::new(desk), &own).await {
                Err(_) if self.flaw == Flaw::ListensTwice => Ok(address.clone()),
                outcome => outcome,
            }
        })
    }
}

/// The serving side.
#[derive(Debug)]
struct Desk {
    flaw: Flaw,
    inner: Arc<dyn Dispatch>,
    tasks: TaskTracker,
    turn: Arc<Semaphore>,
}

impl Desk {
    fn spoil(&self, call: &mut Inbound) {
        match self.flaw {
            Flaw::ForgetsDeadlines => call.deadline = None,
            Flaw::CutsLongMessages => call.body.truncate(64 * 1024),
            Flaw::TrimsMessages => call.body = Bytes::copy_from_slice(call.body.trim_ascii()),
            Flaw::GathersRequests => {
                call.messages = call.messages.take().map(gathered);
            }
            Flaw::EndsFailedRequests => {
                call.messages = call
                    .messages
                    .take()
                    .map(|messages| Streaming::from_stream(EndsFailures(Some(messages))));
            }
            _ => {}
        }
        let Some(extra) = &mut call.extra else { return };
        match self.flaw {
            Flaw::DropsMetadata => extra.metadata = Metadata::new(),
            Flaw::DropsPersistent => extra.persistent = Metadata::new(),
            Flaw::DropsTraces => extra.trace = None,
            Flaw::ShowsCredentials => {
                let shown = extra.headers.get("authorization").unwrap_or_default().to_owned();
                extra.metadata.insert("authorization", shown).unwrap();
            }
            Flaw::SpeaksAsciiOnly => {
                let ascii = |(key, value): (&str, &str)| {
                    (key.to_owned(), value.replace(|c: char| !c.is_ascii(), "?"))
                };
                let entries: Vec<_> = extra.metadata.iter().map(ascii).collect();
                for (key, value) in entries {
                    extra.metadata.insert(key, value).unwrap();
                }
            }
            _ => {}
        }
    }
}

impl Dispatch for Desk {
    fn resolve(&self, service: &str, endpoint: &str) -> Result<Target> {
        self.inner.resolve(service, endpoint).map_err(|error| match self.flaw {
            Flaw::BlursTheUnknown => Error::internal("broken", "something is wrong"),
            _ => error,
        })
    }

    fn dispatch(&self, mut call: Inbound) -> Result<Running> {
        self.spoil(&mut call);
        let running = match self.inner.dispatch(call) {
            Err(error) if self.flaw == Flaw::BlursRefusals => {
                return Err(error.with_retry(Retry::Unknown));
            }
            outcome => outcome?,
        };
        let (flaw, turn, tasks) = (self.flaw, Arc::clone(&self.turn), self.tasks.clone());
        let spoiled = Running::new(
            running.context(),
            Box::pin(async move {
                let outcome = match flaw {
                    Flaw::RunsOn => tasks.spawn("runs on", running).await.and_then(|inner| inner),
                    Flaw::RunsOneAtATime => {
                        let _turn = turn.acquire_owned().await.unwrap();
                        running.await
                    }
                    _ => running.await,
                };
                match outcome {
                    Ok(Outgoing::Stream(source)) => {
                        Ok(Outgoing::Stream(replayed(flaw, source, &tasks)))
                    }
                    outcome => outcome.map_err(|error| blurred(flaw, error)),
                }
            }),
        );
        Ok(spoiled)
    }
}

fn blurred(flaw: Flaw, error: Error) -> Error {
    match flaw {
        Flaw::BlursCodes => Error::internal(error.id().to_owned(), error.detail()),
        Flaw::DropsDetails => Error::new(error.id().to_owned(), error.code(), error.detail()),
        _ => error,
    }
}
