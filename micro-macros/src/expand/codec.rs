//! The expressions that choose how a message is encoded and decoded.

use crate::names;
use crate::types;
use proc_macro2::Span;
use proc_macro2::TokenStream;
use quote::ToTokens;
use quote::quote;
use quote::quote_spanned;
use syn::Type;

/// Brings into scope the traits among which [`Message::decoder`], [`Message::encoder`] and
/// [`Message::schema`] choose.
pub(crate) fn arms() -> TokenStream {
    quote! {
        use __m::{
            DecodeBoth as _, DecodeNone as _, DecodeProst as _, DecodeSerde as _,
            EncodeBoth as _, EncodeNone as _, EncodeProst as _, EncodeSerde as _,
            ShapeNamed as _, ShapeTyped as _,
        };
    }
}

/// A message type and where the compiler shows what is wrong with it.
pub(crate) struct Message {
    pub(crate) ty: TokenStream,
    pub(crate) span: Span,
}

impl Message {
    pub(crate) fn new(ty: &Type) -> Self {
        Self { ty: ty.to_token_stream(), span: names::located(types::anchor(ty)) }
    }

    /// The `Ok` of an alias; needs `__m` in scope.
    ///
    /// All of it stands exactly where the user wrote the alias: the compiler says once what it
    /// finds many times in one place.
    pub(crate) fn projected(output: &Type) -> Self {
        let span = types::anchor(output);
        Self { ty: quote_spanned!(span=> <#output as __m::Outcome>::Ok), span }
    }

    /// No message: the unit type.
    pub(crate) fn unit() -> Self {
        Self { ty: quote!(()), span: Span::mixed_site() }
    }

    /// The function that describes it, by what the type implements.
    pub(crate) fn schema(&self) -> TokenStream {
        let ty = &self.ty;
        quote_spanned!(self.span=> || (&&__m::Shape::<#ty>::new()).shape())
    }

    /// The function that decodes it, chosen by what the type implements.
    pub(crate) fn decoder(&self) -> TokenStream {
        let ty = &self.ty;
        quote_spanned!(self.span=> (&&&&__m::Wire::<#ty>::new()).dec())
    }

    /// The function that encodes it, chosen by what the type implements.
    pub(crate) fn encoder(&self) -> TokenStream {
        let ty = &self.ty;
        quote_spanned!(self.span=> (&&&&__m::Wire::<#ty>::new()).enc())
    }
}
