//! Endpoint names and metadata keys, sent in full once and by number from then on.
//!
//! The two kinds have tables of their own. A name is written as `0` and itself, as `2n + 1` and
//! itself when it is given the number `n`, or as `2n` when it has it; numbers begin at 1.

use std::collections::HashMap;
use std::sync::Arc;

use crate::core::error::{Error, Result};
use crate::core::exchange::{Dispatch, Route, Target};
use crate::core::limits::{METADATA_CLOSE_FACTOR, METADATA_KEY_BYTES_MAX};
use crate::transport::native::varint;

/// The names that this side has given numbers.
#[derive(Debug, Default)]
pub(super) struct NamesOut {
    /// The number of each route, by its symbol; `0` is none yet.
    routes: Vec<u16>,
    /// Of those whose symbols are from [`SYMBOL_MAX`] on: a process that has had many routes.
    late_routes: HashMap<u32, u16>,
    routes_given: u16,
    keys: HashMap<String, u16>,
}

/// Symbols from here on are looked up: the table by symbol stays small.
const SYMBOL_MAX: usize = 1 << 16;

impl NamesOut {
    /// Appends a route.
    pub(super) fn put_route(&mut self, out: &mut Vec<u8>, route: &Route, max: usize) {
        let symbol = route.symbol();
        match self.number(symbol) {
            0 => {}
            number => return varint::put(out, u64::from(number) << 1),
        }
        let is_room = usize::from(self.routes_given) < max.min(usize::from(u16::MAX));
        if is_room && symbol != Route::NO_SYMBOL {
            self.routes_given += 1;
            self.give(symbol, self.routes_given);
            varint::put(out, (u64::from(self.routes_given) << 1) | 1);
        } else {
            varint::put(out, 0);
        }
        varint::put_str(out, route.service());
        varint::put_str(out, route.endpoint());
    }

    /// Returns the number that a route has, or 0.
    fn number(&self, symbol: u32) -> u16 {
        let place = usize::try_from(symbol).unwrap_or(SYMBOL_MAX);
        if place < SYMBOL_MAX {
            return self.routes.get(place).copied().unwrap_or_default();
        }
        self.late_routes.get(&symbol).copied().unwrap_or_default()
    }

    fn give(&mut self, symbol: u32, number: u16) {
        let place = usize::try_from(symbol).unwrap_or(SYMBOL_MAX);
        if place >= SYMBOL_MAX {
            self.late_routes.insert(symbol, number);
            return;
        }
        if self.routes.len() <= place {
            self.routes.resize(place + 1, 0);
        }
        if let Some(route) = self.routes.get_mut(place) {
            *route = number;
        }
    }

    /// Appends a metadata key.
    pub(super) fn put_key(&mut self, out: &mut Vec<u8>, key: &str, max: usize) {
        if let Some(number) = self.keys.get(key) {
            return varint::put(out, u64::from(*number) << 1);
        }
        match u16::try_from(self.keys.len() + 1) {
            Ok(number) if self.keys.len() < max => {
                self.keys.insert(key.to_owned(), number);
                varint::put(out, (u64::from(number) << 1) | 1);
            }
            _ => varint::put(out, 0),
        }
        varint::put_str(out, key);
    }
}

/// The names to which the peer has given numbers.
#[derive(Debug, Default)]
pub(super) struct NamesIn {
    routes: Vec<Named>,
    keys: Vec<Arc<str>>,
}

/// A numbered endpoint.
#[derive(Debug)]
enum Named {
    /// Resolved when it was named.
    Found(Target),
    /// Not found then; further calls get a short answer that costs nothing to make.
    Missing(Error),
}

/// The bytes of a service, endpoint or content type. A peer that sends a longer one is hostile.
pub(super) const NAME_BYTES_MAX: usize = 1024;

/// The bytes of a metadata key from which on a peer is hostile rather than mistaken.
const KEY_BYTES_MAX: usize = METADATA_KEY_BYTES_MAX * METADATA_CLOSE_FACTOR;

/// Takes a service, endpoint or content type.
pub(super) fn take_name<'a>(input: &mut &'a [u8]) -> Result<&'a str> {
    let name = varint::take_str(input).filter(|name| name.len() <= NAME_BYTES_MAX);
    name.ok_or_else(malformed)
}

/// How a name stands on the wire.
enum Form {
    Full,
    Given(usize),
    Known(usize),
}

fn form(input: &mut &[u8]) -> Option<Form> {
    let code = varint::take(input)?;
    let number = usize::try_from(code >> 1).ok()?;
    match (number, code & 1) {
        (0, 0) => Some(Form::Full),
        (0, _) => None,
        (_, 1) => Some(Form::Given(number - 1)),
        _ => Some(Form::Known(number - 1)),
    }
}

impl NamesIn {
    /// Takes a route; the inner error is the router's, the outer one the peer's fault.
    pub(super) fn take_route(
        &mut self,
        input: &mut &[u8],
        dispatch: &dyn Dispatch,
        max: usize,
    ) -> Result<Result<Target>> {
        let form = form(input).ok_or_else(malformed)?;
        if let Form::Known(index) = form {
            return match self.routes.get(index).ok_or_else(malformed)? {
                Named::Found(target) => Ok(Ok(*target)),
                Named::Missing(error) => Ok(Err(error.clone())),
            };
        }
        let (service, endpoint) = (take_name(input)?, take_name(input)?);
        let target = dispatch.resolve(service, endpoint);
        if let Form::Given(index) = form {
            // Numbers are given in order, so the table has no holes a peer could make it fill.
            if index != self.routes.len() || index >= max {
                return Err(malformed());
            }
            self.routes.push(match &target {
                Ok(target) => Named::Found(*target),
                Err(error) => Named::Missing(shortened(error)),
            });
        }
        Ok(target)
    }

    /// Takes a metadata key.
    pub(super) fn take_key(&mut self, input: &mut &[u8], max: usize) -> Result<Arc<str>> {
        let form = form(input).ok_or_else(malformed)?;
        if let Form::Known(index) = form {
            return self.keys.get(index).cloned().ok_or_else(malformed);
        }
        let key = varint::take_str(input).filter(|key| key.len() <= KEY_BYTES_MAX);
        let key: Arc<str> = key.ok_or_else(malformed)?.into();
        if let Form::Given(index) = form {
            if index != self.keys.len() || index >= max {
                return Err(malformed());
            }
            self.keys.push(Arc::clone(&key));
        }
        Ok(key)
    }
}

/// Returns the answer to further calls by the number of a name that was not found; it names nothing,
/// so that a peer which numbers many such names makes this side keep little.
fn shortened(error: &Error) -> Error {
    let detail = "the endpoint was not found when it was named; that answer says what there is";
    Error::new(error.id().to_owned(), error.code(), detail).with_retry(error.retry())
}

/// The error of a peer that does not keep to the protocol.
pub(super) fn malformed() -> Error {
    Error::bad_request("micro.transport", "the peer sent a malformed frame")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::descriptor::CallKind;

    #[test]
    fn a_process_that_has_had_many_routes_still_numbers_them() {
        let mut names = NamesOut::default();
        for symbol in [0, 65_535, 65_536, 655_360, u32::MAX - 1] {
            assert_eq!(names.number(symbol), 0);
            names.routes_given += 1;
            names.give(symbol, names.routes_given);
            assert_eq!(names.number(symbol), names.routes_given, "{symbol}");
        }
        assert_eq!(names.routes.len(), SYMBOL_MAX);
        let unnumbered = Route::unnumbered("lab", "Echo", CallKind::Unary);
        let mut out = Vec::new();
        names.put_route(&mut out, &unnumbered, usize::MAX);
        assert_eq!(out.first(), Some(&0));
    }
}
