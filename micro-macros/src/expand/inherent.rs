//! `#[service]` on an inherent `impl`.

use crate::expand::client;
use crate::expand::codec;
use crate::expand::codec::Message;
use crate::expand::descriptor;
use crate::expand::enclosed;
use crate::expand::generics;
use crate::expand::hidden;
use crate::expand::server;
use crate::expand::server::Target;
use crate::model::Receiver;
use crate::model::Service;
use crate::parse::ImplBlock;
use proc_macro2::Ident;
use proc_macro2::TokenStream;
use quote::quote;

/// Prints the block as written, its client and its server half.
pub(crate) fn print(service: &Service, block: &ImplBlock) -> TokenStream {
    let krate = &service.krate;
    let generics = generics::of_messages(service, &block.generics);
    let arms = codec::arms();
    let table = descriptor::table(service, &generics);
    let reference = descriptor::reference(&generics);
    let client = service.client.as_ref();
    let definition = client.map(|client| hidden::definition(service, client, &generics));
    let implementation = client.map(|client| client::implementation(service, client, &generics));
    let wiring = client.map(|client| client::wiring(service, client, &generics));
    let tables = server::tables(service, &Direct);
    let serve = server::serve(krate, (&block.generics, &block.self_ty), &reference, &tables);
    let linked =
        block.generics.params.is_empty().then(|| {
            quote!(__m::inventory::submit! { __m::Entry::service(#reference::DESCRIPTOR) })
        });
    let hidden = enclosed(
        krate,
        &quote! {
            #arms
            #table
            #implementation
            #krate::__if_server! { #wiring #serve #linked }
        },
    );
    quote!(#block #definition #hidden)
}

/// Calls go to the type's own methods.
struct Direct;

impl Target for Direct {
    fn path(&self, method: &Ident) -> TokenStream {
        quote!(<Self>::#method)
    }

    fn receiver(&self, receiver: Receiver) -> TokenStream {
        server::itself(receiver)
    }

    fn decoder(&self, _index: usize, request: &Message) -> TokenStream {
        request.decoder()
    }

    fn encoder(&self, _index: usize, reply: &Message) -> TokenStream {
        reply.encoder()
    }
}
