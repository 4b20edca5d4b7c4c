//! One connection over HTTP/1.1 to an agent of Consul.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::shutdown::{TaskHandle, TaskTracker};
use crate::driver::consul::{ANSWER_BYTES_MAX, Answer, CONNECT_TIMEOUT, ERROR_ID};

/// The header of an answer that says at which point of Consul's state it was made.
const INDEX: &str = "x-consul-index";

/// A connection, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Wire {
    sender: SendRequest<Full<Bytes>>,
    /// Runs the connection until it ends.
    task: TaskHandle<()>,
}

/// Why there was no answer.
pub(super) enum Lost {
    /// Nothing of the request was sent; here it is again.
    Unsent(Box<Request<Full<Bytes>>>, Error),
    /// It was sent, at least in part.
    Unanswered(Error),
}

impl Wire {
    /// Connects to `host:port`.
    pub(super) async fn open(address: &str, tasks: &TaskTracker) -> Result<Self> {
        let no = |error: &dyn std::fmt::Display| {
            let detail = format!("no connection to consul at {address}: {error}");
            Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe)
        };
        let stream = clock::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        let stream = match stream {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(no(&error).with_source(error)),
            Err(elapsed) => return Err(no(&elapsed)),
        };
        // Without it small requests wait for the acknowledgement of earlier ones.
        stream.set_nodelay(true).map_err(|error| no(&error))?;
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| no(&error))?;
        let run = async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to consul ended");
            }
        };
        let task = tasks.spawn("driver.consul.wire", run).abort_on_drop();
        Ok(Self { sender, task })
    }

    /// Returns whether the connection has not ended, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Waits until the connection has ended; cancel safe.
    pub(super) async fn ended(&mut self) {
        // Whatever ended it is in the log.
        drop((&mut self.task).await);
    }

    /// Sends a request and reads its answer, one at a time.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> std::result::Result<Answer, Lost> {
        if let Err(error) = self.sender.ready().await {
            let detail = format!("the connection to consul has ended: {error}");
            let error = Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe);
            return Err(Lost::Unsent(Box::new(request), error));
        }
        let is_read = request.method() == Method::GET;
        let sent = self.sender.try_send_request(request).await;
        let (head, body) = match sent {
            Ok(answer) => answer.into_parts(),
            Err(mut error) => {
                let request = error.take_message();
                let detail = format!("no answer of consul: {}", error.error());
                return Err(match request {
                    Some(request) => {
                        let error = Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe);
                        Lost::Unsent(Box::new(request), error)
                    }
                    None => Lost::Unanswered(Error::unavailable(ERROR_ID, detail)),
                });
            }
        };
        let index = head.headers.get(INDEX).and_then(|index| index.to_str().ok()?.parse().ok());
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
            let detail = format!("an answer of consul broke off: {error}");
            Lost::Unanswered(Error::unavailable(ERROR_ID, detail))
        })?;
        Ok(Answer { status: head.status.as_u16(), is_read, index, body: body.to_bytes() })
    }
}
