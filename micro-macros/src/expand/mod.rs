//! From the model to tokens. Nothing here can fail: the user's item always comes first, then what
//! is generated beside it, then one `compile_error!` per mistake.

mod client;
mod codec;
mod contract;
mod descriptor;
mod generics;
mod hidden;
mod inherent;
mod mirror;
mod server;
mod subscriber;
mod wiring;

use crate::check;
use crate::errors::Errors;
use crate::errors::Id;
use crate::model::Form;
use crate::model::Model;
use crate::names;
use proc_macro2::Ident;
use proc_macro2::Span;
use proc_macro2::TokenStream;
use quote::quote;
use syn::Path;

/// The generation of the runtime surface that this crate's output names.
const SURFACE: u32 = 1;

/// The version of this crate, which a runtime of another surface shows.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The only argument of an attribute that `#[service]` has read; see `parse::marks`.
const MARKER: &str = "__micro";

/// Expands `#[service]`.
pub(crate) fn service(args: TokenStream, item: TokenStream) -> TokenStream {
    let (model, errors) = check::service(args, item);
    print(&model, errors)
}

/// Expands `#[handler]`, which is only ever seen outside of a service or already read by it.
pub(crate) fn handler(args: &TokenStream, item: TokenStream) -> TokenStream {
    if is_read(args) {
        return read(&item);
    }
    let mut errors = Errors::default();
    let text = "`#[handler]` only has meaning inside an `impl` or `trait` marked `#[service]`";
    errors.push_at(Id::D05, Span::call_site(), text);
    print(&Model::Opaque(item), errors)
}

/// Expands `#[subscriber]` on a free function, or one already read by its service.
pub(crate) fn subscriber(args: TokenStream, item: TokenStream) -> TokenStream {
    if is_read(&args) {
        return read(&item);
    }
    let (model, errors) = check::subscriber(args, item);
    print(&model, errors)
}

/// Whether the attribute is the one that `#[service]` leaves behind: its word stands nowhere in the
/// source.
fn is_read(args: &TokenStream) -> bool {
    let mut words = args.clone().into_iter();
    let (Some(word), None) = (words.next(), words.next()) else { return false };
    let written = || word.span().source_text().is_some_and(|text| text == MARKER);
    word.to_string() == MARKER && !written()
}

/// Leaves a method as it is; that it is `async` and that it exists needs no other reason than
/// being exported.
fn read(method: &TokenStream) -> TokenStream {
    quote! {
        #[allow(clippy::unused_async, dead_code, reason = "it is called by the server, as async")]
        #method
    }
}

fn print(model: &Model, errors: Errors) -> TokenStream {
    let item = match model {
        Model::Service(service) => match &service.form {
            Form::Inherent(block) => inherent::print(service, block),
            Form::Contract { block, concrete } => contract::print(service, block, *concrete),
        },
        Model::Wired(wired) => wiring::print(wired),
        Model::Function(function) => subscriber::print(function),
        Model::Opaque(tokens) => tokens.clone(),
    };
    let errors = errors.into_tokens();
    quote!(#item #errors)
}

/// Wraps generated items so that no name of theirs is visible outside.
///
/// The lints allowed here judge choices that are the user's (what is private, unused or
/// deprecated) in code that merely repeats them.
fn enclosed(krate: &Path, items: &TokenStream) -> TokenStream {
    quote! {
        #[allow(
            dead_code, deprecated, private_bounds, private_interfaces, trivial_bounds, unreachable_pub,
            unused_imports, clippy::all, clippy::pedantic, rustdoc::broken_intra_doc_links,
            reason = "generated from the annotated item"
        )]
        const _: () = {
            use #krate::__private as __m;
            const _: () = __m::macro_version::<#SURFACE>(#VERSION);
            #items
        };
    }
}

/// A local of generated code; it can neither capture nor shadow the user's names.
fn local(name: &str) -> Ident {
    local_at(name, Span::mixed_site())
}

/// The same local, shown by the compiler at a place in the user's source.
fn local_at(name: &str, span: Span) -> Ident {
    Ident::new(&format!("__micro_{name}"), names::located(span))
}
