//! The attribute macros of `micro`, re-exported and documented there.
//!
//! Each entry runs the same phases: tokens are parsed tolerantly (`parse`, `args`), lowered into
//! plain data while every mistake is collected (`check`, `model`, `errors`), and printed (`expand`).
//! The phases work on `proc_macro2`, so that unit tests call them without a compiler.

mod args;
mod check;
mod docs;
mod errors;
mod expand;
mod model;
mod names;
mod parse;
mod path;
#[cfg(test)]
mod tests;
mod text;
mod types;
mod value;

use proc_macro::TokenStream;

/// Exports an `impl` block, declares a contract `trait`, or wires a `struct`.
#[proc_macro_attribute]
pub fn service(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::service(args.into(), item.into()).into()
}

/// Exports a method of a `#[service]` as an endpoint.
#[proc_macro_attribute]
pub fn handler(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::handler(&args.into(), item.into()).into()
}

/// Subscribes a method of a `#[service]`, or a free function, to a topic.
#[proc_macro_attribute]
pub fn subscriber(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::subscriber(args.into(), item.into()).into()
}
