//! The helper attributes on members: `#[handler]` and `#[subscriber]`.

use crate::args;
use crate::parse::Member;
use crate::path::is_helper;
use proc_macro2::TokenStream;
use quote::quote;
use syn::Attribute;
use syn::Meta;
use syn::Path;
use syn::parse::Parser;

/// Which helper attribute stands on a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Handler,
    Subscriber,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Handler => "handler",
            Self::Subscriber => "subscriber",
        }
    }
}

/// One helper attribute as the user wrote it.
pub(crate) struct Mark {
    pub(crate) role: Role,
    pub(crate) attribute: Attribute,
}

impl Mark {
    pub(crate) fn args(&self) -> TokenStream {
        arguments(&self.attribute)
    }
}

/// The tokens between the parentheses of an attribute.
pub(crate) fn arguments(attribute: &Attribute) -> TokenStream {
    match &attribute.meta {
        Meta::List(list) => list.tokens.clone(),
        Meta::NameValue(pair) => {
            let value = &pair.value;
            quote!(= #value)
        }
        Meta::Path(_) => TokenStream::new(),
    }
}

impl Member {
    /// Records our attributes and leaves `#[handler(__micro)]` behind, which expands to nothing
    /// but keeps the user's import used.
    pub(crate) fn take_marks(&mut self, krate: &Path) {
        let mut kept = Vec::with_capacity(self.attributes.len());
        for mut attribute in std::mem::take(&mut self.attributes) {
            if let Some(role) = hidden_helper(&attribute, krate) {
                self.hidden.push(Mark { role, attribute });
                continue;
            }
            if let Some(role) = role(&attribute, krate) {
                let original = attribute.clone();
                neutralise(&mut attribute);
                self.marks.push(Mark { role, attribute: original });
            }
            kept.push(attribute);
        }
        self.attributes = kept;
    }
}

fn role(attribute: &Attribute, krate: &Path) -> Option<Role> {
    [Role::Handler, Role::Subscriber]
        .into_iter()
        .find(|role| is_helper(attribute, role.name(), krate))
}

fn neutralise(attribute: &mut Attribute) {
    let path = attribute.path().clone();
    attribute.meta = syn::parse_quote!(#path(__micro));
}

fn hidden_helper(attribute: &Attribute, krate: &Path) -> Option<Role> {
    let (_, inner) = conditional(attribute)?;
    inner.iter().find_map(|one| role(one, krate))
}

/// The condition of a `cfg_attr` and the attributes it brings; `None` for any other attribute.
pub(crate) fn conditional(attribute: &Attribute) -> Option<(TokenStream, Vec<Attribute>)> {
    if !attribute.path().is_ident("cfg_attr") {
        return None;
    }
    let mut pieces = args::pieces(arguments(attribute)).into_iter();
    let condition = pieces.next()?;
    Some((condition, pieces.filter_map(|tokens| as_attribute(&tokens)).collect()))
}

/// Reads the inside of an attribute; what is no attribute is left for the compiler to explain.
fn as_attribute(tokens: &TokenStream) -> Option<Attribute> {
    Attribute::parse_outer.parse2(quote!(#[#tokens])).ok()?.pop()
}
