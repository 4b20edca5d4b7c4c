//! Checks of a struct whose fields are taken from the running service.

use crate::args;
use crate::args::WireArgs;
use crate::errors::Errors;
use crate::errors::Id;
use crate::model::Model;
use crate::model::WireSource;
use crate::model::Wired;
use crate::model::WiredField;
use crate::parse::arguments;
use crate::path;
use crate::text::show;
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::Field;
use syn::Index;
use syn::ItemStruct;
use syn::Member;
use syn::Path;

/// Lowers a struct.
pub(crate) fn lower(args: TokenStream, mut item: Box<ItemStruct>, errors: &mut Errors) -> Model {
    let krate = misplaced_args(args, &item, errors).unwrap_or_else(path::default_crate);
    let fields = item
        .fields
        .iter_mut()
        .enumerate()
        .map(|(index, field)| lower_field(index, field, errors))
        .collect();
    Model::Wired(Box::new(Wired {
        krate,
        ident: item.ident.clone(),
        generics: item.generics.clone(),
        item: item.into_token_stream(),
        fields,
    }))
}

/// D01: a struct's attribute takes nothing but the crate.
fn misplaced_args(tokens: TokenStream, item: &ItemStruct, errors: &mut Errors) -> Option<Path> {
    let mut krate = Vec::new();
    for arg in args::split(tokens, &["crate"], errors) {
        if arg.key == "crate" {
            krate.push(arg.tokens);
            continue;
        }
        let text = format!(
            "`{}` belongs on the `impl` block: on a struct `#[service]` only wires its fields\n\
             help: move it to `#[service({})] impl {} {{ \u{2026} }}`",
            arg.key,
            show(&arg.tokens),
            item.ident
        );
        errors.push(Id::D01, arg.tokens, text);
    }
    let krate = quote::quote!(#(#krate),*);
    args::service(krate, errors).krate
}

fn lower_field(index: usize, field: &mut Field, errors: &mut Errors) -> WiredField {
    let member = match &field.ident {
        Some(ident) => Member::Named(ident.clone()),
        None => Member::Unnamed(Index {
            // A struct with 2^32 fields does not parse.
            index: u32::try_from(index).unwrap_or(u32::MAX),
            span: crate::types::anchor(&field.ty),
        }),
    };
    let mut source = None;
    field.attrs.retain(|attribute| {
        if !attribute.path().is_ident("wire") {
            return true;
        }
        if source.is_some() {
            let text = format!("duplicate `#[wire]` on `{}`", show(&member));
            errors.push(Id::D09, attribute, text);
        } else {
            source = Some(args::wire(arguments(attribute), errors));
        }
        false
    });
    let source = match source.unwrap_or_default() {
        WireArgs::Service => WireSource::Service,
        WireArgs::Config(path) => WireSource::Config(path),
        WireArgs::Default => WireSource::Default,
    };
    let cfgs = field.attrs.iter().filter(|one| one.path().is_ident("cfg")).cloned().collect();
    WiredField { member, ty: field.ty.clone(), cfgs, source }
}
