//! Items as pieces: signatures are understood, bodies and everything else stay raw tokens, so that
//! errors inside them remain the compiler's and an item half typed is never lost.

mod item;
mod marks;
mod members;
mod print;

use proc_macro2::Group;
use proc_macro2::Span;
use proc_macro2::TokenStream;
use syn::Attribute;
use syn::Generics;
use syn::Ident;
use syn::ItemStruct;
use syn::Signature;
use syn::Token;
use syn::Type;
use syn::TypeParamBound;
use syn::Visibility;
use syn::punctuated::Punctuated;

pub(crate) use item::item;
pub(crate) use marks::Mark;
pub(crate) use marks::Role;
pub(crate) use marks::arguments;
pub(crate) use marks::conditional;

/// An item under one of the attributes.
pub(crate) enum Parsed {
    Impl(Box<ImplBlock>),
    Trait(Box<TraitBlock>),
    Struct(Box<ItemStruct>),
    Function(Box<Function>),
    /// Another kind of item: its keyword and its name, if it has one.
    Other {
        kind: String,
        name: Option<Ident>,
        tokens: TokenStream,
    },
    /// Tokens that do not read as an item, and why.
    Unreadable {
        tokens: TokenStream,
        reason: syn::Error,
    },
}

/// `impl Type { .. }` or `impl Trait for Type { .. }`.
pub(crate) struct ImplBlock {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) unsafety: Option<Token![unsafe]>,
    pub(crate) impl_token: Token![impl],
    pub(crate) generics: Generics,
    pub(crate) contract: Option<(Type, Token![for])>,
    pub(crate) self_ty: Type,
    pub(crate) members: Members,
}

/// `trait Name { .. }`.
pub(crate) struct TraitBlock {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) unsafety: Option<Token![unsafe]>,
    pub(crate) trait_token: Token![trait],
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    pub(crate) colon: Option<Token![:]>,
    pub(crate) supertraits: Punctuated<TypeParamBound, Token![+]>,
    pub(crate) members: Members,
}

/// What stands between the braces of an `impl` or a `trait`.
pub(crate) struct Members {
    pub(crate) span: Span,
    pub(crate) inner: Vec<Attribute>,
    pub(crate) list: Vec<Member>,
}

/// One associated item.
pub(crate) struct Member {
    pub(crate) attributes: Vec<Attribute>,
    /// The helper attributes as written; those in `attributes` are neutralised.
    pub(crate) marks: Vec<Mark>,
    /// `cfg_attr` attributes that hide a helper; removed from `attributes`.
    pub(crate) hidden: Vec<Mark>,
    pub(crate) body: MemberBody,
}

pub(crate) enum MemberBody {
    Function(Box<Function>),
    /// A constant, type or macro call, or a function whose signature does not read.
    Raw {
        kind: String,
        name: Option<Ident>,
        tokens: TokenStream,
        reason: Option<syn::Error>,
    },
}

/// A function: understood up to its body.
pub(crate) struct Function {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) defaultness: Option<Token![default]>,
    pub(crate) sig: Signature,
    /// The braces and what they hold; `None` for `;`.
    pub(crate) block: Option<Group>,
}
