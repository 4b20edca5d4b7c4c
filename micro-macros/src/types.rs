//! Syntactic questions about types: is it a stream, a context, a result?

use proc_macro2::Span;
use syn::GenericArgument;
use syn::PathArguments;
use syn::PathSegment;
use syn::ReturnType;
use syn::Type;
use syn::spanned::Spanned;

/// What a method returns, as far as its spelling tells.
pub(crate) enum Returned<'a> {
    /// No `->` at all.
    Missing,
    /// `Result<T>` or `Result<T, E>` by whatever path.
    Result { ok: &'a Type, error: Option<&'a Type> },
    /// An alias whose name ends in `Result`, or `Result` without arguments.
    Alias(&'a Type),
    /// `impl Trait`.
    Opaque(&'a Type),
    /// Anything else.
    Other(&'a Type),
}

/// Reads a return type.
pub(crate) fn returned(output: &ReturnType) -> Returned<'_> {
    let ReturnType::Type(_, ty) = output else { return Returned::Missing };
    let ty = peel(ty);
    if matches!(ty, Type::ImplTrait(_)) {
        return Returned::Opaque(ty);
    }
    let Some(segment) = last_segment(ty) else { return Returned::Other(ty) };
    let name = segment.ident.to_string();
    let mut arguments = type_arguments(segment);
    match arguments.next() {
        Some(ok) if name == "Result" => Returned::Result { ok, error: arguments.next() },
        _ if name.ends_with("Result") => Returned::Alias(ty),
        _ => Returned::Other(ty),
    }
}

/// The type behind invisible groups (left by `macro_rules`) and parentheses.
pub(crate) fn peel(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => peel(&group.elem),
        Type::Paren(paren) => peel(&paren.elem),
        other => other,
    }
}

/// The last segment of a type that is a path.
pub(crate) fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match peel(ty) {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

fn type_arguments(segment: &PathSegment) -> impl Iterator<Item = &Type> {
    let arguments = match &segment.arguments {
        PathArguments::AngleBracketed(angle) => Some(&angle.args),
        _ => None,
    };
    arguments.into_iter().flatten().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// `T` of `Wrapper<T>`.
fn wrapped<'a>(ty: &'a Type, wrapper: &str) -> Option<&'a Type> {
    let segment = last_segment(ty)?;
    if segment.ident != wrapper {
        return None;
    }
    type_arguments(segment).next()
}

/// `T` of `Streaming<T>`.
pub(crate) fn streamed(ty: &Type) -> Option<&Type> {
    wrapped(ty, "Streaming")
}

/// `T` of `Event<T>`.
pub(crate) fn enveloped(ty: &Type) -> Option<&Type> {
    wrapped(ty, "Event")
}

/// Tells whether the type is `Raw`, the event body as it came.
pub(crate) fn is_raw(ty: &Type) -> bool {
    last_segment(ty).is_some_and(|segment| segment.ident == "Raw" && segment.arguments.is_none())
}

/// Tells whether the type is `Self` behind an `Arc`.
pub(crate) fn is_shared_self(ty: &Type) -> bool {
    wrapped(ty, "Arc").is_some_and(is_self)
}

/// Tells whether the type is spelled `Self`.
pub(crate) fn is_self(ty: &Type) -> bool {
    matches!(peel(ty), Type::Path(path) if path.path.is_ident("Self"))
}

/// Tells whether the type is `()`.
pub(crate) fn is_unit(ty: &Type) -> bool {
    matches!(peel(ty), Type::Tuple(tuple) if tuple.elems.is_empty())
}

/// The context type of an argument spelled `Context` or `&Context`.
pub(crate) fn context(ty: &Type) -> Option<ContextType<'_>> {
    let (by_ref, exclusive, inner) = match peel(ty) {
        Type::Reference(reference) => (true, reference.mutability.is_some(), &*reference.elem),
        other => (false, false, other),
    };
    let segment = last_segment(inner)?;
    let named = segment.ident == "Context" && segment.arguments.is_none();
    named.then_some(ContextType { ty: inner, by_ref, exclusive })
}

/// How a method asks for its context.
#[derive(Clone, Copy)]
pub(crate) struct ContextType<'a> {
    pub(crate) ty: &'a Type,
    pub(crate) by_ref: bool,
    /// `&mut Context`, which cannot be given.
    pub(crate) exclusive: bool,
}

/// The most telling single span of a type: its last path segment, else its first token.
pub(crate) fn anchor(ty: &Type) -> Span {
    last_segment(ty).map_or_else(|| peel(ty).span(), |segment| segment.ident.span())
}
