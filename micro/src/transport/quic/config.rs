//! How QUIC is spoken: one stream each way, within the limits of a connection.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};

use crate::core::error::{Error, Result};
use crate::core::limits::Limits;
use crate::transport::quic::ERROR_ID;
use crate::transport::tls::{Files, Roots};

/// Makes what serves, with the certificate there is at the moment.
pub(super) fn server(files: &Files, limits: &Limits) -> Result<Arc<ServerConfig>> {
    let crypto =
        QuicServerConfig::try_from(files.config()).map_err(|e| unusable(&e.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport(limits, 1)?);
    Ok(Arc::new(config))
}

/// Makes what dials, with the authorities there are at the moment.
pub(super) async fn client(roots: &Roots, limits: &Limits) -> Result<ClientConfig> {
    let crypto = QuicClientConfig::try_from(roots.native_config().await);
    let crypto = crypto.map_err(|error| unusable(&error.to_string()))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport(limits, 0)?);
    Ok(config)
}

/// Bounds a connection; a peer may open so many streams.
fn transport(limits: &Limits, streams: u32) -> Result<Arc<TransportConfig>> {
    let bytes = |bytes: usize| VarInt::try_from(u64::try_from(bytes).unwrap_or(u64::MAX));
    let window = bytes(limits.connection.outbound_bytes_max);
    let window = window.map_err(|error| unusable(&error.to_string()))?;
    let idle = IdleTimeout::try_from(limits.connection.server_idle_timeout);
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(window)
        .receive_window(window)
        .send_window(u64::try_from(limits.connection.outbound_bytes_max).unwrap_or(u64::MAX))
        .max_idle_timeout(Some(idle.map_err(|error| unusable(&error.to_string()))?));
    Ok(Arc::new(config))
}

fn unusable(why: &str) -> Error {
    Error::precondition_failed(ERROR_ID, format!("QUIC cannot be set up: {why}"))
}
