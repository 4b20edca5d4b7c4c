//! The native transport over QUIC: one connection of UDP, always inside of TLS 1.3.
//!
//! Each connection carries one session of the native transport on one stream of its own, so that
//! calls, streams, credit, resets, deadlines, drains and errors are those of the native transport,
//! frame by frame. What QUIC adds is its handshake in one round trip, loss that is mended without
//! the kernel, and a connection that survives a change of address. What it does not add here is
//! streams that do not wait for each other when a packet is lost: that would be another wire.
//!
//! The certificates are those in files, see [`tls::Files`](crate::transport::tls::Files) and
//! [`tls::Roots`](crate::transport::tls::Roots); both are followed while the process runs. A
//! listener serves the native protocol alone; certificates of callers are asked for where the files
//! say so, and no account is made of them.

mod carry;
mod config;
mod dial;
mod listen;
mod tasks;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::core::error::{Error, Result};
use crate::core::exchange::{Connection, Dispatch};
use crate::core::future::BoxFuture;
use crate::core::net::Address;
use crate::transport::tls::{Files, Roots};
use crate::transport::{Scope, Transport};

/// The id of the errors of this part.
const ERROR_ID: &str = "micro.quic";

/// Dials and listens on `host:port` of UDP.
#[derive(Clone, Debug, Default)]
pub struct Quic {
    files: Option<Arc<Files>>,
    roots: Option<Arc<Roots>>,
}

impl Quic {
    /// Makes a transport that neither trusts nor shows anything yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves with a certificate; the listener follows its files.
    #[must_use]
    pub fn serving(mut self, files: Arc<Files>) -> Self {
        self.files = Some(files);
        self
    }

    /// Dials servers that these authorities have signed.
    #[must_use]
    pub fn trusting(mut self, roots: Arc<Roots>) -> Self {
        self.roots = Some(roots);
        self
    }
}

impl Transport for Quic {
    fn name(&self) -> &'static str {
        "quic"
    }

    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>>> {
        Box::pin(async move {
            let roots = self.roots.as_ref().ok_or_else(|| {
                let detail = "no authority of servers is trusted: set `micro.client_tls_ca`";
                Error::precondition_failed(ERROR_ID, detail)
            })?;
            dial::dial(roots, address, scope).await
        })
    }

    fn listen<'a>(
        &'a self,
        address: &'a Address,
        dispatch: Arc<dyn Dispatch>,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        Box::pin(async move {
            let files = self.files.as_ref().ok_or_else(|| {
                let detail = "there is no certificate to serve with: set `micro.server_tls_cert`";
                Error::precondition_failed(ERROR_ID, detail)
            })?;
            listen::listen(files, address, dispatch, scope).await
        })
    }
}
