//! `#[service]` on a trait: the contract, its client and its server.

use crate::expand::client;
use crate::expand::codec;
use crate::expand::codec::Message;
use crate::expand::descriptor;
use crate::expand::enclosed;
use crate::expand::hidden;
use crate::expand::local;
use crate::expand::mirror;
use crate::expand::server;
use crate::expand::server::Target;
use crate::model::Endpoint;
use crate::model::Receiver;
use crate::model::Service;
use crate::names;
use crate::parse::TraitBlock;
use proc_macro2::Ident;
use proc_macro2::TokenStream;
use quote::quote;
use syn::Generics;
use syn::parse_quote;

/// Prints the trait with `Send` futures, its client and its server half.
pub(crate) fn print(service: &Service, block: &TraitBlock, concrete: bool) -> TokenStream {
    let krate = &service.krate;
    let none = Generics::default();
    let contract = mirror::contract(block);
    let arms = codec::arms();
    let table = descriptor::table(service, &none);
    let client = service.client.as_ref();
    let definition = client.map(|client| hidden::definition(service, client, &none));
    let implementation = client.map(|client| client::implementation(service, client, &none));
    let wiring = client.map(|client| client::wiring(service, client, &none));
    let implemented = client.filter(|_| concrete).map(|client| {
        let client = hidden::path(service, client);
        mirror::implementation(service, block, &quote!(for #client), &|endpoint| {
            let (method, request) = (&endpoint.ident, mirror::argument(endpoint));
            quote!(<Self>::#method(self, #request))
        })
    });
    let server = names::server(&service.ident);
    let defined = server_definition(service, &server);
    let serving =
        if concrete { serve(service, block, &server) } else { unserved(service, &server) };
    let hidden = enclosed(
        krate,
        &quote! {
            #arms
            #table
            #implementation
            #implemented
            #krate::__if_server! { #wiring #serving }
        },
    );
    quote! {
        #contract
        #definition
        #krate::__if_server! { #defined }
        #hidden
    }
}

fn server_definition(service: &Service, server: &Ident) -> TokenStream {
    let vis = &service.vis;
    let doc = format!("Serves an implementation of the contract `{}`.", service.ident);
    quote! {
        #[doc = #doc]
        #[allow(dead_code, unreachable_pub, reason = "generated from the annotated item")]
        #vis struct #server<T>(#vis T);
    }
}

/// Prints the server half; messages are decoded by functions that are not generic, so that they
/// are compiled once, in the crate of the contract.
fn serve(service: &Service, block: &TraitBlock, server: &Ident) -> TokenStream {
    let (krate, contract, vis) = (&service.krate, &service.ident, &service.vis);
    let codecs = service.endpoints.iter().enumerate().map(|(index, one)| codecs(krate, index, one));
    let shared =
        mirror::implementation(service, block, &quote!(for __m::Shared<__MicroT>), &|endpoint| {
            let (method, request) = (&endpoint.ident, mirror::argument(endpoint));
            quote!(<__MicroT as #contract>::#method(&self.0, #request))
        });
    let tables = server::tables(service, &Through(contract));
    let generics: Generics = parse_quote! {
        <__MicroT: #contract + ::core::marker::Send + ::core::marker::Sync + 'static>
    };
    let reference = descriptor::reference(&Generics::default());
    let self_ty = parse_quote!(#server<__MicroT>);
    let serve = server::serve(krate, (&generics, &self_ty), &reference, &tables);
    let (formatter, value) = (local("formatter"), local("value"));
    let name = server.to_string();
    quote! {
        #(#codecs)*
        #shared
        impl<__MicroT: #contract> #server<__m::Shared<__MicroT>> {
            /// Serves a value that other owners keep.
            #vis fn shared(#value: __m::Arc<__MicroT>) -> Self {
                Self(__m::Shared(#value))
            }
        }
        #[automatically_derived]
        impl<__MicroT> ::core::fmt::Debug for #server<__MicroT> {
            fn fmt(&self, #formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                #formatter.debug_struct(#name).finish_non_exhaustive()
            }
        }
        #serve
    }
}

/// Prints a server without endpoints, so that mounting it is no second mistake.
fn unserved(service: &Service, server: &Ident) -> TokenStream {
    let krate = &service.krate;
    let generics: Generics = parse_quote! {
        <__MicroT: ::core::marker::Send + ::core::marker::Sync + 'static>
    };
    let reference = descriptor::reference(&Generics::default());
    let empty = quote! {
        const ENDPOINTS: &'static [__m::Endpoint<Self>] = &[];
        const SUBSCRIPTIONS: &'static [__m::Subscription<Self>] = &[];
    };
    let self_ty = parse_quote!(#server<__MicroT>);
    server::serve(krate, (&generics, &self_ty), &reference, &empty)
}

fn codecs(krate: &syn::Path, index: usize, endpoint: &Endpoint) -> TokenStream {
    let cfgs = &endpoint.attributes.cfgs;
    let (format, body, value) = (local("format"), local("body"), local("value"));
    let (decode, encode) = (decode(index), encode(index));
    let request = endpoint.request.as_ref().map(|request| {
        let message = Message::new(&request.ty);
        let (ty, decoder) = (&message.ty, message.decoder());
        quote! {
            #(#cfgs)*
            fn #decode(
                #format: &__m::Format,
                #body: &__m::Body<'_>,
            ) -> __m::Result<#ty, #krate::Error> {
                (#decoder)(#format, #body)
            }
        }
    });
    let message = descriptor::reply(endpoint);
    let (ty, encoder) = (&message.ty, message.encoder());
    quote! {
        #request
        #(#cfgs)*
        fn #encode(
            #format: &__m::Format,
            #value: &#ty,
            #body: &mut __m::Vec<u8>,
        ) -> __m::Result<(), #krate::Error> {
            (#encoder)(#format, #value, #body)
        }
    }
}

fn decode(index: usize) -> Ident {
    local(&format!("decode_{index}"))
}

fn encode(index: usize) -> Ident {
    local(&format!("encode_{index}"))
}

/// Calls go to the implementation inside the server type.
struct Through<'a>(&'a Ident);

impl Target for Through<'_> {
    fn path(&self, method: &Ident) -> TokenStream {
        let contract = self.0;
        quote!(<__MicroT as #contract>::#method)
    }

    fn receiver(&self, _receiver: Receiver) -> TokenStream {
        let svc = local("svc");
        quote!(&#svc.0)
    }

    fn decoder(&self, index: usize, _request: &Message) -> TokenStream {
        let decode = decode(index);
        quote!(#decode)
    }

    fn encoder(&self, index: usize, _reply: &Message) -> TokenStream {
        let encode = encode(index);
        quote!(#encode)
    }
}
