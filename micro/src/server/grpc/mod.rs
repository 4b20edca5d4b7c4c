//! gRPC over HTTP/2: the same endpoints, by the names and in the form that its clients know.
//!
//! `/{service}.{Type}/{Method}` is the endpoint `Type.Method` of a service, as go-micro calls it;
//! a stub that was generated for another package finds the endpoint by `Type.Method` where one
//! mounted service has it. A call passes the same gates in the same order as over HTTP.

mod call;
mod descriptors;
mod frames;
mod head;
mod health;
mod messages;
mod paths;
mod reflection;

use http::header::CONTENT_TYPE;
use http::{Request, Version};

use crate::codec::grpc::is_grpc;
use crate::core::error::{Error, Result};

pub(super) use self::descriptors::Descriptors;
pub(super) use self::frames::Frames;
pub(super) use self::health::{HEALTH, Health, Known};
pub(super) use self::paths::Paths;
pub(super) use self::reflection::{REFLECTION, Reflection};

/// Tells whether a request is a call of gRPC.
pub(super) fn asks<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_2 && is_call(request)
}

fn is_call<B>(request: &Request<B>) -> bool {
    request.headers().get(CONTENT_TYPE).is_some_and(|value| is_grpc(value.as_bytes()))
}

/// Refuses a call of gRPC on a connection that cannot carry its trailers.
///
/// # Errors
/// 505.
pub(super) fn refuse_http1<B>(request: &Request<B>) -> Result<()> {
    if is_call(request) && request.version() != Version::HTTP_2 {
        let detail = "gRPC needs HTTP/2; call without TLS by prior knowledge (`h2c`)";
        return Err(Error::new("micro.server", 505, detail));
    }
    Ok(())
}
