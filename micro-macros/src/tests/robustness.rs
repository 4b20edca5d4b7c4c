//! Whatever is written, an expansion ends, keeps the item and names nothing of the user's.

use crate::expand;
use proc_macro2::Spacing;
use proc_macro2::TokenStream;
use proc_macro2::TokenTree;

/// Items that reach every part of the grammar.
const ITEMS: &[(&str, &str)] = &[
    (
        "name = \"g\", version = \"1.0.0\", scope = [\"a\"], timeout = \"1s\", metadata(k = \"v\"), \
         client = C, crate = a::b",
        "impl<T: Db, const N: usize> Greeter<T> where T: Clone { \
         #[doc = \" Says.\"] #[cfg(unix)] #[deprecated] #[handler(name = \"A\", public, idempotent, \
         detached, metadata(k = \"v\"))] pub(crate) async fn a(&self, ctx: &Context, r: T) \
         -> Result<Streaming<T>, E> { x } \
         #[cfg_attr(x, handler(a))] async fn b(self: Arc<Self>, r: Streaming<B>) -> AResult {} \
         #[subscriber(topic = a::B, queue = \"q\", concurrency = 8, overflow = block, ack = manual)] \
         async fn c(&self, e: Event<C>) -> Result<()> {} \
         const X: Y<{ 1 }> = Z; type W = V; m! { a } }",
    ),
    (
        "",
        "pub trait Orders: Send + Sync + 'static { \
         #[handler] async fn a(&self, r: A) -> Result<B, E>; \
         #[handler] async fn b(&self) -> Result<()> { c } async fn d(&self) {} const N: u8 = 1; }",
    ),
    (
        "",
        "pub struct S<T> { #[wire(config = \"a\")] a: A, #[wire(default)] b: B, #[cfg(unix)] c: T }",
    ),
    (
        "topic = \"a.*\", queue = \"q\"",
        "pub async fn on(ctx: Context, e: Event<Raw>) -> Result<()> {}",
    ),
];

/// Every stream that lacks one token of `tokens`, at any depth.
fn without_one(tokens: &TokenStream) -> Vec<TokenStream> {
    let trees: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut out = Vec::new();
    for (index, tree) in trees.iter().enumerate() {
        let (before, after) = (&trees[..index], &trees[index + 1..]);
        let joined = |middle: Option<TokenTree>| -> TokenStream {
            before.iter().cloned().chain(middle).chain(after.iter().cloned()).collect()
        };
        out.push(joined(None));
        if let TokenTree::Group(group) = tree {
            for inner in without_one(&group.stream()) {
                let group = proc_macro2::Group::new(group.delimiter(), inner);
                out.push(joined(Some(TokenTree::Group(group))));
            }
        }
    }
    out
}

fn expand(args: &TokenStream, item: &TokenStream) -> [TokenStream; 2] {
    [expand::service(args.clone(), item.clone()), expand::subscriber(args.clone(), item.clone())]
}

#[test]
fn nothing_panics_on_what_is_half_written() {
    for (args, item) in ITEMS {
        let (args, item): (TokenStream, TokenStream) =
            (args.parse().unwrap(), item.parse().unwrap());
        for args in without_one(&args) {
            drop(expand(&args, &item));
        }
        for item in without_one(&item) {
            for tokens in expand(&args, &item) {
                assert!(!tokens.is_empty() || item.is_empty());
            }
        }
    }
}

/// Words that mean something else where the user shadows them.
const PRELUDE: &[&str] = &[
    "Arc",
    "Box",
    "Clone",
    "Debug",
    "Default",
    "Err",
    "From",
    "FromService",
    "Future",
    "Into",
    "None",
    "Ok",
    "Option",
    "PhantomData",
    "Result",
    "Send",
    "Serve",
    "Some",
    "String",
    "Sync",
    "Vec",
    "async_trait",
    "drop",
    "env",
    "format",
    "panic",
    "vec",
];

fn bare_words(tokens: TokenStream, found: &mut Vec<String>) {
    let (mut qualified, mut joint) = (false, false);
    for tree in tokens {
        match tree {
            TokenTree::Ident(ident) => {
                let word = ident.to_string();
                if !qualified && PRELUDE.contains(&word.as_str()) {
                    found.push(word);
                }
                qualified = false;
            }
            TokenTree::Group(group) => {
                qualified = false;
                bare_words(group.stream(), found);
            }
            // Behind `::` and `.` a word is looked up where it belongs.
            TokenTree::Punct(punct) => {
                let colon = punct.as_char() == ':';
                qualified = punct.as_char() == '.' || (colon && joint);
                joint = colon && punct.spacing() == Spacing::Joint;
                continue;
            }
            TokenTree::Literal(_) => qualified = false,
        }
        joint = false;
    }
}

#[test]
fn generated_code_takes_no_word_from_the_prelude() {
    let replaced = |text: &str| {
        let text = text.replace("Result<", "MyResult<").replace("Arc<Self>", "my::Arc<Self>");
        text.replace(": Send + Sync +", ":").replace("Clone", "Copy").parse::<TokenStream>()
    };
    for (args, item) in ITEMS {
        let (args, item) = (args.parse().unwrap(), replaced(item).unwrap());
        for tokens in expand(&args, &item) {
            let mut found = Vec::new();
            bare_words(tokens, &mut found);
            assert_eq!(found, Vec::<String>::new(), "{item}");
        }
    }
}
