//! A byte stream within the process, bounded like a socket.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::core::net::Socket;

/// How many bytes one direction of a pipe holds before its writer has to wait.
const CAPACITY_BYTES: usize = 64 * 1024;

/// The room made for a read into a buffer without any: a count of zero means the end.
const ROOM_BYTES: usize = 64;

/// One end of an in-memory byte stream; the other end sees its drop as the end of the stream.
pub struct Pipe {
    read: Arc<Mutex<Direction>>,
    write: Arc<Mutex<Direction>>,
}

#[derive(Default)]
struct Direction {
    bytes: BytesMut,
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    /// Makes both ends.
    pub fn pair() -> (Self, Self) {
        let (a, b) = (Arc::default(), Arc::default());
        (Self { read: Arc::clone(&a), write: Arc::clone(&b) }, Self { read: b, write: a })
    }

    fn lock(direction: &Mutex<Direction>) -> MutexGuard<'_, Direction> {
        // No code of others runs under the lock, so a poisoned one holds sound data.
        direction.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, max: usize, into: impl FnOnce(&[u8])) -> io::Result<usize> {
        let mut read = Self::lock(&self.read);
        let count = read.bytes.len().min(max);
        if read.bytes.is_empty() && !read.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        into(read.bytes.get(..count).unwrap_or_default());
        read.bytes.advance(count);
        wake(read.writer.take());
        Ok(count)
    }

    fn end(direction: &Mutex<Direction>) {
        let mut direction = Self::lock(direction);
        direction.ended = true;
        wake(direction.reader.take());
        wake(direction.writer.take());
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Names it; what passes through it belongs in no log.
impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").finish_non_exhaustive()
    }
}

impl Socket for Pipe {
    fn poll_read_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut read = Self::lock(&self.read);
        if !read.bytes.is_empty() || read.ended {
            return Poll::Ready(Ok(()));
        }
        read.reader = Some(task.waker().clone());
        Poll::Pending
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        if buffer.capacity() == buffer.len() {
            buffer.reserve(ROOM_BYTES);
        }
        let spare = buffer.capacity() - buffer.len();
        self.take(spare, |bytes| buffer.extend_from_slice(bytes))
    }

    fn poll_write_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut write = Self::lock(&self.write);
        if write.bytes.len() < CAPACITY_BYTES || write.ended {
            return Poll::Ready(Ok(()));
        }
        write.writer = Some(task.waker().clone());
        Poll::Pending
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut write = Self::lock(&self.write);
        if write.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = CAPACITY_BYTES.saturating_sub(write.bytes.len());
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let first = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        write.bytes.extend_from_slice(first);
        wake(write.reader.take());
        Ok(first.len())
    }

    fn shutdown(&self) -> io::Result<()> {
        Self::end(&self.write);
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        Self::end(&self.read);
        Self::end(&self.write);
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let spare = buffer.remaining();
        if spare == 0 {
            return Poll::Ready(Ok(()));
        }
        std::task::ready!(Socket::poll_read_ready(&*self, task))?;
        self.take(spare, |bytes| buffer.put_slice(bytes)).map(|_| ()).into()
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(Socket::poll_write_ready(&*self, task))?;
        Poll::Ready(Socket::try_write(&*self, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Socket::shutdown(&*self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pipe_makes_its_writer_wait_and_loses_nothing() {
        let (a, b) = Pipe::pair();
        let sent = vec![7; CAPACITY_BYTES + 1];
        assert_eq!(Socket::try_write(&a, &sent).unwrap(), CAPACITY_BYTES);
        assert_eq!(Socket::try_write(&a, &sent).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut buffer = BytesMut::with_capacity(10);
        let read = Socket::try_read(&b, &mut buffer).unwrap();
        assert_eq!(Socket::try_write(&a, &sent).unwrap(), read);
    }

    #[tokio::test]
    async fn a_buffer_without_room_is_no_reason_to_wait_and_no_end() {
        use tokio::io::AsyncReadExt;
        let (a, mut b) = Pipe::pair();
        assert_eq!(b.read(&mut []).await.unwrap(), 0, "nothing has arrived, nothing is asked for");
        Socket::try_write(&a, b"some").unwrap();
        assert_eq!(b.read(&mut []).await.unwrap(), 0);
        let mut full = BytesMut::new();
        assert_eq!(Socket::try_read(&b, &mut full).unwrap(), 4);
        assert_eq!(full, &b"some"[..]);
    }

    #[test]
    fn what_was_written_before_the_end_is_read_before_the_end() {
        let (a, b) = Pipe::pair();
        Socket::try_write(&a, b"last").unwrap();
        drop(a);
        let mut buffer = BytesMut::with_capacity(10);
        assert_eq!(Socket::try_read(&b, &mut buffer).unwrap(), 4);
        assert_eq!(Socket::try_read(&b, &mut buffer).unwrap(), 0);
        assert_eq!(Socket::try_write(&b, b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
