//! The contract's trait, and what is generated to implement it.

use crate::expand::client;
use crate::expand::descriptor;
use crate::model::Endpoint;
use crate::model::Service;
use crate::names;
use crate::parse::Function;
use crate::parse::Member;
use crate::parse::MemberBody;
use crate::parse::TraitBlock;
use proc_macro2::Group;
use proc_macro2::Span;
use proc_macro2::TokenStream;
use quote::ToTokens;
use quote::quote;
use quote::quote_spanned;
use syn::Attribute;
use syn::ReturnType;
use syn::Signature;

/// Prints the trait: every `async fn` returns a `Send` future, all else is as written.
pub(crate) fn contract(block: &TraitBlock) -> TokenStream {
    let TraitBlock { attributes, vis, unsafety, trait_token, ident, generics, .. } = block;
    let TraitBlock { colon, supertraits, members, .. } = block;
    let clause = &generics.where_clause;
    let inner = &members.inner;
    let list = members.list.iter().map(member);
    let mut braces = Group::new(proc_macro2::Delimiter::Brace, quote!(#(#inner)* #(#list)*));
    braces.set_span(members.span);
    quote! {
        #(#attributes)* #vis #unsafety #trait_token #ident #generics #colon #supertraits #clause
        #braces
    }
}

fn member(member: &Member) -> TokenStream {
    let attributes = &member.attributes;
    let MemberBody::Function(function) = &member.body else { return member.to_token_stream() };
    let Function { vis, defaultness, sig, block, .. } = &**function;
    if sig.asyncness.is_none() {
        return member.to_token_stream();
    }
    let sig = desugared(sig, sig.ident.span());
    let body = match block {
        Some(block) => quote!({ async move #block }),
        None => quote!(;),
    };
    quote!(#(#attributes)* #vis #defaultness #sig #body)
}

/// `async fn m() -> R` as `fn m() -> impl Future<Output = R> + Send`; what is wrong with the future
/// is shown at `span`.
fn desugared(sig: &Signature, span: Span) -> Signature {
    let mut sig = sig.clone();
    if sig.asyncness.take().is_none() {
        return sig;
    }
    let output = match &sig.output {
        ReturnType::Type(_, ty) => ty.to_token_stream(),
        ReturnType::Default => quote!(()),
    };
    let span = names::located(span);
    let future = quote_spanned! {span=>
        impl ::core::future::Future<Output = #output> + ::core::marker::Send
    };
    sig.output =
        ReturnType::Type(syn::token::RArrow::default(), Box::new(syn::Type::Verbatim(future)));
    sig
}

/// Prints an implementation of the contract whose endpoints have the bodies that `call` gives.
///
/// Methods with a mistake get a body that never returns: the mistake is reported elsewhere.
pub(crate) fn implementation(
    service: &Service,
    block: &TraitBlock,
    target: &TokenStream,
    call: &dyn Fn(&Endpoint) -> TokenStream,
) -> TokenStream {
    let contract = &service.ident;
    let parameters = target.to_string().contains("__MicroT").then(|| quote!(<__MicroT: #contract>));
    let methods = block.members.list.iter().filter_map(|member| {
        let MemberBody::Function(function) = &member.body else { return None };
        let cfgs: Vec<&Attribute> =
            member.attributes.iter().filter(|one| one.path().is_ident("cfg")).collect();
        let found = service.endpoints.iter().find(|one| one.ident == function.sig.ident);
        match (found, &function.block) {
            (Some(endpoint), _) => Some(method(service, endpoint, &function.sig, &call(endpoint))),
            (None, None) => {
                let sig = desugared(&function.sig, function.sig.ident.span());
                let body = match function.sig.asyncness {
                    Some(_) => quote!(::core::future::pending()),
                    None => quote!(loop {}),
                };
                Some(quote!(#(#cfgs)* #sig { #body }))
            }
            (None, Some(_)) => None,
        }
    });
    let methods: Vec<TokenStream> = methods.collect();
    quote! {
        #[automatically_derived]
        impl #parameters #contract #target {
            #(#methods)*
        }
    }
}

fn method(
    service: &Service,
    endpoint: &Endpoint,
    sig: &Signature,
    body: &TokenStream,
) -> TokenStream {
    let cfgs = &endpoint.attributes.cfgs;
    let ident = &endpoint.ident;
    let request = descriptor::request(endpoint);
    let parameter = client::parameter(&service.krate, endpoint, &request);
    let output = desugared(sig, descriptor::error_span(endpoint)).output;
    quote! {
        #(#cfgs)*
        fn #ident(&self #parameter) #output {
            #body
        }
    }
}

/// The request as an argument, if there is one.
pub(crate) fn argument(endpoint: &Endpoint) -> Option<TokenStream> {
    endpoint.request.as_ref().map(|request| request.ident.to_token_stream())
}
