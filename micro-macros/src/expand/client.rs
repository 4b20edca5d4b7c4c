//! The generated client: one method per endpoint, returning a call to await.

use crate::expand::codec::Message;
use crate::expand::descriptor;
use crate::expand::hidden;
use crate::expand::local;
use crate::model::Endpoint;
use crate::model::Form;
use crate::model::Kind;
use crate::model::Passed;
use crate::model::Service;
use crate::names;
use crate::types;
use proc_macro2::Ident;
use proc_macro2::TokenStream;
use quote::ToTokens;
use quote::quote;
use quote::quote_spanned;
use syn::Generics;

/// Prints what the client implements and its methods.
pub(crate) fn implementation(
    service: &Service,
    client: &Ident,
    generics: &Generics,
) -> TokenStream {
    let krate = &service.krate;
    let (of_impl, of_type, clause) = generics.split_for_impl();
    let (stub, mark) = (local("stub"), local("marker"));
    let (from, formatter) = (local("client"), local("formatter"));
    let table = descriptor::reference(generics);
    let name = names::plain(client);
    let client = hidden::path(service, client);
    let methods = service.endpoints.iter().map(|endpoint| method(service, endpoint, &table));
    quote! {
        #[automatically_derived]
        impl #of_impl ::core::clone::Clone for #client #of_type #clause {
            fn clone(&self) -> Self {
                Self {
                    #stub: ::core::clone::Clone::clone(&self.#stub),
                    #mark: ::core::marker::PhantomData,
                }
            }
        }
        #[automatically_derived]
        impl #of_impl ::core::fmt::Debug for #client #of_type #clause {
            fn fmt(&self, #formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                #formatter.debug_struct(#name).field("stub", &self.#stub).finish()
            }
        }
        #[automatically_derived]
        impl #of_impl ::core::convert::From<#krate::Client> for #client #of_type #clause {
            fn from(#from: #krate::Client) -> Self {
                Self {
                    #stub: __m::Stub::new(#from, #table::DESCRIPTOR),
                    #mark: ::core::marker::PhantomData,
                }
            }
        }
        impl #of_impl #client #of_type #clause {
            #(#methods)*
        }
    }
}

/// Prints how a wired struct gets a client; only servers wire.
pub(crate) fn wiring(service: &Service, client: &Ident, generics: &Generics) -> TokenStream {
    let krate = &service.krate;
    let mut generics = generics.clone();
    for param in generics.clone().type_params() {
        let ident = &param.ident;
        generics.make_where_clause().predicates.push(syn::parse_quote!(#ident: 'static));
    }
    let (of_impl, of_type, clause) = generics.split_for_impl();
    let scope = local("scope");
    let client = hidden::path(service, client);
    quote! {
        #[automatically_derived]
        impl #of_impl #krate::FromService for #client #of_type #clause {
            fn from_service(
                #scope: &__m::Wiring,
            ) -> __m::BoxFuture<'_, __m::Result<Self, #krate::Error>> {
                __m::Box::pin(::core::future::ready(
                    __m::Result::Ok(__m::wire_client::<Self>(#scope)),
                ))
            }
        }
    }
}

/// The error of a call: a contract's own, else ours.
fn error(service: &Service, endpoint: &Endpoint) -> Option<TokenStream> {
    if matches!(service.form, Form::Inherent(_)) {
        return None;
    }
    let reply = &endpoint.reply;
    if let Some(error) = &reply.error {
        return Some(error.to_token_stream());
    }
    // `Result<T>` may be anybody's alias: its error is not spelled.
    let output = &reply.output;
    let span = names::located(types::anchor(output));
    Some(quote_spanned!(span=> <#output as __m::Outcome>::Err))
}

fn method(service: &Service, endpoint: &Endpoint, table: &TokenStream) -> TokenStream {
    let (krate, vis, ident) = (&service.krate, &service.vis, &endpoint.ident);
    let Passed { docs, cfgs, deprecated } = &endpoint.attributes;
    let deprecated = deprecated.as_ref().map(|deprecated| &deprecated.attribute);
    let docs = if docs.attributes.is_empty() {
        let text = format!("Calls `{}`.", endpoint.wire);
        quote!(#[doc = #text])
    } else {
        let attributes = &docs.attributes;
        quote!(#(#attributes)*)
    };
    let (stub, wire) = (local("stub"), &endpoint.wire);
    let (request, reply) = (descriptor::request(endpoint), descriptor::reply(endpoint));
    let parameter = parameter(krate, endpoint, &request);
    let argument = argument(endpoint);
    let start = match endpoint.kind {
        Kind::Unary => quote!(unary),
        Kind::ServerStream => quote!(server_stream),
        Kind::ClientStream => quote!(client_stream),
        Kind::Bidi => quote!(bidi),
    };
    let error = error(service, endpoint).map(|error| quote!(, #error)).unwrap_or_default();
    let returned = call(krate, endpoint, &reply, &error);
    let (encoder, decoder) = (request.encoder(), reply.decoder());
    let held = quote!(self.#stub);
    let call = quote_spanned! {reply.span=>
        #held.#start(const { #table::at(#wire) }, #argument, #encoder, #decoder)
    };
    quote! {
        #docs
        #(#cfgs)*
        #deprecated
        #vis fn #ident(&self #parameter) -> #returned {
            #call
        }
    }
}

/// The type of a call, with its error if that is not ours.
fn call(
    krate: &syn::Path,
    endpoint: &Endpoint,
    reply: &Message,
    error: &TokenStream,
) -> TokenStream {
    let ty = &reply.ty;
    match endpoint.kind {
        _ if endpoint.reply.ty.is_none() => {
            // The type begins with the path, and is shown where it begins.
            let path = quote!(#krate::Call).into_iter().map(|mut token| {
                token.set_span(reply.span);
                token
            });
            let path: TokenStream = path.collect();
            quote_spanned!(reply.span=> #path<#ty #error>)
        }
        Kind::Unary | Kind::ClientStream => quote!(#krate::Call<#ty #error>),
        Kind::ServerStream | Kind::Bidi => quote!(#krate::Call<#krate::Streaming<#ty> #error>),
    }
}

/// `, req: T` of a method that mirrors the handler.
pub(crate) fn parameter(
    krate: &syn::Path,
    endpoint: &Endpoint,
    request: &Message,
) -> Option<TokenStream> {
    let ident = &endpoint.request.as_ref()?.ident;
    let ty = &request.ty;
    Some(match endpoint.kind {
        Kind::Unary | Kind::ServerStream => quote!(, #ident: #ty),
        Kind::ClientStream | Kind::Bidi => quote!(, #ident: #krate::Streaming<#ty>),
    })
}

fn argument(endpoint: &Endpoint) -> TokenStream {
    match (&endpoint.request, endpoint.kind) {
        (None, _) => quote!(&()),
        (Some(request), Kind::Unary | Kind::ServerStream) => {
            let ident = &request.ident;
            quote!(&#ident)
        }
        (Some(request), Kind::ClientStream | Kind::Bidi) => request.ident.to_token_stream(),
    }
}
