//! The one error of the crate, as it travels between services.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::DeserializeOwned;
use serde::ser::SerializeStruct;

use crate::core::limits::ERROR_DETAIL_BYTES_MAX;
use crate::core::limits::ERROR_DOCUMENT_BYTES_MAX;
use crate::core::limits::ERROR_ID_BYTES_MAX;
use crate::core::status;
use crate::core::status::Code;

/// A result whose error is [`Error`] unless named otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error that may be kept as the source of an [`Error`].
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// A failed operation: where, what kind, and what a person should know.
///
/// Serialises to `{"id", "code", "detail", "status"}`, plus `"details"` if there is a payload. The
/// source, the retry verdict and the retry delay stay in the process: the first is not for peers,
/// the others are carried by each transport in its own way.
///
/// One pointer wide; a clone shares the source. `id`, `detail` and `status` are cut to
/// [`ERROR_ID_BYTES_MAX`], [`ERROR_DETAIL_BYTES_MAX`] and [`ERROR_ID_BYTES_MAX`] bytes.
///
/// ```
/// use micro::core::error::Error;
///
/// let error = Error::not_found("shop.Orders.Read", "no order 7");
/// assert_eq!(
///     error.to_json(),
///     r#"{"id":"shop.Orders.Read","code":404,"detail":"no order 7","status":"Not Found"}"#
/// );
/// assert_eq!(error.to_string(), "shop.Orders.Read: no order 7");
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    id: Cow<'static, str>,
    code: u16,
    detail: String,
    status: Cow<'static, str>,
    retry: Retry,
    retry_after: Option<Duration>,
    details: Option<serde_json::Value>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// Whether the failed request may have run, and so whether it may be sent again.
#[allow(clippy::exhaustive_enums, reason = "callers must decide on every verdict")]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Retry {
    /// The request provably did not run: any request may be sent again.
    Safe,
    /// The request may have run: only an idempotent one may be sent again.
    Unknown,
    /// Sending it again would fail again, or the caller has left.
    Never,
}

impl Retry {
    /// Returns the verdict for an error of which only the code is known.
    ///
    /// 408, 502, 503, 504, 520 and the proxy codes 521..=530 leave open whether the request ran.
    /// Everything else is an answer (4xx, 500, 501) or a cancellation (499) and is final; whoever
    /// refuses a request before running it, with 429 or 503, marks it [`Retry::Safe`].
    pub fn of(code: u16) -> Self {
        match Code::from_code(code) {
            Code::DeadlineExceeded | Code::Unavailable | Code::Unknown => Self::Unknown,
            _ => Self::Never,
        }
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        /// Constructors: one for each gRPC code, and those of common HTTP codes.
        impl Error {
            $($(#[$doc])*
            pub fn $name(id: impl Into<Cow<'static, str>>, detail: impl fmt::Display) -> Self {
                Self::new(id, $code, detail)
            })*
        }
    };
}

constructors! {
    /// Makes a 400, `INVALID_ARGUMENT`: the request is malformed.
    bad_request = 400;
    /// Makes a 401, `UNAUTHENTICATED`: the caller has not proved who it is.
    unauthorized = 401;
    /// Makes a 403, `PERMISSION_DENIED`: the caller is known and may not do this.
    forbidden = 403;
    /// Makes a 404, `NOT_FOUND`: the named thing does not exist.
    not_found = 404;
    /// Makes a 405, `UNIMPLEMENTED`: the HTTP method does not apply.
    method_not_allowed = 405;
    /// Makes a 408, `DEADLINE_EXCEEDED`: a timer fired; the detail names which.
    timeout = 408;
    /// Makes a 409, `ALREADY_EXISTS`: the thing to create exists.
    conflict = 409;
    /// Makes a 412, `FAILED_PRECONDITION`: the state that the request needs is not there.
    precondition_failed = 412;
    /// Makes a 413, `RESOURCE_EXHAUSTED`: a message is longer than its limit.
    too_large = 413;
    /// Makes a 416, `OUT_OF_RANGE`: the request reaches past a valid range.
    out_of_range = 416;
    /// Makes a 423, `ABORTED`: a concurrent call won.
    aborted = 423;
    /// Makes a 429, `RESOURCE_EXHAUSTED`: a quota or limit is used up.
    too_many_requests = 429;
    /// Makes a 499, `CANCELLED`: the caller gave up.
    cancelled = 499;
    /// Makes a 500, `INTERNAL`: the service is at fault.
    internal = 500;
    /// Makes a 501, `UNIMPLEMENTED`: the service does not offer this.
    unimplemented = 501;
    /// Makes a 503, `UNAVAILABLE`: the service cannot be reached or takes no work.
    unavailable = 503;
    /// Makes a 520, `UNKNOWN`: nothing is known about the failure.
    unknown = 520;
    /// Makes a 550, `DATA_LOSS`: data is lost or corrupt.
    data_loss = 550;
}

impl Error {
    /// Makes an error with any code; the status text and the retry verdict follow from it.
    ///
    /// `id` names the operation (`greeter.Greeter.Hello`, `micro.client`), `detail` is for people:
    /// lower case, no full stop, no secrets. Code 0 becomes 500.
    pub fn new(id: impl Into<Cow<'static, str>>, code: u16, detail: impl fmt::Display) -> Self {
        let code = if code == 0 { 500 } else { code };
        Self(Box::new(Inner {
            id: bounded_id(id.into()),
            code,
            detail: bounded(detail.to_string(), ERROR_DETAIL_BYTES_MAX),
            status: Cow::Borrowed(status::reason(code)),
            retry: Retry::of(code),
            retry_after: None,
            details: None,
            source: None,
        }))
    }

    /// Reads an error from text that a peer sent: the JSON of [`Error::to_json`] or plain text.
    ///
    /// Never fails: what is not such a JSON object, or is longer than
    /// [`ERROR_DOCUMENT_BYTES_MAX`], becomes a 500 with the text as its detail and no id.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        if text.starts_with('{') && text.len() <= ERROR_DOCUMENT_BYTES_MAX {
            match serde_json::from_str::<Document>(text) {
                Ok(document) if document.is_error() => return document.into(),
                // Any other JSON is shown to people as it came.
                Ok(_) | Err(_) => {}
            }
        }
        Self::internal("", cut(text, ERROR_DETAIL_BYTES_MAX))
    }

    /// Writes the JSON that peers read.
    ///
    /// A payload that makes it longer than [`ERROR_DOCUMENT_BYTES_MAX`] is left out, so that
    /// [`Error::parse`] accepts whatever this returns.
    pub fn to_json(&self) -> String {
        // Writing strings, a number and a JSON value into memory cannot fail.
        let text = serde_json::to_string(self).unwrap_or_default();
        if text.len() <= ERROR_DOCUMENT_BYTES_MAX || self.0.details.is_none() {
            return text;
        }
        let mut short = self.clone();
        short.0.details = None;
        serde_json::to_string(&short).unwrap_or_default()
    }

    /// Returns the operation or component that failed; may be empty.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Returns the HTTP-like code.
    pub fn code(&self) -> u16 {
        self.0.code
    }

    /// Returns the text for people, as it came: log it through `Display`, which escapes it.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Returns the reason phrase of the code.
    pub fn status(&self) -> &str {
        &self.0.status
    }

    /// Returns whether the request may be sent again.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Returns how long the peer asks to wait before the request is sent again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns the gRPC code; never [`Code::Ok`], since an error is not a success.
    pub fn kind(&self) -> Code {
        match Code::from_code(self.0.code) {
            Code::Ok => Code::Unknown,
            code => code,
        }
    }

    /// Reads the typed payload; `None` if there is none or it has another shape.
    pub fn details<T: DeserializeOwned>(&self) -> Option<T> {
        self.0.details.as_ref().and_then(|value| T::deserialize(value).ok())
    }

    /// Replaces the id.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<Cow<'static, str>>) -> Self {
        self.0.id = bounded_id(id.into());
        self
    }

    /// Replaces the text for people and keeps everything else.
    #[cfg(feature = "client")]
    #[must_use]
    pub(crate) fn with_detail(mut self, detail: impl fmt::Display) -> Self {
        self.0.detail = bounded(detail.to_string(), ERROR_DETAIL_BYTES_MAX);
        self
    }

    /// Replaces the retry verdict.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Returns the error as one of a call that ran: whatever it says of a call made there, it does
    /// not say that nothing has run.
    pub(crate) fn after_running(self) -> Self {
        let verdict = match self.0.retry {
            Retry::Safe => Retry::of(self.0.code),
            verdict => verdict,
        };
        self.with_retry(verdict)
    }

    /// Returns the error as one of a request that only reads: it may be sent again, whatever became
    /// of it, unless it would fail again.
    #[cfg(any(feature = "consul", feature = "nats", feature = "postgres"))]
    pub(crate) fn of_a_read(self) -> Self {
        if self.0.retry == Retry::Unknown { self.with_retry(Retry::Safe) } else { self }
    }

    /// Asks the caller to wait before it sends the request again.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Attaches a typed payload, readable by [`Error::details`] on the other side.
    ///
    /// A value that JSON cannot represent (a map with keys that are not strings, a failing
    /// `Serialize`) is left out and logged.
    #[must_use]
    pub fn with_details<T: Serialize + ?Sized>(mut self, details: &T) -> Self {
        match serde_json::to_value(details) {
            Ok(value) => self.0.details = Some(value),
            Err(error) => tracing::warn!(id = %self.0.id, %error, "error details left out"),
        }
        self
    }

    /// Keeps the cause for logs of this process; `Display` and peers never show it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }
}

/// Makes a 500 with the text of the error, which is kept as the source; a handler's gets the id of
/// its endpoint.
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::internal("", &error).with_source(error)
    }
}

/// Writes `id: detail` (or the status text if there is no detail), never the source.
///
/// Control characters and those that reorder text are escaped: details come from peers and go to
/// terminals and logs.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.id.is_empty() {
            write_escaped(f, &self.0.id)?;
            f.write_str(": ")?;
        }
        let text = if self.0.detail.is_empty() { self.status() } else { self.detail() };
        write_escaped(f, text)
    }
}

/// Writes one line of code, id, detail and causes, as `main` shows an error it returns; `{:#?}`
/// writes every field.
///
/// A cause whose text the line has already is left out; there are eight at most.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() { self.write_fields(f) } else { self.write_line(f) }
    }
}

/// Causes that the one line of an error names at most.
const CAUSES_MAX: usize = 8;

impl Error {
    fn write_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self}", self.0.code)?;
        let mut said = self.to_string();
        let causes = std::iter::successors(self.source(), |cause| StdError::source(*cause));
        for cause in causes.take(CAUSES_MAX) {
            let text = match cause.downcast_ref::<Self>() {
                Some(error) => error.detail().to_owned(),
                None => cause.to_string(),
            };
            if text.is_empty() || said.contains(&text) {
                continue;
            }
            f.write_str("; caused by: ")?;
            write_escaped(f, &text)?;
            said.push_str(&text);
        }
        Ok(())
    }

    fn write_fields(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("id", &self.0.id).field("code", &self.0.code).field("detail", &self.0.detail);
        out.field("status", &self.0.status).field("retry", &self.0.retry);
        if let Some(delay) = &self.0.retry_after {
            out.field("retry_after", delay);
        }
        if let Some(details) = &self.0.details {
            out.field("details", details);
        }
        if let Some(source) = &self.0.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The cause itself, not the pointer to it, so that it can be downcast.
        let source: &(dyn StdError + 'static) = self.0.source.as_deref()?;
        Some(source)
    }
}

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let fields = 4 + usize::from(self.0.details.is_some());
        let mut out = serializer.serialize_struct("Error", fields)?;
        out.serialize_field("id", &self.0.id)?;
        out.serialize_field("code", &self.0.code)?;
        out.serialize_field("detail", &self.0.detail)?;
        out.serialize_field("status", &self.0.status)?;
        match &self.0.details {
            Some(details) => out.serialize_field("details", details)?,
            None => out.skip_field("details")?,
        }
        out.end()
    }
}

/// Reads what `Serialize` writes; missing fields are filled in from the code.
///
/// The caller bounds the length and the depth of the input.
impl<'de> Deserialize<'de> for Error {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Document::deserialize(deserializer).map(Self::from)
    }
}

/// The error as peers write it: every field may be missing, any number may be a code.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Document {
    id: String,
    code: i64,
    detail: String,
    status: String,
    details: Option<serde_json::Value>,
}

impl Document {
    fn is_error(&self) -> bool {
        self.code != 0 || !self.id.is_empty() || !self.detail.is_empty()
    }
}

impl From<Document> for Error {
    fn from(document: Document) -> Self {
        // A code that does not fit is as good as none: the peer's own fault, 500.
        let code = u16::try_from(document.code).unwrap_or(500);
        let mut error = Self::new(document.id, code, "");
        error.0.detail = bounded(document.detail, ERROR_DETAIL_BYTES_MAX);
        if !document.status.is_empty() && document.status != error.0.status {
            error.0.status = Cow::Owned(bounded(document.status, ERROR_ID_BYTES_MAX));
        }
        error.0.details = document.details;
        error
    }
}

fn bounded_id(id: Cow<'static, str>) -> Cow<'static, str> {
    match id {
        Cow::Borrowed(text) => Cow::Borrowed(cut(text, ERROR_ID_BYTES_MAX)),
        Cow::Owned(text) => Cow::Owned(bounded(text, ERROR_ID_BYTES_MAX)),
    }
}

fn bounded(mut text: String, bytes_max: usize) -> String {
    let kept = cut(&text, bytes_max).len();
    if kept < text.len() {
        text.truncate(kept);
        text.shrink_to_fit();
    }
    text
}

/// Returns the longest prefix of whole characters within `bytes_max`.
fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let end = (0..=bytes_max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut rest = text;
    while let Some((start, hostile)) = rest.char_indices().find(|(_, c)| is_hostile(*c)) {
        let (clean, tail) = rest.split_at(start);
        f.write_str(clean)?;
        write!(f, "{}", hostile.escape_default())?;
        rest = tail.get(hostile.len_utf8()..).unwrap_or_default();
    }
    f.write_str(rest)
}

/// Tells characters that break lines, steer terminals or reorder the text around them.
fn is_hostile(c: char) -> bool {
    let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}');
    c.is_control() || reorders || matches!(c, '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Shortage {
        missing: u32,
    }

    #[test]
    fn debug_is_one_line_with_the_causes_and_the_other_form_has_every_field() {
        let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "refused\nhere");
        let dial = Error::unavailable("micro.transport", "cannot connect").with_source(refused);
        let call = Error::unavailable("micro.client", "shop Orders.Read on a: cannot connect");
        let call = call.with_source(dial);
        assert_eq!(
            format!("{call:?}"),
            "503 micro.client: shop Orders.Read on a: cannot connect; caused by: refused\\nhere"
        );
        let fields = format!("{call:#?}");
        for field in ["id: \"micro.client\"", "code: 503", "retry: Unknown", "source: Error {"] {
            assert!(fields.contains(field), "{fields}");
        }
        assert_eq!(format!("{:?}", Error::not_found("", "")), "404 Not Found");
    }

    #[test]
    fn causes_in_debug_are_limited() {
        let nest = |error: Error, n: usize| {
            Error::internal("", format_args!("level {n};")).with_source(error)
        };
        for (levels, named) in [(CAUSES_MAX, CAUSES_MAX), (CAUSES_MAX + 1, CAUSES_MAX)] {
            let chain = (0..levels).fold(Error::internal("", "bottom"), nest);
            assert_eq!(format!("{chain:?}").matches("caused by").count(), named, "{levels}");
        }
    }

    #[test]
    fn it_is_one_pointer_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn json_is_that_of_go_micro() {
        let error = Error::bad_request("greeter.Err", "bad x");
        let json = r#"{"id":"greeter.Err","code":400,"detail":"bad x","status":"Bad Request"}"#;
        assert_eq!(error.to_json(), json);
        assert_eq!(Error::parse(json).to_json(), json);
    }

    #[test]
    fn plain_text_becomes_an_internal_error() {
        for text in ["boom", "", "{", "[1]", "{\"x\":1}", "{\"code\":\"many\"}"] {
            let error = Error::parse(text);
            assert_eq!((error.code(), error.detail(), error.id()), (500, text, ""));
        }
    }

    #[test]
    fn codes_that_make_no_sense_become_500() {
        for code in ["0", "-1", "65536", "9223372036854775807"] {
            let error = Error::parse(&format!(r#"{{"id":"a","code":{code},"detail":"d"}}"#));
            assert_eq!((error.code(), error.id(), error.detail()), (500, "a", "d"));
        }
        assert_eq!(Error::new("a", 200, "odd").kind(), Code::Unknown);
    }

    #[test]
    fn details_travel_typed() {
        let sent = Error::conflict("shop", "short").with_details(&Shortage { missing: 3 });
        let got = Error::parse(&sent.to_json());
        assert_eq!(got.details::<Shortage>(), Some(Shortage { missing: 3 }));
        assert_eq!(got.details::<String>(), None);
        assert_eq!(Error::conflict("shop", "short").details::<Shortage>(), None);
    }

    #[test]
    fn a_payload_past_the_limit_costs_itself_not_the_code() {
        let payload = "x".repeat(ERROR_DOCUMENT_BYTES_MAX);
        let got = Error::parse(&Error::conflict("shop", "d").with_details(&payload).to_json());
        assert_eq!((got.code(), got.detail()), (409, "d"));
        assert_eq!(got.details::<String>(), None);
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let text = "\u{20ac}".repeat(ERROR_DETAIL_BYTES_MAX);
        for error in [Error::internal("a", &text), Error::parse(&text)] {
            assert!(error.detail().len() <= ERROR_DETAIL_BYTES_MAX);
            assert!(error.detail().len() > ERROR_DETAIL_BYTES_MAX - 3);
            assert!(error.detail().chars().all(|c| c == '\u{20ac}'));
        }
        assert_eq!(Error::internal(text, "").id().len(), ERROR_ID_BYTES_MAX / 3 * 3);
    }

    #[test]
    fn display_escapes_and_never_shows_the_source() {
        let error = Error::internal("a", "x\r\n\u{1b}[2J\u{202e}y").with_source("password");
        assert_eq!(error.to_string(), "a: x\\r\\n\\u{1b}[2J\\u{202e}y");
        assert_eq!(StdError::source(&error).map(ToString::to_string), Some("password".into()));
        assert_eq!(Error::not_found("", "").to_string(), "Not Found");
        assert_eq!(Error::not_found("shop", "").to_string(), "shop: Not Found");
    }

    #[test]
    fn deep_json_is_plain_text_not_a_crash() {
        let deep = format!("{{\"code\":400,\"details\":{}", "[".repeat(20_000));
        assert_eq!(Error::parse(&deep).code(), 500);
    }

    #[test]
    fn only_failures_that_leave_the_outcome_open_are_unknown() {
        for code in [408, 502, 503, 504, 520] {
            assert_eq!(Error::new("", code, "").retry(), Retry::Unknown, "{code}");
        }
        for code in [400, 401, 403, 404, 409, 412, 413, 429, 499, 500, 501, 550] {
            assert_eq!(Error::new("", code, "").retry(), Retry::Never, "{code}");
        }
        assert_eq!(Error::unavailable("", "").with_retry(Retry::Safe).retry(), Retry::Safe);
    }

    proptest! {
        #[test]
        fn parse_takes_anything(text in ".*") {
            let error = Error::parse(&text);
            prop_assert!(!error.to_string().chars().any(char::is_control));
        }

        #[test]
        fn json_round_trips(id in ".{0,40}", code in 1u16.., detail in ".{0,200}") {
            let error = Error::new(id, code, detail);
            let back = Error::parse(&error.to_json());
            prop_assert_eq!(back.to_json(), error.to_json());
        }
    }
}
