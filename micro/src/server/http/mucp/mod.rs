//! Calls as go-micro's clients make them over HTTP.
//!
//! A request is one of go-micro's when its headers say so (`Micro-Endpoint`, `Micro-Method`,
//! `Micro-Service`, `Micro-Target`, each also with `X-`), or when it is a `POST /` in one of the
//! content types of its envelopes. It is answered as go-micro answers: the status is always 200,
//! failure is the header `Micro-Error`, and what the request said is said again. Other than there,
//! an answer repeats the headers of its own request alone, and never credentials or cookies.
//!
//! Where a request names no service of this process, the one service that has the endpoint is
//! meant, as go-micro does not look at the name of the service at all.

mod answer;
mod ask;
mod call;
mod stream;
mod taken;

pub(super) use self::ask::{Asked, asked};
pub(super) use self::taken::{Handed, TakeOver};
