//! Small parts of macro output that are evaluated while compiling.

use crate::core::context::Context;
use crate::core::descriptor::EndpointSpec;

/// The value and the error of a handler's return type, whatever its alias.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Result`",
    label = "returned by a handler",
    note = "a handler returns `micro::Result<T>` or a `Result` of its own"
)]
pub trait Outcome {
    /// What a call returns.
    type Ok;
    /// What it fails with.
    type Err;

    /// Returns the result itself.
    ///
    /// # Errors
    /// What the handler failed with.
    fn result(self) -> Result<Self::Ok, Self::Err>;
}

impl<T, E> Outcome for Result<T, E> {
    type Ok = T;
    type Err = E;

    fn result(self) -> Self {
        self
    }
}

/// The type of a `ctx` parameter.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `micro::Context`",
    label = "expected `&micro::Context`",
    note = "a handler takes the context first, then one request"
)]
pub trait IsContext: Sized {
    /// Returns the context of a call.
    fn of(context: &Context) -> &Self;
    /// Takes the context of a call.
    fn from(context: Context) -> Self;
}

impl IsContext for Context {
    fn of(context: &Context) -> &Self {
        context
    }

    fn from(context: Context) -> Self {
        context
    }
}

/// Hands the context to a handler that takes a reference to it.
pub fn context<T: IsContext>(context: &Context) -> &T {
    T::of(context)
}

/// Hands the context to a handler that takes it.
pub fn owned_context<T: IsContext>(context: Context) -> T {
    T::from(context)
}

/// Finds an endpoint by its wire name while compiling.
///
/// # Panics
/// Never at run time: macro output calls it in `const` blocks, with names that exist.
pub const fn index_of(endpoints: &[EndpointSpec], name: &str) -> usize {
    let mut index = 0;
    while index < endpoints.len() {
        #[expect(clippy::indexing_slicing, reason = "bounded by the loop, in const context")]
        if equal(endpoints[index].name.as_bytes(), name.as_bytes()) {
            return index;
        }
        index += 1;
    }
    // The stub answers a call to an index that does not exist with an error.
    usize::MAX
}

const fn equal(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        #[expect(clippy::indexing_slicing, reason = "bounded by the loop, in const context")]
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// The version of what macro output names.
pub const SURFACE: u32 = 1;

/// Fails to compile when `micro` and `micro-macros` do not match.
///
/// # Panics
/// Only while compiling: macro output calls it in a constant.
pub const fn macro_version<const VERSION: u32>(macros: &str) {
    if VERSION != SURFACE {
        let text = Text::new()
            .then("`micro-macros` ")
            .then(macros)
            .then(" does not match `micro` ")
            .then(env!("CARGO_PKG_VERSION"))
            .then("; help: `cargo update -p micro-macros`");
        // Evaluated where it is called, so that the compiler shows the attribute.
        assert!(VERSION == SURFACE, "{}", text.as_str());
    }
}

/// A message put together while compiling; what does not fit is left out.
struct Text {
    bytes: [u8; 160],
    len: usize,
}

impl Text {
    const fn new() -> Self {
        Self { bytes: [0; 160], len: 0 }
    }

    const fn then(mut self, part: &str) -> Self {
        let mut rest = part.as_bytes();
        while let [byte, after @ ..] = rest {
            if let Some((_, free)) = self.bytes.split_at_mut_checked(self.len)
                && let Some(place) = free.first_mut()
            {
                *place = *byte;
                self.len += 1;
            }
            rest = after;
        }
        self
    }

    const fn as_str(&self) -> &str {
        let (written, _) = self.bytes.split_at(self.len);
        match std::str::from_utf8(written) {
            Ok(text) => text,
            Err(_) => "`micro-macros` does not match `micro`",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::descriptor::{CallKind, Schema};

    const fn spec(name: &'static str) -> EndpointSpec {
        EndpointSpec {
            name,
            kind: CallKind::Unary,
            request: Schema::default,
            response: Schema::default,
            doc: "",
            description: "",
            example: None,
            scopes: None,
            public: false,
            timeout: None,
            idempotent: false,
            detached: false,
            deprecated: false,
            metadata: &[],
        }
    }

    #[test]
    fn an_endpoint_is_found_by_its_whole_name() {
        const SPECS: [EndpointSpec; 2] = [spec("A.B"), spec("A.BC")];
        const INDEX: usize = index_of(&SPECS, "A.BC");
        assert_eq!(INDEX, 1);
        assert_eq!(index_of(&SPECS, "A.B"), 0);
        assert_eq!(index_of(&SPECS, "A"), usize::MAX);
    }

    #[test]
    fn a_message_says_what_fits() {
        let text = Text::new().then("`micro-macros` ").then("0.0.1");
        assert_eq!(text.as_str(), "`micro-macros` 0.0.1");
        let long = "a".repeat(159);
        assert_eq!(Text::new().then(&long).then("bc").as_str(), long + "b");
    }

    #[test]
    fn an_alias_of_result_has_its_parts() {
        fn is<O: Outcome<Ok = u8, Err = String>>() {}
        is::<Result<u8, String>>();
        const { macro_version::<1>("0.0.1") };
    }
}
