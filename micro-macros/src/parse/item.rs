//! Reading of whole items.

use crate::parse::ImplBlock;
use crate::parse::Parsed;
use crate::parse::TraitBlock;
use crate::parse::members::function;
use crate::parse::members::is_function;
use crate::parse::members::kind_and_name;
use crate::parse::members::members;
use proc_macro2::TokenStream;
use syn::Attribute;
use syn::Generics;
use syn::Ident;
use syn::Token;
use syn::Type;
use syn::Visibility;
use syn::parse::ParseStream;
use syn::parse::Parser;
use syn::punctuated::Punctuated;

/// Reads the item an attribute stands on.
pub(crate) fn item(tokens: TokenStream) -> Parsed {
    match parse_item.parse2(tokens.clone()) {
        Ok(parsed) => parsed,
        Err(reason) => Parsed::Unreadable { tokens, reason },
    }
}

fn parse_item(input: ParseStream<'_>) -> syn::Result<Parsed> {
    let start = input.fork();
    let attributes = input.call(Attribute::parse_outer)?;
    let vis: Visibility = input.parse()?;
    if is_function(input) {
        return function(attributes, vis, None, input).map(Box::new).map(Parsed::Function);
    }
    if input.peek(Token![struct]) {
        return start_over(input, &start).and_then(syn::parse2).map(Box::new).map(Parsed::Struct);
    }
    let unsafety = input.parse()?;
    if input.peek(Token![impl]) {
        return impl_block(attributes, unsafety, input).map(Box::new).map(Parsed::Impl);
    }
    if input.peek(Token![trait]) {
        return trait_block(attributes, vis, unsafety, input).map(Box::new).map(Parsed::Trait);
    }
    let (kind, name) = kind_and_name(&input.fork());
    Ok(Parsed::Other { kind, name, tokens: start_over(input, &start)? })
}

/// Everything from `start` on, with `input` left at its end.
fn start_over(input: ParseStream<'_>, start: ParseStream<'_>) -> syn::Result<TokenStream> {
    input.parse::<TokenStream>()?;
    start.parse()
}

fn impl_block(
    attributes: Vec<Attribute>,
    unsafety: Option<Token![unsafe]>,
    input: ParseStream<'_>,
) -> syn::Result<ImplBlock> {
    let impl_token = input.parse()?;
    let mut generics = if has_generics(input) { input.parse()? } else { Generics::default() };
    let first: Type = input.parse()?;
    let (contract, self_ty) = if input.peek(Token![for]) {
        (Some((first, input.parse()?)), input.parse()?)
    } else {
        (None, first)
    };
    generics.where_clause = input.parse()?;
    let members = members(input)?;
    Ok(ImplBlock { attributes, unsafety, impl_token, generics, contract, self_ty, members })
}

/// Tells `impl<T> ..` from `impl <T as Trait>::Type ..`.
fn has_generics(input: ParseStream<'_>) -> bool {
    let named = input.peek2(Ident) || input.peek2(syn::Lifetime);
    let bounded = input.peek3(Token![:])
        || input.peek3(Token![,])
        || input.peek3(Token![>])
        || input.peek3(Token![=]);
    input.peek(Token![<])
        && (input.peek2(Token![>])
            || input.peek2(Token![#])
            || input.peek2(Token![const])
            || (named && bounded))
}

fn trait_block(
    attributes: Vec<Attribute>,
    vis: Visibility,
    unsafety: Option<Token![unsafe]>,
    input: ParseStream<'_>,
) -> syn::Result<TraitBlock> {
    let trait_token = input.parse()?;
    let ident = input.parse()?;
    let mut generics: Generics = input.parse()?;
    let colon: Option<Token![:]> = input.parse()?;
    let mut supertraits = Punctuated::new();
    while colon.is_some() && !input.peek(Token![where]) && !input.peek(syn::token::Brace) {
        supertraits.push_value(input.parse()?);
        if !input.peek(Token![+]) {
            break;
        }
        supertraits.push_punct(input.parse()?);
    }
    generics.where_clause = input.parse()?;
    let members = members(input)?;
    Ok(TraitBlock {
        attributes,
        vis,
        unsafety,
        trait_token,
        ident,
        generics,
        colon,
        supertraits,
        members,
    })
}
