//! Reading answers.

use bytes::Bytes;
use redis::Value;

use crate::core::error::{Error, Result};
use crate::driver::redis::ERROR_ID;

/// Reads a list; none is an empty one.
pub(crate) fn list(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(items) => Ok(items),
        Value::Nil => Ok(Vec::new()),
        _ => Err(odd("a list")),
    }
}

/// Reads a list of a fixed length.
pub(crate) fn tuple<const N: usize>(value: Value) -> Result<[Value; N]> {
    list(value)?.try_into().map_err(|_items: Vec<Value>| odd("a list of another length"))
}

/// Reads bytes.
pub(crate) fn bytes(value: Value) -> Result<Bytes> {
    match value {
        Value::BulkString(bytes) => Ok(bytes.into()),
        Value::SimpleString(text) => Ok(text.into()),
        _ => Err(odd("bytes")),
    }
}

/// Reads text.
pub(crate) fn text(value: Value) -> Result<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_bytes| odd("text")),
        Value::SimpleString(text) => Ok(text),
        _ => Err(odd("text")),
    }
}

/// Reads a number, also one that came as text.
pub(crate) fn number(value: Value) -> Result<i64> {
    match value {
        Value::Int(number) => Ok(number),
        other => text(other)?.parse().map_err(|_no| odd("a number")),
    }
}

/// Makes the error of an answer that is not what it should be.
pub(crate) fn odd(wanted: &str) -> Error {
    Error::internal(ERROR_ID, format!("redis should answer with {wanted} and does not"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_what_they_are_and_nothing_else() {
        assert_eq!(number(Value::BulkString(b"7".to_vec())).unwrap(), 7);
        assert_eq!(text(Value::SimpleString("a".into())).unwrap(), "a");
        assert!(list(Value::Nil).unwrap().is_empty());
        assert!(list(Value::Int(1)).is_err() && bytes(Value::Nil).is_err());
        assert!(tuple::<2>(Value::Array(vec![Value::Nil])).is_err());
        assert!(text(Value::BulkString(vec![0xff])).is_err());
    }
}
