//! From a marked method to its endpoint or subscription.

use crate::args::Access;
use crate::args::HandlerArgs;
use crate::args::SubscriberArgs;
use crate::args::TopicSource;
use crate::check::signature::Subject;
use crate::docs::Docs;
use crate::errors::Errors;
use crate::errors::Id;
use crate::model::ContextArg;
use crate::model::Deprecated;
use crate::model::Endpoint;
use crate::model::Event;
use crate::model::Kind;
use crate::model::Passed;
use crate::model::Receiver;
use crate::model::Reply;
use crate::model::Request;
use crate::model::Subscription;
use crate::model::Topic;
use crate::parse;
use crate::text::show;
use crate::types;
use crate::types::Returned;
use crate::value;
use quote::ToTokens;
use syn::Attribute;
use syn::Pat;
use syn::ReturnType;
use syn::Type;

/// Where a marked function stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Inherent,
    Contract,
    Free,
}

/// What a method is called on the wire, and what its own attributes say.
pub(crate) struct Named {
    pub(crate) wire: String,
    pub(crate) passed: Passed,
}

/// What the user's own attributes mean for generated code.
pub(crate) fn passed(attributes: &[Attribute]) -> Passed {
    let cfgs = attributes.iter().filter(|one| one.path().is_ident("cfg")).cloned().collect();
    Passed {
        docs: Docs::read(attributes),
        cfgs,
        deprecated: attributes.iter().find_map(deprecated),
    }
}

fn deprecated(attribute: &Attribute) -> Option<Deprecated> {
    if attribute.path().is_ident("deprecated") {
        return Some(Deprecated { attribute: attribute.clone(), condition: None });
    }
    let (condition, inner) = parse::conditional(attribute)?;
    let inner = inner.into_iter().find(|one| one.path().is_ident("deprecated"))?.meta;
    let attribute = syn::parse_quote!(#[cfg_attr(#condition, #inner)]);
    Some(Deprecated { attribute, condition: Some(condition) })
}

/// Checks a handler; `None` when there is nothing that could be called.
pub(crate) fn endpoint(
    subject: &Subject<'_>,
    args: HandlerArgs,
    named: Named,
    errors: &mut Errors,
) -> Option<Endpoint> {
    subject.check(errors);
    let request = subject.payloads.first().and_then(|argument| {
        let Pat::Ident(name) = &*argument.pat else { return None };
        Some((name.ident.clone(), &*argument.ty))
    });
    let (reply, reply_streams) = reply(&subject.sig.output)?;
    let request_streams = request.as_ref().is_some_and(|(_, ty)| types::streamed(ty).is_some());
    let request = request.map(|(ident, ty)| Request { ident, ty: item(ty) });
    let (scopes, public) = match args.access {
        Access::Unsaid => (None, false),
        Access::Public => (None, true),
        Access::Scopes(scopes) => (Some(scopes), false),
    };
    Some(Endpoint {
        ident: subject.sig.ident.clone(),
        wire: named.wire,
        kind: match (request_streams, reply_streams) {
            (false, false) => Kind::Unary,
            (false, true) => Kind::ServerStream,
            (true, false) => Kind::ClientStream,
            (true, true) => Kind::Bidi,
        },
        receiver: receiver(subject),
        context: context(subject),
        request,
        reply,
        scopes,
        public,
        timeout: args.timeout,
        idempotent: args.idempotent,
        detached: args.detached,
        metadata: args.metadata,
        attributes: named.passed,
    })
}

/// Checks a subscriber; `at` is its attribute, absent when that is the one being expanded.
pub(crate) fn subscription(
    subject: &Subject<'_>,
    args: SubscriberArgs,
    named: Named,
    at: Option<&Attribute>,
    errors: &mut Errors,
) -> Option<Subscription> {
    subject.check(errors);
    if !args.topic_given {
        let text = format!(
            "subscriber `{}` needs a topic\nhelp: `#[subscriber(topic = \"orders.created\")]`",
            subject.name
        );
        errors.push(Id::D34, at, text);
    }
    let payload = subject.payloads.last().map(|argument| &*argument.ty)?;
    let envelope = types::enveloped(payload);
    pattern(args.topic.as_ref(), envelope, errors);
    if let (Some(manual), None) = (&args.manual_ack, envelope) {
        let text = format!(
            "manual ack of subscriber `{}` needs the envelope\nhelp: take `ev: Event<{}>`",
            subject.name,
            show(payload)
        );
        errors.push(Id::D37, manual, text);
    }
    let ReturnType::Type(_, output) = &subject.sig.output else { return None };
    let error = match types::returned(&subject.sig.output) {
        Returned::Result { error, .. } => error.cloned(),
        _ => None,
    };
    Some(Subscription {
        ident: subject.sig.ident.clone(),
        wire: named.wire,
        receiver: receiver(subject),
        context: context(subject),
        topic: match args.topic? {
            TopicSource::Name(name) => Topic::Name(name.value()),
            TopicSource::Constant(path) => Topic::Constant(path),
        },
        queue: args.queue,
        concurrency: args.concurrency,
        overflow: args.overflow.variant(),
        manual_ack: args.manual_ack.is_some(),
        event: Event { ty: envelope.unwrap_or(payload).clone(), envelope: envelope.is_some() },
        output: (**output).clone(),
        error,
        attributes: named.passed,
    })
}

/// D53: a pattern matches many topics, whose events have no common type.
fn pattern(topic: Option<&TopicSource>, envelope: Option<&Type>, errors: &mut Errors) {
    let Some(TopicSource::Name(name)) = topic else { return };
    if value::is_pattern(&name.value()) && !envelope.is_some_and(types::is_raw) {
        let text = format!(
            "the pattern `{}` matches events of many types\nhelp: take `ev: Event<Raw>`",
            name.to_token_stream()
        );
        errors.push(Id::D53, name, text);
    }
}

fn receiver(subject: &Subject<'_>) -> Receiver {
    match subject.sig.receiver() {
        None => Receiver::Absent,
        Some(receiver) if types::is_shared_self(&receiver.ty) => Receiver::Shared,
        Some(_) => Receiver::Ref,
    }
}

fn context(subject: &Subject<'_>) -> Option<ContextArg> {
    let (_, _, context) = subject.contexts.first()?;
    Some(ContextArg { ty: context.ty.clone(), by_ref: context.by_ref })
}

/// The message type: what a stream carries, else the type itself.
fn item(ty: &Type) -> Type {
    types::streamed(ty).unwrap_or(ty).clone()
}

fn reply(output: &ReturnType) -> Option<(Reply, bool)> {
    let ReturnType::Type(_, written) = output else { return None };
    let output_ty = (**written).clone();
    match types::returned(output) {
        Returned::Result { ok, error } => {
            let streams = types::streamed(ok).is_some();
            let reply = Reply { output: output_ty, ty: Some(item(ok)), error: error.cloned() };
            Some((reply, streams))
        }
        Returned::Alias(_) => Some((Reply { output: output_ty, ty: None, error: None }, false)),
        _ => None,
    }
}
