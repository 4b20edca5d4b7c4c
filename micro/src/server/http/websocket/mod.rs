//! WebSocket on the one port: calls, the native protocol, JSON-RPC.
//!
//! What is spoken how stands in the docs of the server.

mod call;
mod handshake;
mod native;
mod requests;
mod rpc;
mod talk;

use std::sync::Arc;

use http::{Request, Response};

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::Target;
use crate::core::limits::ConnectionLimits;
use crate::core::metadata::Metadata;
use crate::server::http::face::{Peer, Site};
use crate::server::http::head::{self, Head};
use crate::server::http::reply::Reply;
use crate::server::http::rpc::Caller;
use crate::server::http::websocket::call::Call;
use crate::server::http::websocket::handshake::Offer;
use crate::server::roster::Order;
use crate::transport::Scope;
use crate::transport::websocket::NATIVE;

pub(super) use self::handshake::is_asked;

/// Where the native protocol is.
const NATIVE_PATH: &str = "/";

impl Site {
    /// Answers a request for a WebSocket, unless it is to a path that only the user's router or
    /// JSON-RPC may have.
    ///
    /// # Errors
    /// 400 for a broken handshake, 401 or 403 for those who may not call, 503 while the server
    /// drains.
    pub(super) fn upgrade<B>(
        &self,
        peer: &Peer,
        request: &mut Request<B>,
        target: Option<Target>,
    ) -> Result<Option<Response<Reply>>> {
        if let Some(target) = target {
            return self.begin_call(peer, request, target).map(Some);
        }
        if request.uri().path() == NATIVE_PATH && handshake::offers(request.headers(), NATIVE) {
            return self.begin_native(peer, request).map(Some);
        }
        Ok(None)
    }

    fn begin_call<B>(
        &self,
        peer: &Peer,
        request: &mut Request<B>,
        target: Target,
    ) -> Result<Response<Reply>> {
        let router = &self.router;
        let offer = Offer::read(request.headers())?;
        takes_more(peer)?;
        let now = clock::now();
        let mut head = self.head(request, &offer, now)?;
        let entry = router.entry(target)?;
        let account = router.admit(entry, head.extra.as_deref(), peer.caller())?;
        router.claim(&peer.seat, account.as_deref())?;
        let form = offer.form(&router.codecs);
        let response = offer.accept(form.protocol.as_deref())?;
        head.content_type = form.content_type.clone();
        let call = Call {
            router: Arc::clone(router),
            peer: peer.clone(),
            target,
            now,
            head,
            account,
            text: form.text,
        };
        peer.seat.set_ends_itself();
        router.tasks.spawn("websocket", call::serve(call, hyper::upgrade::on(request)));
        Ok(response)
    }

    fn begin_native<B>(&self, peer: &Peer, request: &mut Request<B>) -> Result<Response<Reply>> {
        let offer = Offer::read(request.headers())?;
        takes_more(peer)?;
        let response = offer.accept(Some(NATIVE))?;
        let router = Arc::clone(&self.router);
        let scope =
            Scope::new(Arc::clone(&router.limits), router.tasks.clone(), router.shutdown.clone());
        peer.seat.set_ends_itself();
        let serving = native::serve(router, peer.clone(), hyper::upgrade::on(request), scope);
        self.router.tasks.spawn("websocket", serving);
        Ok(response)
    }

    /// Begins JSON-RPC, after the user's router had its chance.
    ///
    /// # Errors
    /// As [`Self::upgrade`].
    pub(super) fn begin_rpc<B>(
        &self,
        peer: &Peer,
        request: &mut Request<B>,
    ) -> Result<Response<Reply>> {
        let offer = Offer::read(request.headers())?;
        takes_more(peer)?;
        let now = clock::now();
        let head = self.head(request, &offer, now)?;
        let caller = Caller::new(&self.router, peer, head, now);
        let response = offer.accept(offer.json())?;
        peer.seat.set_ends_itself();
        let serving = rpc::serve(Arc::new(caller), hyper::upgrade::on(request));
        self.router.tasks.spawn("websocket", serving);
        Ok(response)
    }

    /// Reads the headers of a handshake, with the token that a browser has no other way to send.
    fn head<B>(&self, request: &Request<B>, offer: &Offer, now: Instant) -> Result<Head> {
        let router = &self.router;
        let mut head = head::read(request.headers(), now, &router.codecs, &router.limits.trace)?;
        if let Some(token) = offer.bearer() {
            let headers: &mut Metadata = &mut head.extra.get_or_insert_with(Box::default).headers;
            if headers.get(AUTHORIZATION).is_some() {
                let detail = "the token comes twice: as a header and as a subprotocol";
                return Err(Error::bad_request("micro.server", detail));
            }
            headers.insert(AUTHORIZATION, format!("Bearer {token}"))?;
        }
        Ok(head)
    }
}

const AUTHORIZATION: &str = "authorization";

/// Refuses those who come while the connection is to end.
fn takes_more(peer: &Peer) -> Result<()> {
    if peer.seat.order() == Order::Serve {
        return Ok(());
    }
    let detail = "the server is about to stop";
    Err(Error::unavailable("micro.server", detail).with_retry(Retry::Safe))
}

/// Returns when a connection has the age at which those of every protocol end.
fn old_at(peer: &Peer, limits: &ConnectionLimits) -> Instant {
    clock::after(peer.seat.since, limits.age_max.saturating_add(limits.age_grace))
}
