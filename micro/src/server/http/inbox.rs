//! Events as go-micro posts them: `POST /?id=<node>`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Method, Request, Response};

use crate::broker::Inbox;
use crate::core::clock;
use crate::core::error::Result;
use crate::server::http::body::{Payload, Room, read};
use crate::server::http::face::{Peer, Site};
use crate::server::http::head;
use crate::server::http::query::unescaped;
use crate::server::http::reply::Reply;

/// Returns the node that a request brings an event for, if it is one that does.
pub(super) fn node<B>(request: &Request<B>) -> Option<String> {
    let uri = request.uri();
    if request.method() != Method::POST || uri.path() != "/" {
        return None;
    }
    let id = uri.query()?.split('&').find_map(|pair| pair.strip_prefix("id="))?;
    unescaped(id)
}

impl Site {
    /// Takes an event for a subscription of this process, as its own routes would be called.
    pub(super) async fn take<B: Payload>(
        &self,
        inbox: &Arc<dyn Inbox>,
        node: &str,
        peer: &Peer,
        request: Request<B>,
    ) -> Result<Response<Reply>> {
        let (router, limits) = (&self.router, &self.router.limits);
        let extra = head::credentials(request.headers())?;
        let account = router.admit_route(&request, &extra, peer.caller())?;
        router.claim(&peer.seat, account.as_deref())?;
        let _slot = router.enter_route().await?;
        let now = clock::now();
        let until = clock::after(now, limits.call.default_timeout);
        let room = Room::new(&*peer.seat, limits.message.reassembly_bytes_max);
        let mut body = request.into_body();
        let document = read(&mut body, limits, (now, until), room).await?;
        peer.seat.unread.store(false, Ordering::Relaxed);
        inbox.post(node, &document)?;
        Ok(Response::new(Reply::full(Bytes::new())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: Method, uri: &str) -> Option<String> {
        node(&Request::builder().method(method).uri(uri).body(()).unwrap())
    }

    #[test]
    fn only_a_post_to_the_root_with_an_id_is_an_event() {
        assert_eq!(asked(Method::POST, "/?id=events-4b").as_deref(), Some("events-4b"));
        assert_eq!(asked(Method::POST, "/?x=1&id=a%20b+c").as_deref(), Some("a b c"));
        for uri in ["/", "/?x=1", "/shop?id=a", "/?id=%zz", "/?id=%ff", "/?id=%4"] {
            assert_eq!(asked(Method::POST, uri), None, "{uri}");
        }
        assert_eq!(asked(Method::GET, "/?id=a"), None);
    }
}
