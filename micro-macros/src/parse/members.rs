//! Reading of what stands between the braces, and of functions anywhere.

use crate::parse::Function;
use crate::parse::Member;
use crate::parse::MemberBody;
use crate::parse::Members;
use proc_macro2::Delimiter;
use proc_macro2::Group;
use proc_macro2::TokenStream;
use proc_macro2::TokenTree;
use syn::Attribute;
use syn::Ident;
use syn::Path;
use syn::Token;
use syn::Visibility;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::parse::discouraged::Speculative;

pub(super) fn members(input: ParseStream<'_>) -> syn::Result<Members> {
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

pub(super) fn function(
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

pub(super) fn is_function(input: ParseStream<'_>) -> bool {
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
pub(super) fn kind_and_name(input: ParseStream<'_>) -> (String, Option<Ident>) {
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
