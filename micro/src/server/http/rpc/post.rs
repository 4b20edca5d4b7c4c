//! JSON-RPC by `POST`, where the user has nothing at the path.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};

use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result};
use crate::server::http::body::{Payload, Room, read};
use crate::server::http::call::unpacked;
use crate::server::http::face::{Peer, Site};
use crate::server::http::head;
use crate::server::http::reply::{self, Reply};
use crate::server::http::rpc::{Caller, answer};
#[cfg(feature = "ws")]
use crate::server::http::websocket;

/// Where JSON-RPC is.
pub(in crate::server::http) const PATH: &str = "/rpc";

impl Site {
    /// Answers a request at [`PATH`]: by a route of the user's own, and else by JSON-RPC.
    ///
    /// # Errors
    /// Those of reading the request; what goes wrong with a call is in its answer.
    pub(in crate::server::http) async fn rpc<B: Payload>(
        &self,
        peer: &Peer,
        request: Request<B>,
    ) -> Result<Response<Reply>> {
        let Some(user) = &self.user else { return self.own_rpc(peer, request).await };
        let (parts, body) = request.into_parts();
        let kept = parts.clone();
        let (lent, loan) = Lent::new(body);
        match self.ask_user(user.clone(), peer, Request::from_parts(parts, lent)).await {
            Ok(Some(response)) => return Ok(response),
            Ok(None) => {}
            // Who may not use the user's routes may be let in by an endpoint: each call is admitted.
            Err(error) if matches!(error.code(), 401 | 403) => {}
            Err(error) => return Err(error),
        }
        match loan.back() {
            Some(body) => self.own_rpc(peer, Request::from_parts(kept, body)).await,
            None => Err(Error::internal("micro.server", "a layer kept the body of a request")),
        }
    }

    async fn own_rpc<B: Payload>(
        &self,
        peer: &Peer,
        request: Request<B>,
    ) -> Result<Response<Reply>> {
        #[cfg(feature = "ws")]
        if websocket::is_asked(&request) {
            let mut request = request;
            return self.begin_rpc(peer, &mut request);
        }
        if request.method() != Method::POST {
            let error = Error::method_not_allowed("micro.server", "JSON-RPC is called by POST");
            let mut response = reply::error(&error);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return Ok(response);
        }
        let (router, now) = (&self.router, clock::now());
        let (parts, body) = request.into_parts();
        let head = head::read(&parts.headers, now, &router.codecs, &router.limits.trace)?;
        if head.content_type != ContentType::Json {
            let given = head.content_type.as_str().escape_debug();
            let detail = format!("JSON-RPC is application/json, not {given}");
            return Err(Error::new("micro.server", 415, detail));
        }
        let limits = &router.limits;
        let room = Room::new(&*peer.seat, limits.message.reassembly_bytes_max);
        let until = clock::after(now, limits.call.default_timeout);
        let (mut body, coding) = (unpacked(body, head.coding), head.accepted.coding);
        let document = read(&mut body, limits, (now, until), room).await?;
        peer.seat.unread.store(false, Ordering::Relaxed);
        let caller = Arc::new(Caller::new(router, peer, head, now));
        Ok(match answer(&caller, &document).await {
            Some(answer) => {
                reply::packed(reply::message(answer.into(), &ContentType::Json), coding)
            }
            None => {
                let mut response = Response::new(Reply::full(Bytes::new()));
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
            }
        })
    }
}

/// A body that comes back when its borrower drops it.
struct Lent<B> {
    body: Option<B>,
    home: Loan<B>,
}

/// Where a lent body comes back to.
struct Loan<B>(Arc<Mutex<Option<B>>>);

impl<B> Lent<B> {
    fn new(body: B) -> (Self, Loan<B>) {
        let home = Arc::default();
        (Self { body: Some(body), home: Loan(Arc::clone(&home)) }, Loan(home))
    }
}

impl<B> Loan<B> {
    fn back(&self) -> Option<B> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<B> Drop for Lent<B> {
    fn drop(&mut self) {
        *self.home.0.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
    }
}

impl<B: Payload> Body for Lent<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, B::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(task),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}
