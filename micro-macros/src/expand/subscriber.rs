//! `#[subscriber]` on a free function: the function stays, and a type of the same name, which
//! lives in the other namespace, stands for it when it is mounted.

use crate::expand::codec;
use crate::expand::descriptor;
use crate::expand::enclosed;
use crate::expand::local;
use crate::expand::read;
use crate::expand::server;
use crate::model::FreeSubscriber;
use crate::model::Subscription;
use proc_macro2::Ident;
use proc_macro2::TokenStream;
use quote::quote;

/// Prints the function and its twin.
pub(crate) fn print(function: &FreeSubscriber) -> TokenStream {
    let FreeSubscriber { krate, item, vis, ident, subscription } = function;
    let doc = format!("Mounts the subscriber [`{ident}()`].");
    let implementation = subscription.as_ref().map(|found| implementation(krate, ident, found));
    let arms = codec::arms();
    let hidden = enclosed(krate, &quote!(#krate::__if_server! { #arms #implementation }));
    let item = read(item);
    quote! {
        #item
        #[doc = #doc]
        #[allow(
            dead_code, non_camel_case_types, unreachable_pub, rustdoc::broken_intra_doc_links,
            reason = "the twin of a function has its name"
        )]
        #[derive(::core::fmt::Debug)]
        #vis struct #ident {}
        #hidden
    }
}

fn implementation(krate: &syn::Path, ident: &Ident, subscription: &Subscription) -> TokenStream {
    let spec = descriptor::subscription(krate, subscription);
    let call = server::delivery(subscription, &quote!(#ident), None);
    let (bound, body, raw) = (&call.bound, &call.body, local("raw"));
    quote! {
        #[automatically_derived]
        impl #krate::Subscriber for #ident {
            const SPEC: __m::SubscriptionSpec = #spec;
            fn call(
                #bound: #krate::Context,
                #raw: __m::RawEvent,
            ) -> __m::BoxFuture<'static, __m::Result<__m::Ack, #krate::Error>> {
                #body
            }
        }
        __m::inventory::submit! { __m::Entry::subscriber::<#ident>() }
    }
}
