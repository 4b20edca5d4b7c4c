//! A transport within the process, which hands calls over without a wire.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use micro::core::clock;
use micro::core::error::Retry;
use micro::core::exchange::{Connection, Dispatch, Exchange, Head};
use micro::core::exchange::{Inbound, Line, Outgoing, Running};
use micro::core::future::BoxFuture;
use micro::core::net::Address;
use micro::core::shutdown::Shutdown;
use micro::core::stream::{BoxSource, Sender, next_encoded};
use micro::prelude::*;
use micro::testkit::transport::{Subject, conformance};
use micro::transport::{Scope, Transport};
use tokio::sync::watch;

/// Who serves at an address, and within what.
type Door = (Arc<dyn Dispatch>, Scope);

#[derive(Clone, Debug, Default)]
struct Alley(Arc<Mutex<HashMap<Address, Door>>>);

fn unreached(why: &str) -> Error {
    Error::unavailable("alley", why).with_retry(Retry::Safe)
}

fn fits(scope: &Scope, message: &Bytes) -> Result<()> {
    let fits = (message.len() <= scope.limits.message.bytes_max).then_some(());
    fits.ok_or_else(|| Error::too_large("alley", "a message is too long"))
}

impl Transport for Alley {
    fn name(&self) -> &'static str {
        "alley"
    }

    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>>> {
        Box::pin(async move {
            let door = self.0.lock().unwrap().get(address).cloned();
            let door = door.filter(|(_, serving)| !serving.shutdown.is_draining());
            let door = door.ok_or_else(|| unreached("nobody listens there"))?;
            let (scope, life) = (scope.clone(), Shutdown::new());
            Ok(Arc::new(Lane { door, scope, life, running: watch::Sender::new(()) }) as _)
        })
    }

    fn listen<'a>(
        &'a self,
        address: &'a Address,
        dispatch: Arc<dyn Dispatch>,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        let mut doors = self.0.lock().unwrap();
        doors.retain(|_, (_, serving)| !serving.shutdown.is_draining());
        let known = doors.insert(address.clone(), (dispatch, scope.clone()));
        let taken = known.map(|door| drop(doors.insert(address.clone(), door)));
        let bound = taken.map_or(Ok(address.clone()), |()| Err(Error::conflict("alley", "taken")));
        Box::pin(std::future::ready(bound))
    }
}

#[derive(Debug)]
struct Lane {
    door: Door,
    scope: Scope,
    life: Shutdown,
    /// Each call that runs holds a receiver.
    running: watch::Sender<()>,
}

impl Connection for Lane {
    fn start(
        self: Arc<Self>,
        head: &Head<'_>,
        body: &Bytes,
        source: Option<BoxSource>,
    ) -> Result<Exchange> {
        if !self.is_open() {
            return Err(unreached("the connection takes no more calls"));
        }
        let (dispatch, serving) = &self.door;
        fits(&self.scope, body).and_then(|()| fits(serving, body))?;
        let target = dispatch.resolve(head.route.service(), head.route.endpoint())?;
        let (content_type, remote) = (head.content_type.clone(), "alley".into());
        let mut call = Inbound::new(target, head.now, content_type, body.clone(), remote);
        (call.deadline, call.extra) = (head.deadline, head.extra.clone());
        let requests = source.map(|source| {
            let (sender, messages) = Streaming::channel(1);
            call.messages = Some(messages);
            (source, sender)
        });
        let running = dispatch.dispatch(call)?;
        let (tasks, limits) = (self.scope.tasks.clone(), Arc::clone(&self.scope.limits));
        let latest = clock::after(head.now, limits.call.timeout_max);
        let (window, deadline) = (limits.stream.window_bytes, head.deadline.unwrap_or(latest));
        Ok(Exchange::relayed(&tasks, "alley", window, head.deadline, move |mut line| async move {
            let _counted = self.running.subscribe();
            let (mut opened, cut) = (false, || Error::unavailable("alley", "it was closed"));
            let ended = tokio::select! {
                biased;
                () = self.life.closed() => Err(cut()),
                () = self.scope.shutdown.closed() => Err(cut()),
                () = self.door.1.shutdown.closed() => Err(cut()),
                ended = self.run((&mut line, &mut opened), running, deadline) => ended,
                never = pump(requests) => never,
            };
            match ended {
                Ok(Some(body)) => line.reply(Ok(body)),
                Ok(None) => line.end(Ok(())),
                Err(error) if opened => line.end(Err(error)),
                Err(error) => line.reply(Err(error)),
            }
        }))
    }

    fn is_open(&self) -> bool {
        let ends = [&self.life, &self.scope.shutdown, &self.door.1.shutdown];
        !ends.iter().any(|end| end.is_draining())
    }

    fn is_full(&self) -> bool {
        false
    }

    fn ready(&self) -> BoxFuture<'_, Result<()>> {
        let open = self.is_open().then_some(()).ok_or_else(|| unreached("it is closed"));
        Box::pin(std::future::ready(open))
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.life.draining().await;
            tokio::select! { () = self.life.closed() => {}, () = self.running.closed() => {} }
        })
    }

    fn drain(&self) {
        self.life.drain();
    }

    fn close(&self) {
        self.life.close();
    }
}

impl Lane {
    /// Runs a handler and hands over what it streams; returns its response if that is one message.
    async fn run(
        &self,
        (line, opened): (&mut Line, &mut bool),
        running: Running,
        deadline: clock::Instant,
    ) -> Result<Option<Bytes>> {
        let late = |_| Error::timeout("alley", "the deadline has passed");
        match clock::timeout_at(deadline, running).await.map_err(late)?? {
            Outgoing::Message(body) => fits(&self.scope, &body).map(|()| Some(body)),
            Outgoing::Stream(mut source) => {
                *opened = true;
                line.open();
                while let Some(message) = next_encoded(&mut source).await.transpose()? {
                    fits(&self.scope, &message)?;
                    line.push(message).await?;
                }
                Ok(None)
            }
        }
    }
}

/// Feeds a handler with requests, as fast as it takes them; never ends.
async fn pump(requests: Option<(BoxSource, Sender<Bytes>)>) -> Result<Option<Bytes>> {
    let Some((mut source, sender)) = requests else { return pending().await };
    while let Some(message) = next_encoded(&mut source).await {
        match message {
            Ok(_) if sender.is_closed() => break,
            Ok(message) => drop(sender.send(message).await),
            Err(error) => return sender.fail(error).await.and(pending().await),
        }
    }
    drop((source, sender));
    pending().await
}

#[tokio::test(start_paused = true)]
async fn a_transport_from_outside_conforms() {
    conformance(async || {
        let (here, nowhere) = ("memory:here".parse()?, "memory:nowhere".parse()?);
        Ok(Subject::new(Arc::new(Alley::default()), here, nowhere))
    })
    .await
    .unwrap_or_else(|failures| panic!("{failures}"));
}
