//! What the expansion of a large service may cost whoever compiles it.

use crate::expand;
use proc_macro2::TokenStream;
use std::time::Duration;
use std::time::Instant;

/// Handlers of a service that is larger than any should be.
const HANDLERS: usize = 200;

/// How long its expansion may take, without optimisation.
const EXPANSION_MAX: Duration = Duration::from_secs(1);

/// Tokens that each handler may add to the output.
const TOKENS_PER_HANDLER_MAX: usize = 600;

fn source(handlers: usize) -> TokenStream {
    let handler = |n: usize| {
        format!(
            "/// Does thing {n}.\n///\n/// @example {{\"id\": {n}}}\n\
             #[handler(scope = \"a\", timeout = \"2s\", idempotent)] \
             pub async fn thing_{n}(&self, ctx: &Context, req: Request{n}) -> Result<Reply{n}> {{}}"
        )
    };
    let handlers: Vec<String> = (0..handlers).map(handler).collect();
    format!("impl Things {{ {} }}", handlers.join("\n")).parse().unwrap()
}

fn tokens(stream: TokenStream) -> usize {
    let inner = |tree| match tree {
        proc_macro2::TokenTree::Group(group) => 1 + tokens(group.stream()),
        _ => 1,
    };
    stream.into_iter().map(inner).sum()
}

#[test]
fn a_service_of_200_handlers_expands_within_its_budget() {
    let source = source(HANDLERS);
    // The fastest of a few runs: others may use the machine meanwhile.
    let runs = (0..3).map(|_| {
        let began = Instant::now();
        let expansion = expand::service(TokenStream::new(), source.clone());
        let took = began.elapsed();
        assert!(!expansion.is_empty());
        took
    });
    let fastest = runs.min().unwrap();
    assert!(fastest < EXPANSION_MAX, "{fastest:?}");
}

#[test]
fn each_handler_adds_the_same_to_the_expansion() {
    let size = |handlers| tokens(expand::service(TokenStream::new(), source(handlers)));
    let (few, many) = (size(10), size(HANDLERS));
    let each = (many - few) / (HANDLERS - 10);
    assert!(each <= TOKENS_PER_HANDLER_MAX, "{each} tokens for each handler");
}
