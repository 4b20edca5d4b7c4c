//! The descriptor: what a service exports, as constant data shared by client and server.

use crate::expand::codec::Message;
use crate::expand::generics;
use crate::expand::local;
use crate::model::Endpoint;
use crate::model::Kind;
use crate::model::Passed;
use crate::model::Service;
use crate::model::Subscription;
use crate::model::Topic;
use crate::names;
use crate::types;
use proc_macro2::Ident;
use proc_macro2::Span;
use proc_macro2::TokenStream;
use quote::ToTokens;
use quote::quote;
use quote::quote_spanned;
use std::time::Duration;
use syn::Generics;
use syn::Path;
use syn::spanned::Spanned;

/// The request message of an endpoint.
pub(crate) fn request(endpoint: &Endpoint) -> Message {
    endpoint.request.as_ref().map_or_else(Message::unit, |request| Message::new(&request.ty))
}

/// The reply message of an endpoint.
pub(crate) fn reply(endpoint: &Endpoint) -> Message {
    let reply = &endpoint.reply;
    reply.ty.as_ref().map_or_else(|| Message::projected(&reply.output), Message::new)
}

/// Where an error type that cannot be converted is shown.
pub(crate) fn error_span(endpoint: &Endpoint) -> Span {
    types::anchor(endpoint.reply.error.as_ref().unwrap_or(&endpoint.reply.output))
}

/// Prints the type that holds the descriptor; it is generic only over what messages mention.
pub(crate) fn table(service: &Service, generics: &Generics) -> TokenStream {
    let declared = generics::declared(generics);
    let marker = generics::marker(generics);
    let (of_impl, of_type, clause) = generics.split_for_impl();
    let (name, type_name) = (&service.name, names::plain(&service.ident));
    let version = match &service.version {
        Some(version) => quote!(#version),
        None => quote!(::core::env!("CARGO_PKG_VERSION")),
    };
    let doc = &service.docs.text;
    let metadata = pairs(&service.metadata);
    let endpoints = service.endpoints.iter().map(endpoint);
    let subscriptions = service.subscriptions.iter();
    let subscriptions = subscriptions.map(|one| subscription(&service.krate, one));
    let endpoint_name = local("name");
    quote! {
        struct __MicroTable #declared (#marker);
        impl #of_impl __MicroTable #of_type #clause {
            const PLAIN: __m::EndpointSpec = __m::EndpointSpec {
                name: "",
                kind: __m::CallKind::Unary,
                request: __m::schema::<()>,
                response: __m::schema::<()>,
                doc: "",
                description: "",
                example: __m::Option::None,
                scopes: __m::Option::None,
                public: false,
                timeout: __m::Option::None,
                idempotent: false,
                detached: false,
                deprecated: false,
                metadata: &[],
            };
            const DESCRIPTOR: &'static __m::ServiceDescriptor = &__m::ServiceDescriptor {
                name: #name,
                version: #version,
                type_name: #type_name,
                doc: #doc,
                endpoints: &[#(#endpoints,)*],
                subscriptions: &[#(#subscriptions,)*],
                metadata: #metadata,
            };
            const fn at(#endpoint_name: &str) -> usize {
                __m::index_of(Self::DESCRIPTOR.endpoints, #endpoint_name)
            }
        }
    }
}

/// The type that [`table`] prints, as it is referred to.
pub(crate) fn reference(generics: &Generics) -> TokenStream {
    let (_, of_type, _) = generics.split_for_impl();
    quote!(<__MicroTable #of_type>)
}

fn endpoint(endpoint: &Endpoint) -> TokenStream {
    let Passed { docs, cfgs, deprecated } = &endpoint.attributes;
    let (wire, kind) = (&endpoint.wire, kind(endpoint.kind));
    let (request, reply) = (request(endpoint).schema(), reply(endpoint).schema());
    let texts = [("doc", &docs.text), ("description", &docs.description)].into_iter();
    let texts =
        texts.filter(|(_, text)| !text.is_empty()).map(|(field, text)| (field, quote!(#text)));
    let options = [
        ("example", docs.example.as_ref().map(ToTokens::to_token_stream)),
        ("scopes", endpoint.scopes.as_ref().map(|scopes| quote!(&[#(#scopes),*]))),
        ("timeout", endpoint.timeout.map(duration)),
    ];
    let options = options
        .into_iter()
        .filter_map(|(field, value)| value.map(|value| (field, quote!(__m::Option::Some(#value)))));
    let flags = [
        ("public", endpoint.public),
        ("idempotent", endpoint.idempotent),
        ("detached", endpoint.detached),
    ];
    let flags = flags.into_iter().filter(|(_, set)| *set).map(|(field, _)| (field, quote!(true)));
    let deprecated = deprecated.as_ref().map(|deprecated| match &deprecated.condition {
        Some(condition) => ("deprecated", quote!(::core::cfg!(#condition))),
        None => ("deprecated", quote!(true)),
    });
    let metadata = Some(&endpoint.metadata).filter(|pairs| !pairs.is_empty());
    let metadata = metadata.map(|given| ("metadata", pairs(given)));
    let (fields, values): (Vec<Ident>, Vec<TokenStream>) = texts
        .chain(options)
        .chain(flags)
        .chain(deprecated)
        .chain(metadata)
        .map(|(field, value)| (Ident::new(field, Span::call_site()), value))
        .unzip();
    quote! {
        #(#cfgs)*
        __m::EndpointSpec {
            name: #wire,
            kind: #kind,
            request: #request,
            response: #reply,
            #(#fields: #values,)*
            ..Self::PLAIN
        }
    }
}

/// Prints the record of one subscription.
pub(crate) fn subscription(krate: &Path, subscription: &Subscription) -> TokenStream {
    let Passed { docs, cfgs, .. } = &subscription.attributes;
    let (doc, description) = (&docs.text, &docs.description);
    let wire = &subscription.wire;
    let topic = topic(krate, subscription);
    let queue = option(subscription.queue.as_ref());
    let concurrency = proc_macro2::Literal::u32_unsuffixed(subscription.concurrency);
    let overflow = Ident::new(subscription.overflow, Span::call_site());
    let manual = subscription.manual_ack;
    quote! {
        #(#cfgs)*
        __m::SubscriptionSpec {
            name: #wire,
            topic: #topic,
            queue: #queue,
            concurrency: #concurrency,
            overflow: __m::Overflow::#overflow,
            manual_ack: #manual,
            doc: #doc,
            description: #description,
            metadata: &[],
        }
    }
}

/// A constant topic is typed by the event, so that a mismatch is shown at the topic.
fn topic(krate: &Path, subscription: &Subscription) -> TokenStream {
    match &subscription.topic {
        Topic::Name(name) => name.to_token_stream(),
        Topic::Constant(path) => {
            let span = names::located(path.span());
            let ty = &subscription.event.ty;
            // Raw events may come from a topic of any type.
            let ty = if types::is_raw(ty) { quote!(_) } else { ty.to_token_stream() };
            quote_spanned!(span=> <#krate::Topic<#ty>>::name(&#path))
        }
    }
}

fn kind(kind: Kind) -> TokenStream {
    match kind {
        Kind::Unary => quote!(__m::CallKind::Unary),
        Kind::ServerStream => quote!(__m::CallKind::ServerStream),
        Kind::ClientStream => quote!(__m::CallKind::ClientStream),
        Kind::Bidi => quote!(__m::CallKind::Bidi),
    }
}

fn option(value: Option<impl ToTokens>) -> TokenStream {
    match value {
        Some(value) => quote!(__m::Option::Some(#value)),
        None => quote!(__m::Option::None),
    }
}

fn duration(duration: Duration) -> TokenStream {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    quote!(__m::Duration::from_nanos(#nanos))
}

fn pairs(pairs: &[(String, String)]) -> TokenStream {
    let pairs = pairs.iter().map(|(key, value)| quote!((#key, #value)));
    quote!(&[#(#pairs),*])
}
