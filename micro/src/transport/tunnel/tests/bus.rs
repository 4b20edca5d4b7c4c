//! A bus within the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::transport::tunnel::{Arrival, Bus, Care, Claim, Inbox};

/// Messages that wait at an inbox, at most; more are lost, as on a real bus.
const WAITING_MAX: usize = 1024;

/// What happens to a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Lose,
    Double,
}

/// Carries messages between its clones.
#[derive(Clone, Debug, Default)]
pub(in crate::transport) struct Local(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    inboxes: HashMap<String, mpsc::Sender<Arrival>>,
    is_away: bool,
    message_bytes_max: Option<usize>,
    /// What happens to the next message of a kind to a name.
    fault: Option<(u8, Fault)>,
    /// Messages of each kind that were sent, those that were lost included.
    sent: HashMap<u8, usize>,
}

impl Local {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Has something happen to the next message of a kind.
    pub(super) fn harm_next(&self, kind: u8, fault: Fault) {
        self.lock().fault = Some((kind, fault));
    }

    /// Loses every inbox, and takes nothing until it is back.
    pub(super) fn leave(&self) {
        let mut state = self.lock();
        state.is_away = true;
        state.inboxes.clear();
    }

    pub(super) fn come_back(&self) {
        self.lock().is_away = false;
    }

    pub(super) fn take_at_most(&self, message_bytes_max: usize) {
        self.lock().message_bytes_max = Some(message_bytes_max);
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.lock().inboxes.keys().cloned().collect()
    }

    /// How many messages of a kind were sent.
    pub(super) fn sent(&self, kind: u8) -> usize {
        self.lock().sent.get(&kind).copied().unwrap_or_default()
    }

    /// Closes an inbox in the way of a process that is killed.
    pub(super) fn kill(&self, name: &str) {
        self.lock().inboxes.remove(name).unwrap();
    }

    /// Opens an inbox to look into.
    pub(super) async fn look(&self, name: &str) -> Box<dyn Inbox> {
        self.open(name, Claim::Fresh).await.unwrap()
    }
}

fn away() -> Error {
    Error::unavailable("local", "the bus is away").with_retry(Retry::Safe)
}

impl Bus for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn open<'a>(&'a self, name: &'a str, claim: Claim) -> BoxFuture<'a, Result<Box<dyn Inbox>>> {
        Box::pin(async move {
            let mut state = self.lock();
            if state.is_away {
                return Err(away());
            }
            if claim == Claim::Sole && state.inboxes.contains_key(name) {
                return Err(Error::conflict("local", "the name is taken"));
            }
            let (sender, receiver) = mpsc::channel(WAITING_MAX);
            state.inboxes.insert(name.to_owned(), sender);
            let (bus, name) = (self.clone(), name.to_owned());
            let place: Box<dyn Inbox> = Box::new(Place { bus, name, receiver });
            Ok(place)
        })
    }
}

#[derive(Debug)]
struct Place {
    bus: Local,
    name: String,
    receiver: mpsc::Receiver<Arrival>,
}

impl Inbox for Place {
    fn message_bytes_max(&self) -> usize {
        self.bus.lock().message_bytes_max.unwrap_or(1024 * 1024)
    }

    fn send<'a>(
        &'a mut self,
        to: &'a str,
        message: Bytes,
        care: Care,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            assert!(message.len() <= self.message_bytes_max(), "{} bytes", message.len());
            let mut state = self.bus.lock();
            if state.is_away {
                return Err(away());
            }
            let kind = message.get(1).copied().unwrap_or_default();
            *state.sent.entry(kind).or_default() += 1;
            let fault = state.fault.take_if(|(of, _)| *of == kind).map(|(_, fault)| fault);
            match state.inboxes.get(to) {
                Some(inbox) => {
                    let times = match fault {
                        Some(Fault::Lose) => 0,
                        Some(Fault::Double) => 2,
                        None => 1,
                    };
                    for _ in 0..times {
                        let _full = inbox.try_send(Arrival::Message(message.clone()));
                    }
                }
                None if care == Care::Returned => {
                    if let Some(own) = state.inboxes.get(&self.name) {
                        let _full = own.try_send(Arrival::Returned);
                    }
                }
                None => {}
            }
            Ok(())
        })
    }

    fn poll_next(&mut self, task: &mut Context<'_>) -> Poll<Result<Arrival>> {
        Poll::Ready(ready!(self.receiver.poll_recv(task)).ok_or_else(away))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Another may have the name by now.
        self.receiver.close();
        let mut state = self.bus.lock();
        if state.inboxes.get(&self.name).is_some_and(mpsc::Sender::is_closed) {
            state.inboxes.remove(&self.name);
        }
    }
}
