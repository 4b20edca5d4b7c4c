//! The numbers of the process, for Prometheus.

use bytes::Bytes;
use http::Response;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::core::error::Result;
use crate::debug::{Exposition, expose};
use crate::server::http::face::{Peer, Site};
use crate::server::http::head;
use crate::server::http::reply::Reply;

/// Where the numbers are.
pub(super) const METRICS: &str = "/metrics";

impl Site {
    /// Answers a reader of numbers, whom the policy treats as a caller of `Debug.Stats`.
    ///
    /// # Errors
    /// 401 or 403 for those who may not see them, 429 when too many ask.
    pub(super) fn metrics(&self, peer: &Peer, headers: &HeaderMap) -> Result<Response<Reply>> {
        let router = &self.router;
        let extra = head::credentials(headers)?;
        let account = router.admit_question(&extra, peer.caller())?;
        router.claim(&peer.seat, account.as_deref())?;
        router.monitor.question()?;
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        let format = Exposition::accepted(accept.unwrap_or_default());
        let text = expose(&router.monitor.stats(""), format);
        let mut response = Response::new(Reply::full(Bytes::from(text)));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}
