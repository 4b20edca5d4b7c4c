//! The end of a connection whose messages go back to nsqd at once.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::core::clock;
use crate::core::error::{Error, Result};

use super::ERROR_ID;
use super::command;
use super::connection::{HOLD_BACK, Reader};
use super::frame::{Frame, Raw};
use super::unsettled::Unsettled;
use super::writer::Writer;

/// How long nsqd may take to read what is written last.
const LINGER: Duration = Duration::from_secs(1);
/// How long what nsqd had sent before it was told to stop may come: twice as long as it holds
/// messages back.
const QUIET: Duration = HOLD_BACK.saturating_mul(2);

/// Gives back what is not settled, what still comes included, and ends the connection: without that
/// nsqd would wait for those messages until their time is over.
///
/// # Errors
/// When nsqd does not take that within a second.
pub(super) async fn leave(
    mut reader: Reader,
    mut writer: Writer,
    unsettled: &Unsettled,
    mut written: mpsc::Receiver<Vec<u8>>,
) -> Result<()> {
    let leaving = async {
        written.close();
        writer.put(&command::ready(0));
        let left = unsettled.take();
        // Whatever was settled before is here.
        while let Ok(command) = written.try_recv() {
            writer.put(&command);
        }
        left.into_iter().for_each(|id| writer.put(&command::requeue(id, Duration::ZERO)));
        writer.flush().await?;
        take_late(&mut reader, &mut writer).await?;
        writer.shutdown().await?;
        // What is not read when this side closes could cost what nsqd has not read yet.
        while reader.next().await.is_ok() {}
        Ok(())
    };
    // Cancel safety: what is not given back in time comes again when its time is over.
    clock::timeout(LINGER, leaving).await.unwrap_or_else(|_elapsed| {
        Err(Error::timeout(ERROR_ID, format!("nsqd does not take what is left within {LINGER:?}")))
    })
}

/// Gives back what nsqd had sent before it was told to stop.
async fn take_late(reader: &mut Reader, writer: &mut Writer) -> Result<()> {
    let mut quiet = pin!(clock::sleep(QUIET));
    loop {
        // Cancel safety: a part of a frame stays with the reader.
        let frame = tokio::select! {
            biased;
            () = &mut quiet => return Ok(()),
            frame = reader.next() => frame?,
        };
        if let Frame::Message(Raw { id, .. }) | Frame::TooLong { id, .. } = frame {
            writer.put(&command::requeue(id, Duration::ZERO));
            writer.flush().await?;
        }
    }
}
