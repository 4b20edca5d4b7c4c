//! The contenders, one file each.

mod axum;
mod micro;
mod raw;
mod tarpc;
mod tonic;

pub(crate) use self::micro::{Grpc, Http, Native};
pub(crate) use axum::Axum;
pub(crate) use raw::Raw;
pub(crate) use tarpc::Tarpc;
pub(crate) use tonic::Tonic;
