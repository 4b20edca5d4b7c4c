//! Answers as they are written.

use std::borrow::Cow;

use crate::core::error::Error;
use crate::server::http::rpc::document::NOBODY;

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No JSON at all.
    Parse,
    /// JSON, but no request.
    Invalid(Cow<'static, str>),
    /// No such endpoint; go-micro's document of the error.
    Method(String, String),
    /// Parameters that are no request of the endpoint.
    Params(Cow<'static, str>, Option<String>),
    /// The server failed.
    Internal(String, String),
    /// Any other error of the call.
    Server(String, String),
}

impl Fault {
    /// Sorts the error of a call.
    pub(super) fn of(error: &Error) -> Self {
        let (detail, document) = (error.detail().to_owned(), error.to_json());
        match error.code() {
            400 if error.id() == DECODING => Self::Params(detail.into(), Some(document)),
            500 => Self::Internal(detail, document),
            _ => Self::Server(detail, document),
        }
    }

    fn code(&self) -> i32 {
        match self {
            Self::Parse => -32700,
            Self::Invalid(_) => -32600,
            Self::Method(..) => -32601,
            Self::Params(..) => -32602,
            Self::Internal(..) => -32603,
            Self::Server(..) => -32000,
        }
    }

    fn message(&self) -> &'static str {
        match self {
            Self::Parse => "Parse error",
            Self::Invalid(_) => "Invalid Request",
            Self::Method(..) => "Method not found",
            Self::Params(..) => "Invalid params",
            Self::Internal(..) => "Internal error",
            Self::Server(..) => "Server error",
        }
    }

    fn detail(&self) -> &str {
        match self {
            Self::Parse => "",
            Self::Invalid(detail) | Self::Params(detail, _) => detail,
            Self::Method(detail, _) | Self::Internal(detail, _) | Self::Server(detail, _) => detail,
        }
    }

    fn document(&self) -> Option<&str> {
        match self {
            Self::Parse | Self::Invalid(_) => None,
            Self::Params(_, document) => document.as_deref(),
            Self::Method(_, document) | Self::Internal(_, document) | Self::Server(_, document) => {
                Some(document)
            }
        }
    }
}

/// What errors of decoding are told by.
const DECODING: &str = "micro.codec";

/// Writes an answer with a result, which is JSON or, for no content, null.
pub(super) fn result(id: &str, result: &[u8]) -> String {
    let result = if result.is_empty() { NOBODY.into() } else { String::from_utf8_lossy(result) };
    format!("{{\"jsonrpc\":\"2.0\",\"result\":{result},\"id\":{id}}}")
}

/// Writes an answer with an error.
pub(super) fn error(id: Option<&str>, fault: &Fault) -> String {
    let message = match fault.detail() {
        "" => fault.message().to_owned(),
        detail => format!("{}: {detail}", fault.message()),
    };
    let message = serde_json::Value::from(message);
    let data = fault.document().map(|document| format!(",\"data\":{document}"));
    format!(
        "{{\"jsonrpc\":\"2.0\",\"error\":{{\"code\":{},\"message\":{message}{}}},\"id\":{}}}",
        fault.code(),
        data.unwrap_or_default(),
        id.unwrap_or(NOBODY),
    )
}
