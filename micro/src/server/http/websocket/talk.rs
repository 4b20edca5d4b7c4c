//! The ends of a conversation, and its silences.

use std::future::Future;
use std::pin::pin;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::core::error::Error;
use crate::core::status::http_status;
use crate::transport::websocket::{Beat, Ended, Incoming, Message, Outgoing, Pulse, code};

/// What is added to the HTTP status of an error to make its close code; the range is the one that
/// the standard leaves to applications.
const CODE_BASE: u16 = 4000;

/// How a conversation ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// All is said.
    Done,
    /// By an error that the peer is told.
    Failed(Error),
    /// The server is about to stop, or the connection is old.
    Away,
    /// By the peer.
    Ended(Ended),
}

impl From<Ended> for Ending {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl From<Error> for Ending {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Ends a conversation.
pub(super) async fn end<S: AsyncRead + AsyncWrite + Unpin>(
    ending: Ending,
    mut outgoing: Outgoing<S>,
    incoming: Incoming<S>,
) {
    match ending {
        Ending::Done => outgoing.close(incoming, code::DONE, "").await,
        Ending::Away => outgoing.close(incoming, code::AWAY, "").await,
        Ending::Failed(error) => {
            let text = format!("{{\"error\":{}}}", error.to_json());
            if outgoing.feed(Message::Text(text.into())).await.is_ok() {
                let code = CODE_BASE.saturating_add(http_status(error.code()));
                outgoing.close(incoming, code, error.detail()).await;
            }
        }
        Ending::Ended(Ended::Broke(code)) => outgoing.close(incoming, code, "").await,
        Ending::Ended(Ended::Left) => outgoing.leave().await,
        Ending::Ended(Ended::Gone) => {}
    }
}

/// Waits for something, and asks the peer for signs of life meanwhile.
///
/// # Errors
/// The peer gives none.
pub(super) async fn beating<S: AsyncRead + AsyncWrite + Unpin, T>(
    outgoing: &mut Outgoing<S>,
    beat: &mut Beat,
    future: impl Future<Output = T>,
) -> Result<T, Ended> {
    let mut future = pin!(future);
    // Progress: each turn waits for the future or for a pulse, of which the second is the last.
    loop {
        let pulse = tokio::select! {
            biased;
            done = &mut future => return Ok(done),
            pulse = beat.next() => pulse,
        };
        match pulse {
            Pulse::Ask => outgoing.ping().await?,
            Pulse::Dead => return Err(Ended::Gone),
        }
    }
}
