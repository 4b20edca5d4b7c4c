//! Reads whole frames, as many at a time as have arrived.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::transport::native::frame::{self, HEADER_BYTES, Header};
use crate::transport::native::link::{Link, broken};

/// The size of a read.
const READ_BYTES: usize = 64 * 1024;

/// The size of a read behind frames longer than [`READ_BYTES`]: one more of them then arrives where it
/// stays, instead of being moved once its length is known.
const LONG_READ_BYTES: usize = 2 * READ_BYTES;

/// What one side does with the frames of the other.
pub(super) trait Frames: Send {
    /// Handles whole frames; an error ends the connection.
    fn batch(&mut self, link: &Arc<Link>, batch: Bytes) -> impl Future<Output = Result<()>> + Send;
}

/// Reads until the peer ends the connection, or breaks the protocol.
pub(super) async fn read<F: Frames>(
    link: &Arc<Link>,
    mut buffer: BytesMut,
    frames: &mut F,
) -> Result<()> {
    // Limit: a head takes part of its frame, so no frame is longer than the limit.
    let max = link.own.frame_bytes_max;
    let mut usual = READ_BYTES;
    // Progress: each turn handles what has arrived, then waits for more.
    loop {
        let whole = frame::whole_frames(&buffer, max).map_err(|length| overlong(length, max))?;
        if whole > 0 {
            usual = if whole > READ_BYTES { LONG_READ_BYTES } else { READ_BYTES };
            frames.batch(link, buffer.split_to(whole).freeze()).await?;
        }
        make_room(&mut buffer, usual);
        if fill(link, &mut buffer).await? == 0 {
            return if buffer.is_empty() { Ok(()) } else { Err(cut()) };
        }
    }
}

/// Makes room for the rest of the frame that has begun to arrive, whose length was checked.
fn make_room(buffer: &mut BytesMut, usual: usize) {
    let missing = Header::read(buffer).map_or(0, |header| header.length + HEADER_BYTES);
    let missing = missing.saturating_sub(buffer.len());
    if buffer.capacity() - buffer.len() < missing.max(READ_BYTES / 4) {
        buffer.reserve(missing.max(usual));
    }
}

async fn fill(link: &Link, buffer: &mut BytesMut) -> Result<usize> {
    let count = read_more(link, buffer).await.map_err(broken)?;
    let now = clock::now();
    let mut state = link.lock();
    state.last_read = now;
    state.reads = state.reads.wrapping_add(1);
    state.pinged = None;
    Ok(count)
}

async fn read_more(link: &Link, buffer: &mut BytesMut) -> io::Result<usize> {
    // Progress: readiness is cleared by each read that would block.
    loop {
        std::future::poll_fn(|task| link.socket.poll_read_ready(task)).await?;
        match link.socket.try_read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// How long what a peer still sends is read after the end.
const LINGER: Duration = Duration::from_secs(1);

/// Reads to the end and forgets it, for a while: a system that closes a socket with unread bytes
/// tells the peer to forget what was sent last.
pub(super) async fn linger(link: &Link) {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    let reading = async {
        // Progress: ends with the stream, or with its error.
        while !matches!(read_more(link, &mut buffer).await, Ok(0) | Err(_)) {
            buffer.clear();
        }
    };
    let _ended = clock::timeout(LINGER, reading).await;
}

/// One frame of a batch.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) header: Header,
    batch: &'a Bytes,
    at: Range<usize>,
}

impl<'a> Frame<'a> {
    pub(super) fn payload(&self) -> &'a [u8] {
        self.batch.get(self.at.clone()).unwrap_or_default()
    }

    /// Returns the last bytes of the payload, which keep the whole batch in memory.
    ///
    /// Sharing costs two counts of an atomic number, so it is left to those who keep the bytes.
    pub(super) fn share_last(&self, length: usize) -> Bytes {
        let start = self.at.end.saturating_sub(length).max(self.at.start);
        self.batch.slice(start..self.at.end)
    }

    /// Returns the bytes of which the frame is a part, and which part its payload is.
    pub(super) fn parts(&self) -> (&'a Bytes, Range<usize>) {
        (self.batch, self.at.clone())
    }

    /// Returns the payload, which keeps the whole batch in memory.
    pub(super) fn share(&self) -> Bytes {
        self.batch.slice(self.at.clone())
    }
}

/// The frames of a batch.
pub(super) struct Split<'a> {
    batch: &'a Bytes,
    at: usize,
}

impl<'a> Split<'a> {
    pub(super) fn new(batch: &'a Bytes) -> Self {
        Self { batch, at: 0 }
    }

    /// Returns where the payload of the next frame stands in the batch, if that frame is a whole
    /// message of the stream `id`, no longer than `max` and not the last one; else it stays.
    #[inline]
    pub(super) fn next_message(&mut self, id: u32, max: usize) -> Option<Range<usize>> {
        let header = Header::read(self.batch.get(self.at..)?)?;
        if !header.is_message() || header.stream != id || header.length > max {
            return None;
        }
        let start = self.at + HEADER_BYTES;
        self.at = start + header.length;
        Some(start..self.at)
    }
}

impl<'a> Iterator for Split<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let header = Header::read(self.batch.get(self.at..)?)?;
        let start = self.at + HEADER_BYTES;
        // Invariant: the batch holds whole frames only, as `whole_frames` measured it.
        self.at = start + header.length;
        Some(Frame { header, batch: self.batch, at: start..self.at })
    }
}

fn overlong(length: usize, max: usize) -> Error {
    let detail = format!("the peer announced a frame of {length} bytes, the limit is {max}");
    Error::too_large("micro.transport", detail)
}

fn cut() -> Error {
    Error::unavailable("micro.transport", "the connection ended inside a frame")
}
