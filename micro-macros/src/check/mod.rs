//! From parsed items to the model. Every mistake is pushed to `Errors`; nothing returns early, so
//! one build shows all of them.

mod item;
mod message;
mod method;
mod methods;
mod signature;
mod wired;

use crate::args;
use crate::errors::Errors;
use crate::errors::Id;
use crate::model::FreeSubscriber;
use crate::model::Model;
use crate::names;
use crate::parse;
use crate::parse::Function;
use crate::parse::Parsed;
use crate::path;
use crate::text::show;
use method::Place;
use proc_macro2::Ident;
use proc_macro2::Span;
use proc_macro2::TokenStream;
use quote::ToTokens;
use signature::Subject;

/// Checks an item under `#[service]`.
pub(crate) fn service(args: TokenStream, tokens: TokenStream) -> (Model, Errors) {
    let mut errors = Errors::default();
    let model = match parse::item(tokens) {
        Parsed::Impl(block) if block.contract.is_some() => {
            item::contract_impl(args, block, &mut errors)
        }
        Parsed::Impl(block) => item::inherent(args, block, &mut errors),
        Parsed::Trait(block) => item::contract(args, block, &mut errors),
        Parsed::Struct(item) => wired::lower(args, item, &mut errors),
        Parsed::Function(function) => {
            misplaced("fn", Some(&function.sig.ident), &mut errors);
            Model::Opaque(function.into_token_stream())
        }
        Parsed::Other { kind, name, tokens } => {
            misplaced(&kind, name.as_ref(), &mut errors);
            Model::Opaque(tokens)
        }
        Parsed::Unreadable { tokens, reason } => {
            unreadable(&reason, &mut errors);
            Model::Opaque(tokens)
        }
    };
    (model, errors)
}

/// Checks an item under `#[subscriber]` that no `#[service]` encloses.
pub(crate) fn subscriber(args: TokenStream, tokens: TokenStream) -> (Model, Errors) {
    let mut errors = Errors::default();
    let model = match parse::item(tokens.clone()) {
        Parsed::Function(function) => free_subscriber(args, function, &mut errors),
        Parsed::Other { kind, name, tokens } => {
            no_subscriber(&kind, name.as_ref(), &mut errors);
            Model::Opaque(tokens)
        }
        Parsed::Struct(item) => {
            no_subscriber("struct", Some(&item.ident), &mut errors);
            Model::Opaque(item.into_token_stream())
        }
        Parsed::Trait(_) | Parsed::Impl(_) => {
            let text = "`#[subscriber]` belongs on a method or a function, not on a block\n\
                 help: put `#[service]` on the block and `#[subscriber]` on its methods";
            errors.push_at(Id::D05, Span::call_site(), text);
            Model::Opaque(tokens)
        }
        Parsed::Unreadable { tokens, reason } => {
            unreadable(&reason, &mut errors);
            Model::Opaque(tokens)
        }
    };
    (model, errors)
}

fn free_subscriber(args: TokenStream, function: Box<Function>, errors: &mut Errors) -> Model {
    if function.sig.receiver().is_some() {
        let text = "`#[subscriber]` on a method only has meaning inside an `impl` marked \
             `#[service]`";
        errors.push_at(Id::D05, Span::call_site(), text);
        return Model::Opaque(function.into_token_stream());
    }
    let args = args::subscriber(args, true, errors);
    let krate = args.krate.clone().unwrap_or_else(path::default_crate);
    let named = method::Named {
        wire: names::pascal_case(&names::plain(&function.sig.ident)),
        passed: method::passed(&function.attributes),
    };
    let subject = Subject::subscriber(&function.sig, Place::Free);
    let subscription = method::subscription(&subject, args, named, None, errors);
    Model::Function(Box::new(FreeSubscriber {
        krate,
        vis: function.vis.clone(),
        ident: function.sig.ident.clone(),
        item: function.into_token_stream(),
        subscription: subscription.filter(|_| errors.is_empty()),
    }))
}

fn misplaced(kind: &str, name: Option<&Ident>, errors: &mut Errors) {
    let what = name.map(|name| format!("{kind} `{name}`")).unwrap_or_else(|| kind.to_owned());
    let text = format!(
        "`#[service]` belongs on an `impl` block, a `trait` or a `struct`, not on {what}\n\
         help: export a function as a method: `#[service] impl Type {{ \u{2026} }}`"
    );
    match name {
        Some(name) => errors.push(Id::D02, name, text),
        None => errors.push_at(Id::D02, Span::call_site(), text),
    }
}

fn no_subscriber(kind: &str, name: Option<&Ident>, errors: &mut Errors) {
    let text = format!("{kind} `{}` cannot be a subscriber; only `async fn` can", show(name));
    errors.push(Id::D06, name, text);
}

fn unreadable(reason: &syn::Error, errors: &mut Errors) {
    errors.push_at(Id::D57, reason.span(), format!("this item cannot be read: {reason}"));
}
