//! The one table between gRPC codes, this crate's numeric codes and HTTP.
//!
//! Three number spaces meet in an error. gRPC has 17 codes. [`Error::code`] is HTTP-like and
//! distinct for each of them, so that nothing is lost on the way through JSON. The status line of
//! an HTTP response is a third: it may differ from the code where HTTP gives that number another
//! meaning (a 408 tells a client to send its request again), and the body keeps the code.
//!
//! [`Error::code`]: crate::core::error::Error::code

/// A canonical gRPC status code.
///
/// The set is closed by the gRPC specification.
#[allow(clippy::exhaustive_enums, reason = "gRPC defines exactly these 17 codes")]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Code {
    /// The call succeeded.
    Ok = 0,
    /// The caller gave the call up.
    Cancelled = 1,
    /// No information about the failure is available.
    Unknown = 2,
    /// The request is malformed, whatever the state of the service.
    InvalidArgument = 3,
    /// The deadline passed before the call completed.
    DeadlineExceeded = 4,
    /// The named thing does not exist.
    NotFound = 5,
    /// The thing to create exists already.
    AlreadyExists = 6,
    /// The caller is known and may not do this.
    PermissionDenied = 7,
    /// A quota or a limit is used up.
    ResourceExhausted = 8,
    /// The service is not in the state that the request needs.
    FailedPrecondition = 9,
    /// The call lost against a concurrent one.
    Aborted = 10,
    /// The request reaches past a valid range.
    OutOfRange = 11,
    /// The service does not offer this operation.
    Unimplemented = 12,
    /// An invariant of the service is broken.
    Internal = 13,
    /// The service cannot be reached or does not accept work.
    Unavailable = 14,
    /// Data is lost or corrupt beyond repair.
    DataLoss = 15,
    /// The caller has not proved who it is.
    Unauthenticated = 16,
}

/// One row of the table: a gRPC code, its number, its name and its HTTP-like code.
struct Row(Code, u8, &'static str, u16);

/// The table. Invariant: row `n` holds the gRPC code with number `n`, and no `u16` repeats.
const TABLE: [Row; 17] = [
    Row(Code::Ok, 0, "OK", 200),
    Row(Code::Cancelled, 1, "CANCELLED", 499),
    Row(Code::Unknown, 2, "UNKNOWN", 520),
    Row(Code::InvalidArgument, 3, "INVALID_ARGUMENT", 400),
    Row(Code::DeadlineExceeded, 4, "DEADLINE_EXCEEDED", 408),
    Row(Code::NotFound, 5, "NOT_FOUND", 404),
    Row(Code::AlreadyExists, 6, "ALREADY_EXISTS", 409),
    Row(Code::PermissionDenied, 7, "PERMISSION_DENIED", 403),
    Row(Code::ResourceExhausted, 8, "RESOURCE_EXHAUSTED", 429),
    Row(Code::FailedPrecondition, 9, "FAILED_PRECONDITION", 412),
    Row(Code::Aborted, 10, "ABORTED", 423),
    Row(Code::OutOfRange, 11, "OUT_OF_RANGE", 416),
    Row(Code::Unimplemented, 12, "UNIMPLEMENTED", 501),
    Row(Code::Internal, 13, "INTERNAL", 500),
    Row(Code::Unavailable, 14, "UNAVAILABLE", 503),
    Row(Code::DataLoss, 15, "DATA_LOSS", 550),
    Row(Code::Unauthenticated, 16, "UNAUTHENTICATED", 401),
];

impl Code {
    /// Lists all 17 codes in numeric order.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    /// Returns the gRPC number, 0 to 16.
    pub fn number(self) -> u8 {
        self.row().1
    }

    /// Returns the name in the gRPC specification, such as `NOT_FOUND`.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Returns the HTTP-like code, distinct for each gRPC code.
    pub fn code(self) -> u16 {
        self.row().3
    }

    /// Returns the code with a gRPC number; a number outside 0..=16 is [`Code::Unknown`].
    pub fn from_number(number: u8) -> Self {
        TABLE.get(usize::from(number)).map_or(Self::Unknown, |row| row.0)
    }

    /// Returns the gRPC code for any HTTP-like code or HTTP status.
    ///
    /// Inverts [`Code::code`]. Other numbers go to the nearest meaning: the rest of 2xx to `Ok`,
    /// of 4xx to `InvalidArgument`, of 5xx to `Internal`, everything else to `Unknown`.
    pub fn from_code(code: u16) -> Self {
        if let Some(row) = TABLE.iter().find(|row| row.3 == code) {
            return row.0;
        }
        match code {
            407 | 511 => Self::Unauthenticated,
            402 | 451 => Self::PermissionDenied,
            405 | 505 => Self::Unimplemented,
            410 => Self::NotFound,
            413 | 507 => Self::ResourceExhausted,
            424 | 426 | 428 => Self::FailedPrecondition,
            421 | 425 | 502 | 521..=530 => Self::Unavailable,
            504 => Self::DeadlineExceeded,
            200..=299 => Self::Ok,
            400..=499 => Self::InvalidArgument,
            500..=599 => Self::Internal,
            _ => Self::Unknown,
        }
    }

    fn row(self) -> &'static Row {
        // Finding instead of indexing keeps this total; the first row is never the fallback,
        // because every code has a row.
        TABLE.iter().find(|row| row.0 == self).unwrap_or(&TABLE[0])
    }
}

/// Returns the status line number to send over HTTP for an error with this code.
///
/// Always within 400..=599, so that an error never looks like a success. 408 is sent as 504 and
/// 416 as 400, because HTTP clients act on those by themselves; 423 is sent as 409; numbers that
/// HTTP does not define are sent as 500, except 499, which intermediaries know.
pub fn http_status(code: u16) -> u16 {
    match code {
        408 => 504,
        416 => 400,
        423 => 409,
        520 | 550 => 500,
        400..=599 => code,
        _ => 500,
    }
}

/// Returns the reason phrase of an HTTP-like code; `Error` for one without a phrase.
pub fn reason(code: u16) -> &'static str {
    match code {
        200 => "OK",
        400..=499 => reason_4xx(code),
        500..=599 => reason_5xx(code),
        _ => "Error",
    }
}

fn reason_4xx(code: u16) -> &'static str {
    match code {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        414 => "Request URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Requested Range Not Satisfiable",
        417 => "Expectation Failed",
        418 => "I'm a teapot",
        421 => "Misdirected Request",
        422 => "Unprocessable Entity",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        499 => "Client Closed Request",
        _ => "Error",
    }
}

fn reason_5xx(code: u16) -> &'static str {
    match code {
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        510 => "Not Extended",
        511 => "Network Authentication Required",
        520 => "Unknown Error",
        550 => "Data Loss",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grpc_code_survives_the_round_trip_through_its_code() {
        for code in Code::all() {
            assert_eq!(Code::from_code(code.code()), code);
            assert_eq!(Code::from_number(code.number()), code);
        }
    }

    #[test]
    fn rows_stand_at_their_number_and_codes_are_distinct() {
        let mut seen = std::collections::BTreeSet::new();
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(usize::from(row.1), index);
            assert!(seen.insert(row.3), "{} repeats", row.3);
            assert_ne!(reason(row.3), "Error");
        }
        assert_eq!(seen.len(), 17);
    }

    #[test]
    fn go_micro_numbers_keep_their_meaning() {
        let expected = [
            (400, Code::InvalidArgument),
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (404, Code::NotFound),
            (408, Code::DeadlineExceeded),
            (409, Code::AlreadyExists),
            (412, Code::FailedPrecondition),
            (500, Code::Internal),
            (501, Code::Unimplemented),
            (503, Code::Unavailable),
        ];
        for (number, code) in expected {
            assert_eq!(Code::from_code(number), code);
        }
    }

    #[test]
    fn any_error_is_an_error_over_http_too() {
        for code in 0..=u16::MAX {
            assert!((400..=599).contains(&http_status(code)), "{code}");
        }
        assert_eq!(http_status(408), 504);
        assert_eq!(http_status(499), 499);
        assert_eq!(http_status(0), 500);
    }

    #[test]
    fn only_2xx_is_ok() {
        for code in 0..=u16::MAX {
            assert_eq!(Code::from_code(code) == Code::Ok, (200..=299).contains(&code));
        }
    }

    #[test]
    fn numbers_past_the_last_are_unknown() {
        assert_eq!(Code::from_number(17), Code::Unknown);
        assert_eq!(Code::from_number(u8::MAX), Code::Unknown);
    }
}
