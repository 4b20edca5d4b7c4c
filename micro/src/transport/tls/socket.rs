//! A socket that encrypts what another one carries.

use std::fmt;
use std::io::{self, BufRead, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use rustls::Connection;
use rustls::pki_types::CertificateDer;

use crate::core::net::Socket;

/// Room for one read of the carrying socket: a record and its overhead.
const READ_BYTES: usize = 17 * 1024;

/// Bytes that are encrypted at a time: four records.
const WRITE_BYTES: usize = 64 * 1024;

/// Room made for a read into a buffer that has none: a count of zero means the end.
const ROOM_BYTES: usize = 4 * 1024;

/// One end of a TLS connection.
pub(super) struct Sealed {
    carrier: Arc<dyn Socket>,
    state: Mutex<State>,
}

struct State {
    session: Connection,
    /// Read from the carrier and not yet decrypted.
    arrived: BytesMut,
    /// Encrypted and not yet taken by the carrier.
    leaving: BytesMut,
    /// Bytes that are encrypted already, but were not yet said to be written: they come again.
    promised: usize,
}

impl Sealed {
    /// Begins a connection; `arrived` was read of it already.
    pub(super) fn new(carrier: Arc<dyn Socket>, session: Connection, arrived: BytesMut) -> Self {
        let state = State { session, arrived, leaving: BytesMut::new(), promised: 0 };
        Self { carrier, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under the lock, so a poisoned one holds sound data.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes the handshake; the caller bounds its time.
    ///
    /// # Errors
    /// Why the peer is not taken, or what the carrier says.
    pub(super) async fn handshake(&self) -> io::Result<()> {
        // Progress: each turn writes, reads, or waits until one of them is possible.
        loop {
            let (flushed, done) = {
                let mut state = self.lock();
                state.seal()?;
                (state.flush(self.carrier.as_ref()), !state.session.is_handshaking())
            };
            match flushed {
                Ok(()) if done => return Ok(()),
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    std::future::poll_fn(|task| self.carrier.poll_write_ready(task)).await?;
                    continue;
                }
                Err(e) => return Err(e),
            }
            let fed = self.lock().feed(self.carrier.as_ref());
            match fed {
                Ok(true) => {}
                Ok(false) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    std::future::poll_fn(|task| self.carrier.poll_read_ready(task)).await?;
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Looks at what the handshake has found: the peer's chain and the protocol agreed on.
    pub(super) fn outcome<T>(
        &self,
        read: impl FnOnce(Option<&[CertificateDer<'static>]>, Option<&[u8]>) -> T,
    ) -> T {
        let state = self.lock();
        read(state.session.peer_certificates(), state.session.alpn_protocol())
    }
}

impl State {
    /// Brings what the session has to say into the queue of the carrier.
    fn seal(&mut self) -> io::Result<()> {
        // Progress: each turn takes records out of the session.
        while self.session.wants_write() {
            self.session.write_tls(&mut Queue(&mut self.leaving))?;
        }
        Ok(())
    }

    /// Has the carrier take what waits for it; `WouldBlock` when it does not take all.
    fn flush(&mut self, carrier: &dyn Socket) -> io::Result<()> {
        // Progress: each turn writes at least one byte.
        while !self.leaving.is_empty() {
            match carrier.try_write(&self.leaving) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.leaving.advance(count),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Decrypts what has arrived, after reading where nothing has; `false` at the carrier's end.
    fn feed(&mut self, carrier: &dyn Socket) -> io::Result<bool> {
        let mut open = true;
        if self.arrived.is_empty() {
            self.arrived.reserve(READ_BYTES);
            open = carrier.try_read(&mut self.arrived)? > 0;
        }
        let taken = self.session.read_tls(&mut &self.arrived[..])?;
        self.arrived.advance(taken);
        if let Err(error) = self.session.process_new_packets() {
            // The peer is told by an alert, if it still listens.
            let _told = self.seal().and_then(|()| self.flush(carrier));
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        if self.session.wants_write() && !self.session.is_handshaking() {
            self.seal()?;
            match self.flush(carrier) {
                Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
                _ => {}
            }
        }
        Ok(open)
    }

    /// Appends decrypted bytes; `WouldBlock` when there are none.
    fn take(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let mut reader = self.session.reader();
        let plain = reader.fill_buf()?;
        if plain.is_empty() {
            return Ok(0);
        }
        if buffer.capacity() == buffer.len() {
            buffer.reserve(ROOM_BYTES);
        }
        let count = plain.len().min(buffer.capacity() - buffer.len());
        buffer.extend_from_slice(plain.get(..count).unwrap_or_default());
        reader.consume(count);
        Ok(count)
    }
}

impl Socket for Sealed {
    fn poll_read_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        {
            let mut state = self.lock();
            let would_block = match state.session.reader().fill_buf() {
                Ok(_) => false,
                Err(e) => e.kind() == io::ErrorKind::WouldBlock,
            };
            if !would_block || !state.arrived.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
        self.carrier.poll_read_ready(task)
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        let mut state = self.lock();
        // Progress: each turn decrypts what the carrier gave, or ends.
        loop {
            match state.take(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            state.feed(self.carrier.as_ref())?;
        }
    }

    fn poll_write_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.carrier.poll_write_ready(task)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.lock();
        state.flush(self.carrier.as_ref())?;
        if state.promised == 0 {
            let part = bytes.get(..WRITE_BYTES.min(bytes.len())).unwrap_or_default();
            state.promised = state.session.writer().write(part)?;
            state.seal()?;
            state.flush(self.carrier.as_ref())?;
        }
        Ok(std::mem::take(&mut state.promised).min(bytes.len()))
    }

    fn shutdown(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.session.send_close_notify();
        // A peer that reads nothing any more is not waited for.
        let _told = state.seal().and_then(|()| state.flush(self.carrier.as_ref()));
        self.carrier.shutdown()
    }

    fn sever(&self) {
        self.carrier.sever();
    }

    fn is_severed(&self) -> bool {
        self.carrier.is_severed()
    }
}

/// Names it; what passes through it belongs in no log.
impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("carrier", &self.carrier).finish_non_exhaustive()
    }
}

/// Appends what is written.
struct Queue<'a>(&'a mut BytesMut);

impl Write for Queue<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
