//! The rules of a handler's or subscriber's signature, one function per rule.

use crate::check::message;
use crate::check::method::Place;
use crate::errors::Errors;
use crate::errors::Id;
use crate::names;
use crate::parse::Role;
use crate::text::show;
use crate::types;
use crate::types::ContextType;
use crate::types::Returned;
use quote::ToTokens;
use quote::quote;
use syn::FnArg;
use syn::GenericParam;
use syn::Pat;
use syn::PatType;
use syn::Signature;
use syn::Type;

/// A signature with its parameters sorted.
pub(crate) struct Subject<'a> {
    pub(crate) role: Role,
    pub(crate) place: Place,
    pub(crate) sig: &'a Signature,
    pub(crate) name: String,
    /// Context parameters, with their position behind the receiver.
    pub(crate) contexts: Vec<(usize, &'a PatType, ContextType<'a>)>,
    pub(crate) payloads: Vec<&'a PatType>,
}

/// Every rule; the order is that of the messages.
const RULES: &[fn(&Subject<'_>, &mut Errors)] = &[
    qualified,
    not_async,
    generic,
    receiver,
    contexts,
    contract_context,
    payload_count,
    payload_pattern,
    payload_types,
    missing_result,
    no_result,
    reply_types,
    subscriber_reply,
];

impl<'a> Subject<'a> {
    pub(crate) fn handler(sig: &'a Signature, place: Place) -> Self {
        Self::new(Role::Handler, sig, place)
    }

    pub(crate) fn subscriber(sig: &'a Signature, place: Place) -> Self {
        Self::new(Role::Subscriber, sig, place)
    }

    fn new(role: Role, sig: &'a Signature, place: Place) -> Self {
        let typed = sig.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(typed) => Some(typed),
            FnArg::Receiver(_) => None,
        });
        let (mut contexts, mut payloads) = (Vec::new(), Vec::new());
        for (position, argument) in typed.enumerate() {
            match types::context(&argument.ty) {
                Some(context) => contexts.push((position, argument, context)),
                None => payloads.push(argument),
            }
        }
        Self { role, place, sig, name: names::plain(&sig.ident), contexts, payloads }
    }

    /// Applies every rule.
    pub(crate) fn check(&self, errors: &mut Errors) {
        for rule in RULES {
            rule(self, errors);
        }
    }

    fn label(&self) -> String {
        format!("{} `{}`", self.role.name(), self.name)
    }
}

/// D26
fn qualified(subject: &Subject<'_>, errors: &mut Errors) {
    let sig = subject.sig;
    let found = [
        ("unsafe", sig.unsafety.map(ToTokens::into_token_stream)),
        ("const", sig.constness.map(ToTokens::into_token_stream)),
        ("extern", sig.abi.as_ref().map(ToTokens::to_token_stream)),
        ("variadic", sig.variadic.as_ref().map(ToTokens::to_token_stream)),
    ];
    for (word, tokens) in found {
        if let Some(tokens) = tokens {
            errors.push(Id::D26, tokens, format!("{} must not be `{word}`", subject.label()));
        }
    }
}

/// D10
fn not_async(subject: &Subject<'_>, errors: &mut Errors) {
    if subject.sig.asyncness.is_none() {
        let text = format!(
            "{} must be `async`\nhelp: `async fn {}(\u{2026})`",
            subject.label(),
            subject.name
        );
        errors.push(Id::D10, subject.sig.fn_token, text);
    }
}

/// D21
fn generic(subject: &Subject<'_>, errors: &mut Errors) {
    let generics = &subject.sig.generics;
    let params = generics.params.iter().map(|param| match param {
        GenericParam::Type(param) => param.ident.to_string(),
        GenericParam::Const(param) => param.ident.to_string(),
        GenericParam::Lifetime(param) => param.lifetime.to_string(),
    });
    let params: Vec<String> = params.map(|param| format!("`{param}`")).collect();
    if !params.is_empty() {
        let text = format!(
            "{} cannot be generic: remote callers cannot choose {}\n\
             help: make the service generic, or use an enum",
            subject.label(),
            params.join(", ")
        );
        errors.push(Id::D21, quote!(#generics), text);
    }
}

/// D11, D12
fn receiver(subject: &Subject<'_>, errors: &mut Errors) {
    if subject.place == Place::Free {
        return;
    }
    let alternative = match subject.place {
        Place::Contract => "",
        _ => " (or `self: Arc<Self>`)",
    };
    let wanted = format!("{} must take `&self`{alternative}", subject.label());
    let Some(receiver) = subject.sig.receiver() else {
        errors.push(Id::D12, &subject.sig.ident, wanted);
        return;
    };
    let (shared, exclusive) = match types::peel(&receiver.ty) {
        Type::Reference(reference) if types::is_self(&reference.elem) => {
            (reference.mutability.is_none(), reference.mutability.is_some())
        }
        other => (subject.place != Place::Contract && types::is_shared_self(other), false),
    };
    if exclusive {
        let text = format!(
            "{} must take `&self`: calls run concurrently\n\
             help: keep mutable state behind a `Mutex`, an atomic or a channel",
            subject.label()
        );
        errors.push(Id::D11, receiver, text);
    } else if !shared {
        errors.push(Id::D12, receiver, wanted);
    }
}

/// D17, D18, D56
fn contexts(subject: &Subject<'_>, errors: &mut Errors) {
    for (_, argument, context) in &subject.contexts {
        if context.exclusive && subject.place != Place::Contract {
            let text = format!(
                "the context of {} is shared by everything the call does\n\
                 help: take `ctx: &Context`",
                subject.label()
            );
            errors.push(Id::D56, argument, text);
        }
    }
    if subject.place == Place::Contract {
        return;
    }
    if let Some((_, second, _)) = subject.contexts.get(1) {
        errors.push(Id::D18, second, format!("{} takes the context twice", subject.label()));
    } else if let Some((position, argument, _)) = subject.contexts.first()
        && *position > 0
    {
        let text = format!("the context of {} must come right after the receiver", subject.label());
        errors.push(Id::D17, argument, text);
    }
}

/// D20
fn contract_context(subject: &Subject<'_>, errors: &mut Errors) {
    if subject.place != Place::Contract {
        return;
    }
    for (_, argument, _) in &subject.contexts {
        let text = format!(
            "contract {} takes no context: it is inherited\n\
             help: read it with `Context::current()`",
            subject.label()
        );
        errors.push(Id::D20, argument, text);
    }
}

/// D16, D35
fn payload_count(subject: &Subject<'_>, errors: &mut Errors) {
    let count = subject.payloads.len();
    let subscriber = subject.role == Role::Subscriber;
    if count == 0 && subscriber {
        let text = format!("{} must take the event as its last argument", subject.label());
        errors.push(Id::D35, &subject.sig.ident, text);
    }
    let Some(second) = subject.payloads.get(1) else { return };
    let text = if subscriber {
        format!("{} takes {count} events; subscribers take one", subject.label())
    } else {
        let fields: Vec<String> = subject
            .payloads
            .iter()
            .map(|argument| format!("{}: {}", show(&argument.pat), show(&argument.ty)))
            .collect();
        format!(
            "{} takes {count} messages; handlers take one\nhelp: group them: \
             `struct {}Request {{ {} }}`",
            subject.label(),
            names::pascal_case(&subject.name),
            fields.join(", ")
        )
    };
    errors.push(Id::D16, second, text);
}

/// D25
fn payload_pattern(subject: &Subject<'_>, errors: &mut Errors) {
    for argument in &subject.payloads {
        let text = format!(
            "use a plain name for the message argument of {}; destructure in the body",
            subject.label()
        );
        match &*argument.pat {
            Pat::Ident(name) if name.subpat.is_none() && name.by_ref.is_none() => {}
            Pat::Wild(_) => {
                let ty = show(&argument.ty);
                errors.push(Id::D25, &argument.pat, format!("{text}\nhelp: `_req: {ty}`"));
            }
            other => errors.push(Id::D25, other, text),
        }
    }
}

/// D15, D22, D23, D24, D39
fn payload_types(subject: &Subject<'_>, errors: &mut Errors) {
    for argument in &subject.payloads {
        if subject.role == Role::Subscriber {
            let inner = types::enveloped(&argument.ty).unwrap_or(&argument.ty);
            if types::streamed(inner).is_some() {
                let text = format!(
                    "{} receives one event at a time; `{}` is not allowed",
                    subject.label(),
                    show(inner)
                );
                errors.push(Id::D39, &argument.ty, text);
            }
        }
        message::check(&argument.ty, &subject.label(), errors);
    }
}

/// D13
fn missing_result(subject: &Subject<'_>, errors: &mut Errors) {
    if matches!(types::returned(&subject.sig.output), Returned::Missing) {
        let text =
            format!("{} must return a `Result`\nhelp: `-> micro::Result<()>`", subject.label());
        errors.push(Id::D13, &subject.sig.ident, text);
    }
}

/// D14
fn no_result(subject: &Subject<'_>, errors: &mut Errors) {
    let Returned::Other(ty) = types::returned(&subject.sig.output) else { return };
    if subject.role == Role::Handler {
        let found = show(ty);
        let text = format!(
            "{} must return a `Result`, found `{found}`\nhelp: `-> micro::Result<{found}>`; \
             aliases must be named `\u{2026}Result`",
            subject.label()
        );
        errors.push(Id::D14, ty, text);
    }
}

/// D15, D22, D23, D24 in what comes back
fn reply_types(subject: &Subject<'_>, errors: &mut Errors) {
    let label = subject.label();
    match types::returned(&subject.sig.output) {
        Returned::Result { ok, error } => {
            message::check(ok, &label, errors);
            // A contract's error is part of the client's methods.
            if let Some(error) = error.filter(|_| subject.place == Place::Contract) {
                message::check(error, &label, errors);
            }
        }
        Returned::Alias(ty) => message::check(ty, &label, errors),
        // Without `async`, `impl Future` is that mistake rather than this one.
        Returned::Opaque(ty) if subject.sig.asyncness.is_some() => {
            message::check(ty, &label, errors);
        }
        _ => {}
    }
}

/// D36
fn subscriber_reply(subject: &Subject<'_>, errors: &mut Errors) {
    let reply = match types::returned(&subject.sig.output) {
        Returned::Result { ok, .. } if !types::is_unit(ok) => ok,
        Returned::Other(ty) => ty,
        _ => return,
    };
    if subject.role == Role::Subscriber {
        let text = format!(
            "{} must return `Result<()>`; nobody receives `{}`",
            subject.label(),
            show(reply)
        );
        errors.push(Id::D36, reply, text);
    }
}
