//! A transport whose connections break after so many bytes.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;

use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection, Dispatch};
use crate::core::future::BoxFuture;
use crate::core::net::{Address, Pipe, Socket};
use crate::transport::native::{connect, serve_socket};
use crate::transport::{Scope, Transport};

/// Where a connection breaks: after so many bytes to the server, or from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) up: usize,
    pub(super) down: usize,
    /// Whether nobody is told: what is sent is lost and nothing arrives.
    pub(super) silent: bool,
}

impl Cut {
    pub(super) const NEVER: Self = Self { up: usize::MAX, down: usize::MAX, silent: false };
}

/// What the connections of a transport carried and how many broke.
#[derive(Clone, Debug, Default)]
pub(super) struct Carried {
    /// Bytes of the first connection to the server, and from it.
    pub(super) first: (usize, usize),
    pub(super) dials: usize,
    pub(super) cuts: usize,
}

/// Dials in-memory connections that break as planned, one plan for each dial.
type Nodes = HashMap<Address, (Arc<dyn Dispatch>, Scope)>;

#[derive(Clone, Debug, Default)]
pub(super) struct Cutting {
    nodes: Arc<Mutex<Nodes>>,
    plans: Arc<Mutex<VecDeque<Cut>>>,
    carried: Arc<Mutex<Carried>>,
}

impl Cutting {
    pub(super) fn plan(&self, cuts: impl IntoIterator<Item = Cut>) {
        self.plans.lock().unwrap().extend(cuts);
    }

    pub(super) fn carried(&self) -> Carried {
        self.carried.lock().unwrap().clone()
    }
}

impl Transport for Cutting {
    fn name(&self) -> &'static str {
        "cutting"
    }

    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>>> {
        Box::pin(async move {
            let nobody = || Error::unavailable("cut", "nobody listens").with_retry(Retry::Safe);
            let found = self.nodes.lock().unwrap().get(address).cloned();
            let (dispatch, serving) = found.ok_or_else(nobody)?;
            let (ours, theirs) = Pipe::pair();
            let cut = self.plans.lock().unwrap().pop_front().unwrap_or(Cut::NEVER);
            let first = {
                let mut carried = self.carried.lock().unwrap();
                carried.dials += 1;
                carried.dials == 1
            };
            serving.tasks.clone().spawn("cut server", async move {
                let (theirs, none) = (Arc::new(theirs), BytesMut::new());
                serve_socket(theirs, "memory".into(), none, dispatch, &serving).await;
            });
            let left = Left { cut, broken: false, reader: None };
            let carried = Arc::clone(&self.carried);
            let socket = CutSocket { pipe: ours, left: Mutex::new(left), carried, first };
            Ok(connect(Arc::new(socket), address.to_string().into(), scope))
        })
    }

    fn listen<'a>(
        &'a self,
        address: &'a Address,
        dispatch: Arc<dyn Dispatch>,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        self.nodes.lock().unwrap().insert(address.clone(), (dispatch, scope.clone()));
        Box::pin(std::future::ready(Ok(address.clone())))
    }
}

/// The client's end of a connection.
#[derive(Debug)]
struct CutSocket {
    pipe: Pipe,
    left: Mutex<Left>,
    carried: Arc<Mutex<Carried>>,
    first: bool,
}

/// What may still pass.
#[derive(Debug)]
struct Left {
    cut: Cut,
    broken: bool,
    reader: Option<Waker>,
}

impl CutSocket {
    fn count(&self, up: usize, down: usize) {
        if self.first {
            let mut carried = self.carried.lock().unwrap();
            carried.first.0 += up;
            carried.first.1 += down;
        }
    }

    fn check(&self, left: &mut Left) {
        if left.broken || (left.cut.up > 0 && left.cut.down > 0) {
            return;
        }
        left.broken = true;
        self.carried.lock().unwrap().cuts += 1;
        if !left.cut.silent {
            self.pipe.shutdown().unwrap();
            if let Some(reader) = left.reader.take() {
                reader.wake();
            }
        }
    }
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl Socket for CutSocket {
    fn poll_read_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut left = self.left.lock().unwrap();
        self.check(&mut left);
        if left.broken && !left.cut.silent {
            return Poll::Ready(Ok(()));
        }
        left.reader = Some(task.waker().clone());
        if left.broken { Poll::Pending } else { self.pipe.poll_read_ready(task) }
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        let mut left = self.left.lock().unwrap();
        if left.broken {
            return Err(if left.cut.silent { io::ErrorKind::WouldBlock.into() } else { reset() });
        }
        let room = (buffer.capacity() - buffer.len()).min(left.cut.down).min(4096);
        let mut part = BytesMut::from(vec![0; room].as_slice());
        part.clear();
        let count = self.pipe.try_read(&mut part)?.min(room);
        buffer.extend_from_slice(&part[..count]);
        self.count(0, count);
        left.cut.down -= if left.cut.down == usize::MAX { 0 } else { count };
        self.check(&mut left);
        Ok(count)
    }

    fn poll_write_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.left.lock().unwrap().broken {
            return Poll::Ready(Ok(()));
        }
        self.pipe.poll_write_ready(task)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut left = self.left.lock().unwrap();
        self.check(&mut left);
        if left.broken {
            return if left.cut.silent { Ok(bytes.len()) } else { Err(reset()) };
        }
        let count = self.pipe.try_write(&bytes[..bytes.len().min(left.cut.up)])?;
        self.count(count, 0);
        left.cut.up -= if left.cut.up == usize::MAX { 0 } else { count };
        self.check(&mut left);
        Ok(count)
    }

    fn shutdown(&self) -> io::Result<()> {
        self.pipe.shutdown()
    }
}
