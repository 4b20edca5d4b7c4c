//! The server half: a table of calls parallel to the descriptor.

use crate::expand::codec::Message;
use crate::expand::descriptor;
use crate::expand::local;
use crate::expand::local_at;
use crate::model::ContextArg;
use crate::model::Endpoint;
use crate::model::Kind;
use crate::model::Receiver;
use crate::model::Service;
use crate::model::Subscription;
use crate::names;
use crate::types;
use proc_macro2::Ident;
use proc_macro2::TokenStream;
use quote::quote;
use quote::quote_spanned;
use syn::Type;

/// What the calls go to.
pub(crate) trait Target {
    /// The path of a method.
    fn path(&self, method: &Ident) -> TokenStream;
    /// The receiver, given the service behind an `Arc`.
    fn receiver(&self, receiver: Receiver) -> TokenStream;
    /// The decoder of an endpoint's request.
    fn decoder(&self, index: usize, request: &Message) -> TokenStream;
    /// The encoder of an endpoint's reply.
    fn encoder(&self, index: usize, reply: &Message) -> TokenStream;
}

/// Prints the two tables of `impl Serve`; parallel to the descriptor.
pub(crate) fn tables(service: &Service, target: &impl Target) -> TokenStream {
    let endpoints = service.endpoints.iter().enumerate();
    let endpoints = endpoints.map(|(index, one)| endpoint(index, one, target));
    let subscriptions = service.subscriptions.iter();
    let subscriptions = subscriptions.map(|one| subscription(one, target));
    quote! {
        const ENDPOINTS: &'static [__m::Endpoint<Self>] = &[#(#endpoints,)*];
        const SUBSCRIPTIONS: &'static [__m::Subscription<Self>] = &[#(#subscriptions,)*];
    }
}

fn endpoint(index: usize, endpoint: &Endpoint, target: &impl Target) -> TokenStream {
    let cfgs = &endpoint.attributes.cfgs;
    let (svc, incoming, kept) = (local("svc"), local("in"), local("format"));
    let (req, reply_span) = (local("req"), names::located(descriptor::error_span(endpoint)));
    let (out, out_shown) = (local("out"), Ident::new("__micro_out", reply_span));
    let decoder = target.decoder(index, &descriptor::request(endpoint));
    let encoder = target.encoder(index, &descriptor::reply(endpoint));
    let read = endpoint.request.as_ref().map(|_| match endpoint.kind {
        Kind::Unary | Kind::ServerStream => {
            quote!(let #req = __m::decode(&#incoming, #decoder)?;)
        }
        Kind::ClientStream | Kind::Bidi => quote! {
            let #kept = ::core::clone::Clone::clone(#incoming.format());
            let #req = __m::inbound(#incoming, #decoder);
        },
    });
    let format = match endpoint.kind {
        Kind::Unary | Kind::ServerStream => quote!(#incoming.format()),
        Kind::ClientStream | Kind::Bidi => quote!(&#kept),
    };
    let respond = match endpoint.kind {
        Kind::Unary | Kind::ClientStream => quote!(respond),
        Kind::ServerStream | Kind::Bidi => quote!(respond_stream),
    };
    let context = context(endpoint.context.as_ref());
    let (bound, given) = (&context.bound, &context.given);
    let request = endpoint.request.as_ref().map(|_| quote!(#req,));
    let (path, receiver) = (target.path(&endpoint.ident), target.receiver(endpoint.receiver));
    let shown = match &endpoint.reply.ty {
        Some(_) => quote!(#out_shown),
        // An alias that is no `Result` is shown where it stands, like all other uses of it.
        None => {
            let output = &endpoint.reply.output;
            let span = types::anchor(output);
            quote_spanned!(span=> <#output as __m::Outcome>::result(#out))
        }
    };
    let body = quote_spanned! {names::located(endpoint.ident.span())=>
        __m::Box::pin(async move {
            #read
            let #out = #path(#receiver, #given #request).await;
            __m::#respond(#format, #shown, #encoder)
        })
    };
    quote! {
        #(#cfgs)*
        __m::Endpoint {
            call: |#svc, #bound, #incoming| #body,
        }
    }
}

fn subscription(subscription: &Subscription, target: &impl Target) -> TokenStream {
    let cfgs = &subscription.attributes.cfgs;
    let svc = local("svc");
    let receiver = target.receiver(subscription.receiver);
    let path = target.path(&subscription.ident);
    let call = delivery(subscription, &quote!(#path), Some(&receiver));
    let (bound, raw) = (&call.bound, local("raw"));
    let body = &call.body;
    quote! {
        #(#cfgs)*
        __m::Subscription {
            call: |#svc, #bound, #raw| #body,
        }
    }
}

/// The handling of one event: the pattern that binds the context, and the boxed future.
pub(crate) struct Delivery {
    pub(crate) bound: TokenStream,
    pub(crate) body: TokenStream,
}

/// Prints the handling of one event by the function at `path`.
pub(crate) fn delivery(
    subscription: &Subscription,
    path: &TokenStream,
    receiver: Option<&TokenStream>,
) -> Delivery {
    let (raw, event) = (local("raw"), local("event"));
    let decoder = Message::new(&subscription.event.ty).decoder();
    let read = if subscription.event.envelope {
        quote!(__m::envelope(#raw, #decoder)?)
    } else {
        quote!(__m::event(&#raw, #decoder)?)
    };
    let span = types::anchor(subscription.error.as_ref().unwrap_or(&subscription.output));
    let (out, out_shown) = (local("out"), local_at("out", span));
    let context = context(subscription.context.as_ref());
    let given = &context.given;
    let receiver = receiver.map(|receiver| quote!(#receiver,));
    let body = quote_spanned! {names::located(subscription.ident.span())=>
        __m::Box::pin(async move {
            let #event = #read;
            let #out = #path(#receiver #given #event).await;
            __m::acked(#out_shown)
        })
    };
    Delivery { bound: context.bound, body }
}

struct Context {
    /// What binds it in a closure's parameters.
    bound: TokenStream,
    /// The argument, with its comma; typed as spelled, so that a foreign type is shown there.
    given: TokenStream,
}

fn context(context: Option<&ContextArg>) -> Context {
    let ctx = local("ctx");
    let Some(ContextArg { ty, by_ref }) = context else {
        return Context { bound: quote!(_), given: quote!() };
    };
    let span = names::located(types::anchor(ty));
    let given = if *by_ref {
        quote_spanned!(span=> __m::context::<#ty>(&#ctx),)
    } else {
        quote_spanned!(span=> __m::owned_context::<#ty>(#ctx),)
    };
    Context { bound: quote!(#ctx), given }
}

/// The service itself, for a `&self` or an `Arc<Self>` method.
pub(crate) fn itself(receiver: Receiver) -> TokenStream {
    let svc = local("svc");
    match receiver {
        Receiver::Shared => quote!(#svc),
        Receiver::Ref | Receiver::Absent => quote!(&*#svc),
    }
}

/// Prints `impl Serve` around its tables.
pub(crate) fn serve(
    krate: &syn::Path,
    (generics, self_ty): (&syn::Generics, &Type),
    table: &TokenStream,
    tables: &TokenStream,
) -> TokenStream {
    // A second service on one type is shown at the type.
    let span = names::located(types::anchor(self_ty));
    let mut generics = generics.clone();
    if generics.params.is_empty() {
        // Where it does not hold this is the one error; the calls below take it for granted.
        let shared = quote_spanned!(span=> #self_ty: ::core::marker::Send + ::core::marker::Sync);
        generics.make_where_clause().predicates.push(syn::parse_quote!(#shared));
    }
    let (of_impl, _, clause) = generics.split_for_impl();
    let header = quote_spanned!(span=> impl #of_impl #krate::Serve for #self_ty #clause);
    quote! {
        #[automatically_derived]
        #header {
            const DESCRIPTOR: &'static __m::ServiceDescriptor = #table::DESCRIPTOR;
            #tables
        }
    }
}
