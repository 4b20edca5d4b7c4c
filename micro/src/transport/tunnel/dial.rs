//! The dialing side of sessions.

use std::future::poll_fn;
use std::sync::Arc;
#[cfg(any(feature = "nats", test))]
use std::time::Duration;

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::Connection;
use crate::core::net::{Address, Pipe};
use crate::transport::Scope;
use crate::transport::native;
use crate::transport::tunnel::message::{End, Message};
use crate::transport::tunnel::session::Session;
use crate::transport::tunnel::socket::Carried;
use crate::transport::tunnel::window::{WINDOW_BYTES, agreed};
use crate::transport::tunnel::{Arrival, Bus, Care, Claim, ERROR_ID, Inbox};

/// Opens a session with the listener at a name.
///
/// # Errors
/// `Retry::Safe`: nothing but the wish for a session was sent.
pub(super) async fn dial(
    bus: &dyn Bus,
    name: &str,
    address: &Address,
    scope: &Scope,
) -> Result<Arc<dyn Connection>> {
    let timeout = scope.limits.connection.dial_timeout;
    let undialed = |why: &str| {
        Error::unavailable(ERROR_ID, format!("cannot reach {address}: {why}"))
            .with_retry(Retry::Safe)
    };
    let (inbox, peer, window) = match clock::timeout(timeout, knock(bus, name)).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return Err(undialed(error.detail()).with_source(error)),
        Err(_) => return Err(undialed(&format!("no answer within {timeout:?}"))),
    };
    let session = Session::new(inbox, peer.to_string(), window, &scope.limits.connection);
    let (ours, theirs) = Pipe::pair();
    let socket = Carried { pipe: ours, fate: session.fate() };
    scope.tasks.spawn("bus session", session.carry(theirs));
    Ok(native::connect(Arc::new(socket), address.to_string().into(), scope))
}

type Opened = (Box<dyn Inbox>, End, u32);

/// Asks for a session and waits for the answer.
async fn knock(bus: &dyn Bus, name: &str) -> Result<Opened> {
    let refused = |why: String| Err(Error::unavailable(ERROR_ID, why));
    let from = End::random();
    let mut inbox = bus.open(&from.to_string(), Claim::Fresh).await?;
    let open = Message::Open { from, window: WINDOW_BYTES };
    inbox.send(name, open.write(), Care::Returned).await?;
    match poll_fn(|task| inbox.poll_next(task)).await? {
        Arrival::Returned => refused("nobody listens there".to_owned()),
        Arrival::Message(bytes) => match Message::read(bytes) {
            Some(Message::Accept { from, window }) => match agreed(window) {
                Ok(window) => Ok((inbox, from, window)),
                Err(_) => refused(format!("it offers a window of {window} bytes")),
            },
            Some(Message::Reset(reason)) => refused(reason.to_string()),
            _ => refused("it does not answer as a listener does".to_owned()),
        },
    }
}

/// How long whoever listens at a name may take to say so.
#[cfg(any(feature = "nats", test))]
const HEARD_WITHIN: Duration = Duration::from_millis(500);

/// Tells whether somebody listens at a name, for a bus that lets many have it.
///
/// `inbox` is the inbox of `from`, and nothing else arrives there.
///
/// # Errors
/// 503 when there is no answer.
#[cfg(any(feature = "nats", test))]
pub(in crate::transport) async fn is_heard(
    inbox: &mut dyn Inbox,
    from: End,
    name: &str,
) -> Result<bool> {
    // Every listener refuses this.
    let open = Message::Open { from, window: 0 };
    inbox.send(name, open.write(), Care::Returned).await?;
    let answer = poll_fn(|task| inbox.poll_next(task));
    match clock::timeout(HEARD_WITHIN, answer).await {
        Ok(Ok(Arrival::Returned)) => Ok(false),
        Ok(Ok(Arrival::Message(_))) => Ok(true),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let detail = format!("nobody says within {HEARD_WITHIN:?} who listens at {name}");
            Err(Error::unavailable(ERROR_ID, detail))
        }
    }
}
