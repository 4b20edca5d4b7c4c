//! Items as pieces: signatures are understood, bodies and everything else stay raw tokens, so that
//! errors inside them remain the compiler's and an item half typed is never lost.

use crate::args;
use crate::path::is_helper;
use proc_macro2::Delimiter;
use proc_macro2::Group;
use proc_macro2::Span;
use proc_macro2::TokenStream;
use proc_macro2::TokenTree;
use quote::ToTokens;
use syn::Attribute;
use syn::Generics;
use syn::Ident;
use syn::ItemStruct;
use syn::Meta;
use syn::Path;
use syn::Signature;
use syn::Token;
use syn::Type;
use syn::TypeParamBound;
use syn::Visibility;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::parse::Parser;
use syn::parse::discouraged::Speculative;
use syn::punctuated::Punctuated;

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
    pub(crate) hidden: Vec<Attribute>,
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
            quote::quote!(= #value)
        }
        Meta::Path(_) => TokenStream::new(),
    }
}

/// Reads the item an attribute stands on.
pub(crate) fn item(tokens: TokenStream) -> Parsed {
    match parse_item.parse2(tokens.clone()) {
        Ok(parsed) => parsed,
        Err(reason) => Parsed::Unreadable { tokens, reason },
    }
}

fn parse_item(input: ParseStream<'_>) -> syn::Result<Parsed> {
    let start = input.fork();
    let attributes = input.call(Attribute::parse_outer)?;
    let vis: Visibility = input.parse()?;
    if is_function(input) {
        return function(attributes, vis, None, input).map(Box::new).map(Parsed::Function);
    }
    if input.peek(Token![struct]) {
        return start_over(input, &start).and_then(syn::parse2).map(Box::new).map(Parsed::Struct);
    }
    let unsafety = input.parse()?;
    if input.peek(Token![impl]) {
        return impl_block(attributes, unsafety, input).map(Box::new).map(Parsed::Impl);
    }
    if input.peek(Token![trait]) {
        return trait_block(attributes, vis, unsafety, input).map(Box::new).map(Parsed::Trait);
    }
    let (kind, name) = kind_and_name(&input.fork());
    Ok(Parsed::Other { kind, name, tokens: start_over(input, &start)? })
}

/// Everything from `start` on, with `input` left at its end.
fn start_over(input: ParseStream<'_>, start: ParseStream<'_>) -> syn::Result<TokenStream> {
    input.parse::<TokenStream>()?;
    start.parse()
}

fn impl_block(
    attributes: Vec<Attribute>,
    unsafety: Option<Token![unsafe]>,
    input: ParseStream<'_>,
) -> syn::Result<ImplBlock> {
    let impl_token = input.parse()?;
    let mut generics = if has_generics(input) { input.parse()? } else { Generics::default() };
    let first: Type = input.parse()?;
    let (contract, self_ty) = if input.peek(Token![for]) {
        (Some((first, input.parse()?)), input.parse()?)
    } else {
        (None, first)
    };
    generics.where_clause = input.parse()?;
    let members = members(input)?;
    Ok(ImplBlock { attributes, unsafety, impl_token, generics, contract, self_ty, members })
}

/// Tells `impl<T> ..` from `impl <T as Trait>::Type ..`.
fn has_generics(input: ParseStream<'_>) -> bool {
    let named = input.peek2(Ident) || input.peek2(syn::Lifetime);
    let bounded = input.peek3(Token![:])
        || input.peek3(Token![,])
        || input.peek3(Token![>])
        || input.peek3(Token![=]);
    input.peek(Token![<])
        && (input.peek2(Token![>])
            || input.peek2(Token![#])
            || input.peek2(Token![const])
            || (named && bounded))
}

fn trait_block(
    attributes: Vec<Attribute>,
    vis: Visibility,
    unsafety: Option<Token![unsafe]>,
    input: ParseStream<'_>,
) -> syn::Result<TraitBlock> {
    let trait_token = input.parse()?;
    let ident = input.parse()?;
    let mut generics: Generics = input.parse()?;
    let colon: Option<Token![:]> = input.parse()?;
    let mut supertraits = Punctuated::new();
    while colon.is_some() && !input.peek(Token![where]) && !input.peek(syn::token::Brace) {
        supertraits.push_value(input.parse()?);
        if !input.peek(Token![+]) {
            break;
        }
        supertraits.push_punct(input.parse()?);
    }
    generics.where_clause = input.parse()?;
    let members = members(input)?;
    Ok(TraitBlock {
        attributes,
        vis,
        unsafety,
        trait_token,
        ident,
        generics,
        colon,
        supertraits,
        members,
    })
}

fn members(input: ParseStream<'_>) -> syn::Result<Members> {
    let content;
    let brace = syn::braced!(content in input);
    let inner = content.call(Attribute::parse_inner)?;
    let mut list = Vec::new();
    while !content.is_empty() {
        list.push(member(&content)?);
    }
    Ok(Members { span: brace.span.join(), inner, list })
}

fn member(input: ParseStream<'_>) -> syn::Result<Member> {
    let attributes = input.call(Attribute::parse_outer)?;
    let body = member_body(input)?;
    Ok(Member { attributes, marks: Vec::new(), hidden: Vec::new(), body })
}

fn member_body(input: ParseStream<'_>) -> syn::Result<MemberBody> {
    let probe = input.fork();
    let vis: Visibility = probe.parse()?;
    let defaultness = if probe.peek(Token![default]) && !probe.peek2(Token![!]) {
        Some(probe.parse()?)
    } else {
        None
    };
    let (kind, name) = kind_and_name(&probe.fork());
    if !is_function(&probe) {
        let tokens = until_end(input, kind == "macro")?;
        return Ok(MemberBody::Raw { kind, name, tokens, reason: None });
    }
    match function(Vec::new(), vis, defaultness, &probe) {
        Ok(function) => {
            input.advance_to(&probe);
            Ok(MemberBody::Function(Box::new(function)))
        }
        Err(reason) => {
            let tokens = until_end(input, true)?;
            Ok(MemberBody::Raw { kind, name, tokens, reason: Some(reason) })
        }
    }
}

/// Takes raw tokens up to and including `;`, or a brace group where one ends the item.
fn until_end(input: ParseStream<'_>, brace_ends: bool) -> syn::Result<TokenStream> {
    let mut tokens = TokenStream::new();
    while !input.is_empty() {
        let token: TokenTree = input.parse()?;
        let ends = match &token {
            TokenTree::Punct(punct) => punct.as_char() == ';',
            TokenTree::Group(group) => brace_ends && group.delimiter() == Delimiter::Brace,
            _ => false,
        };
        tokens.extend([token]);
        if ends {
            break;
        }
    }
    Ok(tokens)
}

fn function(
    attributes: Vec<Attribute>,
    vis: Visibility,
    defaultness: Option<Token![default]>,
    input: ParseStream<'_>,
) -> syn::Result<Function> {
    let sig = input.parse()?;
    let block = if input.peek(Token![;]) {
        input.parse::<Token![;]>()?;
        None
    } else {
        Some(input.parse::<Group>()?)
    };
    Ok(Function { attributes, vis, defaultness, sig, block })
}

fn is_function(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    loop {
        if ahead.peek(Token![fn]) {
            return true;
        }
        let qualifier = ahead.peek(Token![const])
            || ahead.peek(Token![async])
            || ahead.peek(Token![unsafe])
            || ahead.peek(Token![extern])
            || ahead.peek(syn::LitStr);
        if !qualifier || ahead.parse::<TokenTree>().is_err() {
            return false;
        }
    }
}

/// The keyword that starts an item and the name after it; a macro call is of kind `macro`.
fn kind_and_name(input: ParseStream<'_>) -> (String, Option<Ident>) {
    if let Ok(path) = input.fork().call(Path::parse_mod_style) {
        let ahead = input.fork();
        let is_call = ahead.call(Path::parse_mod_style).is_ok() && ahead.peek(Token![!]);
        if is_call {
            return ("macro".to_owned(), path.segments.last().map(|last| last.ident.clone()));
        }
    }
    let mut kind = "item".to_owned();
    while let Ok(word) = input.call(Ident::parse_any) {
        let text = word.to_string();
        match text.as_str() {
            "unsafe" | "async" | "extern" | "auto" => continue,
            "const" if input.peek(Token![fn]) || input.peek(Token![async]) => continue,
            _ => kind = text,
        }
        break;
    }
    (kind, input.call(Ident::parse_any).ok())
}

impl Member {
    /// Records our attributes and leaves `#[handler(__micro)]` behind, which expands to nothing
    /// but keeps the user's import used.
    pub(crate) fn take_marks(&mut self, krate: &Path) {
        let mut kept = Vec::with_capacity(self.attributes.len());
        for mut attribute in std::mem::take(&mut self.attributes) {
            if hides_helper(&attribute, krate) {
                self.hidden.push(attribute);
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

fn hides_helper(attribute: &Attribute, krate: &Path) -> bool {
    if !attribute.path().is_ident("cfg_attr") {
        return false;
    }
    let inner = args::pieces(arguments(attribute)).into_iter().skip(1);
    inner
        .map(|piece| syn::parse_quote!(#[#piece]))
        .any(|one: Attribute| role(&one, krate).is_some())
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(self.attributes.iter().map(ToTokens::to_token_stream));
        self.vis.to_tokens(tokens);
        self.defaultness.to_tokens(tokens);
        self.sig.to_tokens(tokens);
        match &self.block {
            Some(block) => block.to_tokens(tokens),
            None => <Token![;]>::default().to_tokens(tokens),
        }
    }
}

impl ToTokens for Member {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(self.attributes.iter().map(ToTokens::to_token_stream));
        match &self.body {
            MemberBody::Function(function) => function.to_tokens(tokens),
            MemberBody::Raw { tokens: raw, .. } => raw.to_tokens(tokens),
        }
    }
}

impl ToTokens for Members {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let mut content: TokenStream = self.inner.iter().map(ToTokens::to_token_stream).collect();
        content.extend(self.list.iter().map(ToTokens::to_token_stream));
        let mut group = Group::new(Delimiter::Brace, content);
        group.set_span(self.span);
        group.to_tokens(tokens);
    }
}

impl ToTokens for ImplBlock {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(self.attributes.iter().map(ToTokens::to_token_stream));
        self.unsafety.to_tokens(tokens);
        self.impl_token.to_tokens(tokens);
        self.generics.to_tokens(tokens);
        if let Some((contract, for_token)) = &self.contract {
            contract.to_tokens(tokens);
            for_token.to_tokens(tokens);
        }
        self.self_ty.to_tokens(tokens);
        self.generics.where_clause.to_tokens(tokens);
        self.members.to_tokens(tokens);
    }
}
