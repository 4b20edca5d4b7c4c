//! Source-like text of tokens, for messages.

use proc_macro2::Delimiter;
use proc_macro2::Group;
use proc_macro2::Spacing;
use proc_macro2::TokenStream;
use proc_macro2::TokenTree;
use quote::ToTokens;

/// Renders tokens the way a person writes them: `Vec<Reply>`, not `Vec < Reply >`.
pub(crate) fn show(tokens: impl ToTokens) -> String {
    let mut out = String::new();
    write(tokens.into_token_stream(), &mut out);
    out.trim().to_owned()
}

fn write(tokens: TokenStream, out: &mut String) {
    let mut after_word = false;
    for token in tokens {
        let is_word = matches!(token, TokenTree::Ident(_) | TokenTree::Literal(_));
        let spaced = match &token {
            TokenTree::Punct(punct) => punct.as_char() == '\'',
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
            _ => true,
        };
        if after_word && spaced {
            out.push(' ');
        }
        match token {
            TokenTree::Ident(ident) => out.push_str(&ident.to_string()),
            TokenTree::Literal(literal) => out.push_str(&literal.to_string()),
            TokenTree::Group(group) => write_group(&group, out),
            TokenTree::Punct(punct) => match punct.as_char() {
                mark @ (',' | ';') => out.extend([mark, ' ']),
                mark @ ('=' | '+') => out.extend([' ', mark, ' ']),
                '-' if punct.spacing() == Spacing::Joint => out.push_str(" -"),
                '>' if out.ends_with(" -") => out.push_str("> "),
                mark => out.push(mark),
            },
        }
        after_word = is_word;
    }
}

fn write_group(group: &Group, out: &mut String) {
    let (open, close) = match group.delimiter() {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{ ", " }"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => ("", ""),
    };
    out.push_str(open);
    write(group.stream(), out);
    out.push_str(close);
}

#[cfg(test)]
mod tests {
    use super::show;

    #[test]
    fn types_read_as_written() {
        for source in [
            "Vec<Reply>",
            "&'a str",
            "&mut T",
            "api::Pair<A, [u8; 4]>",
            "impl Fn(A) -> B + Send",
            "name = \"g\"",
        ] {
            let tokens: proc_macro2::TokenStream = source.parse().unwrap();
            assert_eq!(show(tokens), source);
        }
    }
}
