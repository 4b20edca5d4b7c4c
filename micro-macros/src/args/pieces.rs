//! Arguments as comma-separated pieces: keys are judged here, values by who asked for them.

use crate::errors::Errors;
use crate::errors::Id;
use crate::names;
use crate::text::show;
use proc_macro2::Ident;
use proc_macro2::TokenStream;
use proc_macro2::TokenTree;

/// One argument: `key`, `key = value` or `key(list)`.
pub(crate) struct Arg {
    pub(crate) key: Ident,
    /// The piece as written.
    pub(crate) tokens: TokenStream,
    pub(super) value: Value,
}

pub(super) enum Value {
    Absent,
    Assigned(TokenStream),
    Listed(TokenStream),
}

/// Splits at the commas outside of delimiters; empty pieces vanish.
pub(crate) fn pieces(tokens: TokenStream) -> Vec<TokenStream> {
    let mut pieces = vec![Vec::new()];
    for token in tokens {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == ',' => pieces.push(Vec::new()),
            _ => {
                if let Some(piece) = pieces.last_mut() {
                    piece.push(token);
                }
            }
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces.into_iter().map(|piece| piece.into_iter().collect()).collect()
}

/// Reads the arguments without judging keys; pieces that have no key are errors.
pub(crate) fn split(tokens: TokenStream, known: &[&str], errors: &mut Errors) -> Vec<Arg> {
    let mut args = Vec::new();
    for tokens in pieces(tokens) {
        let mut rest = tokens.clone().into_iter();
        let Some(TokenTree::Ident(key)) = rest.next() else {
            let text = format!("expected an argument, found `{}`; {}", show(&tokens), list(known));
            errors.push(Id::D27, tokens, text);
            continue;
        };
        let value = match rest.next() {
            None => Value::Absent,
            Some(TokenTree::Punct(punct)) if punct.as_char() == '=' => {
                Value::Assigned(rest.collect())
            }
            Some(TokenTree::Group(group)) if rest.next().is_none() => Value::Listed(group.stream()),
            Some(_) => {
                let text =
                    format!("expected an argument, found `{}`; {}", show(&tokens), list(known));
                errors.push(Id::D27, tokens, text);
                continue;
            }
        };
        args.push(Arg { key, tokens, value });
    }
    args
}

fn list(known: &[&str]) -> String {
    let keys: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
    format!("expected one of {}", keys.join(", "))
}

/// Reads the arguments; unknown and repeated keys are errors and dropped.
pub(super) fn read(tokens: TokenStream, known: &[&str], errors: &mut Errors) -> Vec<Arg> {
    let mut seen: Vec<String> = Vec::new();
    let mut args = split(tokens, known, errors);
    args.retain(|arg| {
        let key = arg.key.to_string();
        if !known.contains(&key.as_str()) {
            let mut text = format!("unknown argument `{key}`; {}", list(known));
            if let Some(meant) = names::suggestion(&key, known) {
                text.push_str(&format!("\nhelp: did you mean `{meant}`?"));
            }
            errors.push(Id::D27, &arg.key, text);
            return false;
        }
        if seen.contains(&key) {
            errors.push(Id::D28, &arg.key, format!("`{key}` given twice"));
            return false;
        }
        seen.push(key);
        true
    });
    args
}
