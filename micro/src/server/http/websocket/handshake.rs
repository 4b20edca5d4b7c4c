//! The HTTP side of a WebSocket, and what its subprotocols say.

use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Version};

use bytes::Bytes;

use crate::codec::Codecs;
use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result};
use crate::server::http::reply::Reply;
use crate::transport::websocket::accept_key;

/// The version of the protocol, which is the only one there is.
const VERSION: &str = "13";

/// Characters of a key: 16 bytes in base64.
const KEY_LENGTH: usize = 24;

/// What the names of subprotocols begin with.
const PREFIX: &str = "micro.";

/// The subprotocol that carries a token.
const BEARER: &str = "micro.bearer.";

/// The subprotocol of JSON in text messages.
const JSON: &str = "micro.json";

/// Subprotocols that are looked at; a browser offers one or two.
const PROTOCOLS_MAX: usize = 16;

/// Tells a request for a WebSocket.
pub(in crate::server::http) fn is_asked<B>(request: &Request<B>) -> bool {
    request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && names(request.headers(), &UPGRADE).any(|name| name.eq_ignore_ascii_case("websocket"))
}

/// Tells whether a subprotocol is offered.
pub(super) fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    names(headers, &SEC_WEBSOCKET_PROTOCOL).take(PROTOCOLS_MAX).any(|name| name == protocol)
}

/// Lists what a header names.
fn names<'a>(headers: &'a HeaderMap, header: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(header).into_iter();
    let lines = values.map(|value| value.to_str().unwrap_or_default());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

/// How the messages of a call are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// The subprotocol that says so; `None` where none was understood.
    pub(super) protocol: Option<String>,
    pub(super) content_type: ContentType,
    /// Whether messages are text.
    pub(super) text: bool,
}

/// What a client asks for.
#[derive(Debug)]
pub(super) struct Offer {
    accept: String,
    protocols: Vec<String>,
}

impl Offer {
    /// Reads the headers of a handshake.
    ///
    /// # Errors
    /// 400 that names the header at fault, 426 for another version of the protocol.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self> {
        if !names(headers, &CONNECTION).any(|name| name.eq_ignore_ascii_case("upgrade")) {
            return Err(broken("`Connection: upgrade` is missing"));
        }
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
            let detail = "the WebSocket handshake needs `Sec-WebSocket-Version: 13`";
            return Err(Error::new("micro.server", 426, detail));
        }
        let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).into_iter();
        let (Some(key), None) = (keys.next(), keys.next()) else {
            return Err(broken("there has to be one `Sec-WebSocket-Key`"));
        };
        let key = key.as_bytes();
        let letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        match key.strip_suffix(b"==") {
            Some(letters) if key.len() == KEY_LENGTH && letters.iter().all(letter) => {}
            _ => return Err(broken("`Sec-WebSocket-Key` is not 16 bytes in base64")),
        }
        let protocols = names(headers, &SEC_WEBSOCKET_PROTOCOL).take(PROTOCOLS_MAX);
        Ok(Self { accept: accept_key(key), protocols: protocols.map(str::to_owned).collect() })
    }

    /// Returns the token among the subprotocols.
    pub(super) fn bearer(&self) -> Option<&str> {
        self.protocols.iter().find_map(|name| name.strip_prefix(BEARER))
    }

    /// Returns the subprotocol of JSON, if it is offered.
    pub(super) fn json(&self) -> Option<&str> {
        self.protocols.iter().map(String::as_str).find(|name| *name == JSON)
    }

    /// Takes the first subprotocol that names a codec, or JSON.
    pub(super) fn form(&self, codecs: &Codecs) -> Form {
        for protocol in &self.protocols {
            let Some(name) = protocol.strip_prefix(PREFIX) else { continue };
            let content_type = ContentType::parse(&format!("application/{name}"));
            if codecs.format(&content_type).is_ok() {
                let text = content_type == ContentType::Json;
                return Form { protocol: Some(protocol.clone()), content_type, text };
            }
        }
        Form { protocol: None, content_type: ContentType::Json, text: true }
    }

    /// Makes the response that changes protocols.
    ///
    /// # Errors
    /// 400 when the subprotocol has no form in a header.
    pub(super) fn accept(&self, protocol: Option<&str>) -> Result<Response<Reply>> {
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|e| broken("a subprotocol").with_source(e))
        };
        let mut response = Response::new(Reply::full(Bytes::new()));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, value(&self.accept)?);
        if let Some(protocol) = protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, value(protocol)?);
        }
        Ok(response)
    }
}

#[cold]
fn broken(what: &str) -> Error {
    Error::bad_request("micro.server", format!("the WebSocket handshake is broken: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    const OTHERS: [(&str, &str); 2] = [("connection", "Upgrade"), ("sec-websocket-version", "13")];

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn the_key_of_the_standard_gets_the_answer_of_the_standard() {
        let offer = Offer::read(&headers(&[OTHERS[0], OTHERS[1], KEY])).unwrap();
        let response = offer.accept(None).unwrap();
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!response.headers().contains_key("sec-websocket-protocol"));
    }

    #[test]
    fn a_broken_handshake_says_what_is_wrong() {
        for (pairs, part) in [
            (&[OTHERS[1], KEY][..], "Connection"),
            (&[("connection", "keep-alive"), OTHERS[1], KEY], "Connection"),
            (&[OTHERS[0], KEY], "Version"),
            (&[OTHERS[0], ("sec-websocket-version", "8"), KEY], "Version"),
            (&[OTHERS[0], OTHERS[1]], "one `Sec-WebSocket-Key`"),
            (&[OTHERS[0], OTHERS[1], KEY, KEY], "one `Sec-WebSocket-Key`"),
            (&[OTHERS[0], OTHERS[1], ("sec-websocket-key", "short==")], "base64"),
            (&[OTHERS[0], OTHERS[1], ("sec-websocket-key", "dGhlIHNhbXBsZSBub25j!Q==")], "base64"),
        ] {
            let error = Offer::read(&headers(pairs)).unwrap_err();
            assert_eq!(error.code(), if part == "Version" { 426 } else { 400 });
            assert!(error.detail().contains(part), "{error}");
        }
        let more = [("connection", "keep-alive, UPGRADE"), OTHERS[1], KEY];
        assert!(Offer::read(&headers(&more)).is_ok());
    }

    #[test]
    fn the_first_subprotocol_that_names_a_codec_is_taken() {
        for (protocols, protocol, content_type) in [
            ("", None, ContentType::Json),
            ("chat, micro.none", None, ContentType::Json),
            ("micro.json", Some("micro.json"), ContentType::Json),
            ("chat,micro.msgpack, micro.json", Some("micro.msgpack"), ContentType::MsgPack),
            ("micro.bearer.a.b.c, micro.json", Some("micro.json"), ContentType::Json),
            ("micro.octet-stream", Some("micro.octet-stream"), ContentType::Bytes),
        ] {
            let pairs = [OTHERS[0], OTHERS[1], KEY, ("sec-websocket-protocol", protocols)];
            let offer = Offer::read(&headers(&pairs)).unwrap();
            let form = offer.form(&Codecs::default());
            assert_eq!(form.protocol.as_deref(), protocol, "{protocols}");
            assert_eq!(form.text, content_type == ContentType::Json);
            assert_eq!(form.content_type, content_type);
        }
    }

    #[test]
    fn subprotocols_past_the_limit_are_not_looked_at() {
        for (before, taken) in [(15, true), (16, false), (160, false)] {
            let list = format!("{}micro.msgpack", "x,".repeat(before));
            let mut map = headers(&[OTHERS[0], OTHERS[1], KEY]);
            map.insert(SEC_WEBSOCKET_PROTOCOL, list.parse().unwrap());
            let form = Offer::read(&map).unwrap().form(&Codecs::default());
            assert_eq!(form.protocol.is_some(), taken, "{before}");
            assert_eq!(offers(&map, "micro.msgpack"), taken);
        }
    }
}
