//! What a panic said.

use std::any::Any;

/// Returns the text that a panic was made with, if it was made with a text.
pub(crate) fn text(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}
