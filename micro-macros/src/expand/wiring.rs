//! `#[service]` on a struct: its fields are taken from the running service.

use crate::expand::enclosed;
use crate::expand::local;
use crate::model::WireSource;
use crate::model::Wired;
use crate::model::WiredField;
use crate::names;
use crate::text::show;
use crate::types;
use proc_macro2::TokenStream;
use quote::quote;
use quote::quote_spanned;

/// Prints the struct and how it is made.
pub(crate) fn print(wired: &Wired) -> TokenStream {
    let Wired { krate, item, ident, generics, fields } = wired;
    let (of_impl, of_type, clause) = generics.split_for_impl();
    let scope = local("scope");
    let owner = names::plain(ident);
    let fields = fields.iter().map(|one| field(&owner, one));
    let hidden = enclosed(
        krate,
        &quote! {
            #krate::__if_server! {
                use __m::{WireOwned as _, WireShared as _};
                #[automatically_derived]
                impl #of_impl #krate::FromService for #ident #of_type #clause {
                    fn from_service(
                        #scope: &__m::Wiring,
                    ) -> __m::BoxFuture<'_, __m::Result<Self, #krate::Error>> {
                        __m::Box::pin(async move { __m::Result::Ok(Self { #(#fields,)* }) })
                    }
                }
            }
        },
    );
    quote!(#item #hidden)
}

fn field(owner: &str, field: &WiredField) -> TokenStream {
    let WiredField { member, ty, cfgs, source } = field;
    let scope = local("scope");
    let name = show(member).trim_start_matches("r#").to_owned();
    let span = names::located(types::anchor(ty));
    let value = match source {
        WireSource::Service => {
            quote_spanned! {span=>
                (&&__m::Field::<#ty>::new()).wire(#scope, #owner, #name).await?
            }
        }
        WireSource::Config(path) => {
            quote_spanned!(span=> __m::wire_config::<#ty>(#scope, #owner, #name, #path).await?)
        }
        WireSource::Default => {
            quote_spanned!(span=> <#ty as ::core::default::Default>::default())
        }
    };
    quote!(#(#cfgs)* #member: #value)
}
