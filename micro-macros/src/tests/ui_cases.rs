//! The failing cases of `ui-tests`, expanded without a compiler: each says what the compiler
//! printed for it. A check that is gone is missed here as it would be there, within milliseconds.

use crate::expand;
use proc_macro2::Delimiter;
use proc_macro2::TokenStream;
use proc_macro2::TokenTree;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use syn::LitStr;

/// What the compiler itself says of these cases, without a code: how it begins.
const COMPILER: [&str; 3] =
    ["functions cannot be both ", "`...` is not supported ", "future cannot be sent "];

/// The source of every failing case.
fn sources() -> Vec<PathBuf> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui-tests/tests");
    let mut found = Vec::new();
    for group in fs::read_dir(tests).unwrap() {
        let Ok(files) = fs::read_dir(group.unwrap().path().join("fail")) else { continue };
        let files = files.map(|file| file.unwrap().path());
        found.extend(files.filter(|path| path.extension().is_some_and(|kind| kind == "rs")));
    }
    found.sort();
    found
}

/// The first line of each mistake that the macros are said to find.
fn printed(source: &Path) -> Vec<String> {
    let text = fs::read_to_string(source.with_extension("stderr")).unwrap();
    let said = text.lines().filter_map(|line| line.strip_prefix("error: "));
    let ours = said.filter(|said| !COMPILER.iter().any(|start| said.starts_with(start)));
    ours.map(str::to_owned).collect()
}

/// The name and the arguments of an attribute of ours, out of what stands between its brackets.
fn attribute(inside: TokenStream) -> Option<(String, TokenStream)> {
    let mut trees: Vec<TokenTree> = inside.into_iter().collect();
    let args = match trees.last() {
        Some(TokenTree::Group(group)) => group.stream(),
        _ => TokenStream::new(),
    };
    if matches!(trees.last(), Some(TokenTree::Group(_))) {
        trees.pop();
    }
    let name = trees.last()?.to_string();
    ["service", "handler", "subscriber"].contains(&name.as_str()).then_some((name, args))
}

/// Where the item ends that starts at `start`: behind its braces or its semicolon.
fn end(trees: &[TokenTree], start: usize) -> usize {
    let ends = |tree: &TokenTree| match tree {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    };
    let length = trees[start..].iter().position(ends).map_or(trees.len() - start, |at| at + 1);
    start + length
}

/// Expands every item under an attribute of ours, at any depth, and collects what is said.
fn expanded(tokens: TokenStream, said: &mut Vec<String>) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < trees.len() {
        let ours = match &trees[at..] {
            [TokenTree::Punct(sign), TokenTree::Group(group), ..] if sign.as_char() == '#' => {
                attribute(group.stream())
            }
            _ => None,
        };
        if let Some((name, args)) = ours {
            let after = end(&trees, at + 2);
            let item: TokenStream = trees[at + 2..after].iter().cloned().collect();
            messages(expand_by(&name, args, item), said);
            at = after;
            continue;
        }
        if let TokenTree::Group(group) = &trees[at] {
            expanded(group.stream(), said);
        }
        at += 1;
    }
}

fn expand_by(name: &str, args: TokenStream, item: TokenStream) -> TokenStream {
    match name {
        "service" => expand::service(args, item),
        "handler" => expand::handler(&args, item),
        _ => expand::subscriber(args, item),
    }
}

/// The first line of each `compile_error!`.
fn messages(expansion: TokenStream, said: &mut Vec<String>) {
    let mut is_error = false;
    for tree in expansion {
        match tree {
            TokenTree::Ident(ident) => is_error = ident == "compile_error",
            TokenTree::Punct(_) => {}
            TokenTree::Group(group) => match syn::parse2::<LitStr>(group.stream()) {
                Ok(text) if is_error => said.extend(text.value().lines().next().map(str::to_owned)),
                _ => messages(group.stream(), said),
            },
            TokenTree::Literal(_) => is_error = false,
        }
    }
}

#[test]
fn every_ui_case_says_what_the_compiler_printed() {
    let sources = sources();
    assert!(sources.len() >= 60, "{} cases", sources.len());
    let mut wrong = Vec::new();
    for source in sources {
        let text = fs::read_to_string(&source).unwrap();
        let mut said = Vec::new();
        expanded(text.parse().unwrap(), &mut said);
        let mut printed = printed(&source);
        said.sort();
        printed.sort();
        if said != printed {
            wrong.push(format!("{}\n said {said:#?}\n printed {printed:#?}", source.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
