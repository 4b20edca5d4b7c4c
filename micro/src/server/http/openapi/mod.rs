//! What is served, as a document of OpenAPI 3.1: `GET /openapi.json`.
//!
//! It is made of the descriptors: names, texts, examples, and the schemas of types that have one.
//! Callers on other hosts who have no account see what is public, as in the list of a 404.

mod document;
mod operation;
mod schemas;

use std::sync::OnceLock;

use bytes::Bytes;
use http::Response;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::core::error::Result;
use crate::server::http::coding;
use crate::server::http::face::{Peer, Site};
use crate::server::http::head;
use crate::server::http::openapi::document::document;
use crate::server::http::reply::{self, Reply};

/// Where the document is.
pub(super) const OPENAPI: &str = "/openapi.json";

/// The documents of a server, each made when somebody first asks for it.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    all: OnceLock<Bytes>,
    public: OnceLock<Bytes>,
}

impl Site {
    /// Answers who wants to know what is served.
    ///
    /// # Errors
    /// 401 or 403 for credentials that are not good.
    pub(super) fn describe(&self, peer: &Peer, headers: &HeaderMap) -> Result<Response<Reply>> {
        let router = &self.router;
        let extra = head::credentials(headers)?;
        let (account, all) = router.admit_reader(OPENAPI, &extra, peer.caller())?;
        router.claim(&peer.seat, account.as_deref())?;
        let kept = if all { &self.documents.all } else { &self.documents.public };
        let text = kept.get_or_init(|| {
            let entries: Vec<_> = router.table.shown(all).collect();
            let made = document(&entries, &router.codecs, router.rule.knows_accounts());
            made.to_string().into()
        });
        let mut response = Response::new(Reply::full(text.clone()));
        let out = response.headers_mut();
        out.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        out.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let coding = headers.get(ACCEPT_ENCODING).and_then(coding::for_response);
        Ok(reply::packed(response, coding))
    }
}
