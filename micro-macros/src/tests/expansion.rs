//! What each rule of the grammar expands to, as snapshots named after the rule.
//!
//! A block that is compiled only with the server is shown as `mod if_server`.

use crate::expand;
use proc_macro2::Ident;
use proc_macro2::Span;
use proc_macro2::TokenStream;
use proc_macro2::TokenTree;
use syn::File;
use syn::Item;
use syn::Stmt;
use syn::parse_quote;
use syn::visit_mut;
use syn::visit_mut::VisitMut;

/// Shows `__if_server! { .. }` as a module, so that its items are formatted.
struct Gates;

impl VisitMut for Gates {
    fn visit_item_mut(&mut self, item: &mut Item) {
        if let Item::Macro(call) = item
            && let Some(gate) = gate(&call.mac)
        {
            *item = gate;
        }
        visit_mut::visit_item_mut(self, item);
    }

    fn visit_stmt_mut(&mut self, stmt: &mut Stmt) {
        if let Stmt::Macro(call) = stmt
            && let Some(gate) = gate(&call.mac)
        {
            *stmt = Stmt::Item(gate);
        }
        visit_mut::visit_stmt_mut(self, stmt);
    }
}

fn gate(call: &syn::Macro) -> Option<Item> {
    let is_gate = call.path.segments.last().is_some_and(|last| last.ident == "__if_server");
    let inside: File = is_gate.then(|| call.parse_body().expect("items"))?;
    let items = inside.items;
    Some(parse_quote!(mod if_server { #(#items)* }))
}

fn pretty(tokens: TokenStream) -> String {
    let mut file: File = syn::parse2(tokens).expect("an expansion is made of items");
    Gates.visit_file_mut(&mut file);
    // Snapshots outlive versions.
    prettyplease::unparse(&file)
        .replace(concat!("(\"", env!("CARGO_PKG_VERSION"), "\")"), "(\"$VERSION\")")
}

/// Compares with the snapshot of that name; the source stands at its top.
fn pin(name: &str, source: &str, expansion: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../ui-tests/tests/expansion");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description(source);
    settings.bind(|| insta::assert_snapshot!(name, expansion));
}

fn service(name: &str, args: &str, item: &str) {
    let source = format!("#[service({args})] {item}");
    let tokens = expand::service(args.parse().unwrap(), item.parse().unwrap());
    pin(name, &source, &pretty(tokens));
}

fn subscriber(name: &str, args: &str, item: &str) {
    let source = format!("#[subscriber({args})] {item}");
    let tokens = expand::subscriber(args.parse().unwrap(), item.parse().unwrap());
    pin(name, &source, &pretty(tokens));
}

/// Expands a service with one sound method.
fn method(name: &str, method: &str) {
    service(name, "", &format!("impl Greeter {{ {method} }}"));
}

const HELLO: &str = "#[handler] pub async fn hello(&self, req: Hello) -> Result<Reply> { body() }";

#[test]
fn service_arguments_reach_the_descriptor() {
    let item = format!("impl Greeter {{ {HELLO} }}");
    service("service_default", "", &item);
    service("service_name", "name = \"greeting\"", &item);
    service("service_version", "version = \"1.4.0\"", &item);
    service("service_scope", "scope = \"greet\"", &item);
    service("service_public", "public", &item);
    service("service_timeout", "timeout = \"5s\"", &item);
    service("service_metadata", "metadata(team = \"core\", \"x-y\" = \"z\")", &item);
    service("service_client_named", "client = Caller", &item);
    service("service_client_none", "client = none", &item);
    service("service_crate", "crate = facade::micro", &item);
}

#[test]
fn handler_arguments_reach_the_endpoint() {
    let with = |args: &str| format!("#[handler({args})] async fn hello(&self) -> Result<()> {{}}");
    method("handler_name", &with("name = \"Greet\""));
    method("handler_scope", &with("scope = \"a\""));
    method("handler_scopes", &with("scope = [\"a\", \"b\"]"));
    method("handler_public", &with("public"));
    method("handler_timeout", &with("timeout = \"1m30s\""));
    method("handler_idempotent", &with("idempotent"));
    method("handler_detached", &with("detached"));
    method("handler_metadata", &with("metadata(cost = \"high\")"));
    service(
        "handler_replaces_service_defaults",
        "public, timeout = \"5s\"",
        "impl G { #[handler(scope = \"a\", timeout = \"1s\")] async fn h(&self) -> Result<()> {} }",
    );
}

#[test]
fn signatures_choose_how_a_method_is_called() {
    let with = |rest: &str| format!("#[handler] async fn hello({rest} {{}}");
    method("signature_context_by_reference", &with("&self, ctx: &Context) -> Result<()>"));
    method("signature_context_by_value", &with("&self, ctx: Context, req: A) -> Result<()>"));
    method("signature_shared_receiver", &with("self: Arc<Self>, req: A) -> Result<()>"));
    method("signature_unary", &with("&self, req: A) -> Result<B>"));
    method("signature_server_stream", &with("&self, req: A) -> Result<Streaming<B>>"));
    method("signature_client_stream", &with("&self, rows: Streaming<A>) -> Result<B>"));
    method("signature_bidi", &with("&self, rows: Streaming<A>) -> Result<Streaming<B>>"));
    method("signature_error_type", &with("&self) -> Result<B, Fault>"));
    method("signature_result_alias", &with("&self) -> HelloResult"));
}

#[test]
fn attributes_of_a_method_follow_it() {
    method(
        "method_docs",
        "/// Says hello.\n///\n/// At length.\n/// @example {\"name\":\"Ada\"}\n#[handler] \
         async fn hello(&self) -> Result<()> {}",
    );
    method("method_cfg", "#[cfg(unix)] #[handler] async fn hello(&self, a: A) -> Result<()> {}");
    method("method_deprecated", "#[deprecated] #[handler] async fn hello(&self) -> Result<()> {}");
    let sometimes = "#[cfg_attr(unix, inline, deprecated(note = \"use x\"))] #[handler] \
                     async fn hello(&self) -> Result<()> {}";
    method("method_deprecated_sometimes", sometimes);
    method("method_raw_identifier", "#[handler] async fn r#type(&self) -> Result<()> {}");
    method(
        "method_visibility",
        "#[handler] pub(crate) async fn a(&self) -> Result<()> {} \
         #[handler] async fn b(&self) -> Result<()> {} fn helper(&self) {}",
    );
}

#[test]
fn generics_of_the_impl_are_kept_where_they_matter() {
    service(
        "impl_generics",
        "",
        "impl<D: Db, T> Cache<D, T> where T: Message { \
         #[handler] async fn put(&self, item: T) -> Result<()> {} }",
    );
}

#[test]
fn subscribers_of_a_service() {
    let with = |args: &str, event: &str| {
        format!("#[subscriber({args})] async fn on_made(&self, ev: {event}) -> Result<()> {{}}")
    };
    method("subscriber_topic_name", &with("topic = \"made\"", "Made"));
    method("subscriber_topic_constant", &with("topic = topics::MADE", "Made"));
    method("subscriber_queue", &with("topic = \"made\", queue = \"q\"", "Made"));
    method("subscriber_concurrency", &with("topic = \"made\", concurrency = 16", "Made"));
    method("subscriber_overflow", &with("topic = \"made\", overflow = drop_oldest", "Made"));
    method("subscriber_ack_auto", &with("topic = \"made\", ack = auto", "Made"));
    method("subscriber_ack_manual", &with("topic = \"made\", ack = manual", "Event<Made>"));
    method("subscriber_raw", &with("topic = MADE", "Event<Raw>"));
    method(
        "subscriber_context",
        "#[subscriber(topic = \"made\")] \
         async fn on(&self, ctx: &Context, ev: Made) -> Result<(), Fault> {}",
    );
}

#[test]
fn free_subscribers_get_a_twin() {
    subscriber(
        "free_subscriber",
        "topic = \"audit.*\"",
        "/// Audits.\npub async fn audit(ctx: &Context, event: Event<Raw>) -> Result<()> {}",
    );
    subscriber(
        "free_subscriber_crate",
        "topic = MADE, crate = facade::micro",
        "async fn on_made(made: Made) -> Result<()> {}",
    );
}

#[test]
fn contracts_get_a_client_and_a_server() {
    service(
        "contract",
        "name = \"orders\"",
        "/// Orders things.\npub trait Orders: Send + Sync + 'static { \
         #[handler] async fn create(&self, req: NewOrder) -> Result<Order, Fault>; \
         #[handler] async fn watch(&self) -> Result<Streaming<Order>>; }",
    );
    service(
        "contract_default_bodies",
        "",
        "trait Orders { #[handler] async fn count(&self) -> Result<u64> { Ok(1) } \
         async fn helper(&self) -> bool { true } fn plain(&self) {} }",
    );
    service(
        "contract_cfg",
        "client = none",
        "trait Orders { #[cfg(unix)] #[handler] async fn count(&self) -> Result<u64>; }",
    );
}

#[test]
fn structs_are_wired() {
    service(
        "struct_fields",
        "",
        "pub struct Mailer { orders: OrdersClient, #[wire(config = \"smtp\")] smtp: Smtp, \
         #[wire(default)] sent: AtomicU64, #[cfg(unix)] r#type: Store }",
    );
    service("struct_tuple", "", "struct Pair<T: Send>(Store, #[wire(default)] T);");
    service("struct_unit", "crate = facade::micro", "struct Nothing;");
}

#[test]
fn mistakes_leave_the_item_and_what_is_sound() {
    service(
        "fallback_service",
        "",
        "impl Greeter { #[handler] async fn ok(&self) -> Result<()> {} \
         #[handler] fn bad(&self) -> Reply { undefined() } }",
    );
    service(
        "fallback_contract",
        "",
        "trait Orders { #[handler] async fn ok(&self) -> Result<()>; \
         #[handler] async fn bad(&self, a: &str) -> Result<()>; fn lost(&self) -> u8; }",
    );
    service(
        "fallback_generic_contract",
        "",
        "trait Orders<T> { #[handler] async fn a(&self) -> Result<T>; }",
    );
    service("fallback_contract_impl", "", "impl Orders for Pg { #[handler] async fn a(&self) {} }");
    subscriber("fallback_subscriber", "", "async fn audit(ev: E) -> Result<()> {}");
}

#[test]
fn a_read_attribute_leaves_the_method_alone() {
    let marker = TokenStream::from(TokenTree::from(Ident::new("__micro", Span::call_site())));
    let item: TokenStream = "async fn hello(&self) {}".parse().unwrap();
    let expected = item.to_string();
    let by_handler = expand::handler(&marker, item.clone()).to_string();
    assert!(by_handler.starts_with("# [allow (clippy :: unused_async"), "{by_handler}");
    assert!(by_handler.ends_with(&expected), "{by_handler}");
    assert_eq!(expand::subscriber(marker, item).to_string(), by_handler);
}

#[test]
fn a_handler_outside_of_a_service_is_kept_and_explained() {
    let item: TokenStream = "async fn hello(&self) {}".parse().unwrap();
    // Whoever writes our word by hand is told the same.
    for args in ["", "__micro", "__micro, __micro"] {
        let tokens = expand::handler(&args.parse().unwrap(), item.clone()).to_string();
        assert!(tokens.starts_with(&item.to_string()), "{args}");
        let text = "only has meaning inside an `impl` or `trait` marked `#[service]`";
        assert!(tokens.contains(text), "{args}");
    }
}

/// The glue of one endpoint is the difference between one and two of them.
#[test]
fn an_endpoint_costs_at_most_forty_lines() {
    let lines = |methods: &str| {
        let item = format!("impl Greeter {{ {methods} }}");
        let source = item.parse().unwrap();
        let shown = pretty(expand::service(TokenStream::new(), source));
        // The user's own block is not glue.
        let own = pretty(format!("impl Greeter {{ {methods} }}").parse().unwrap());
        shown.lines().count() - own.lines().count()
    };
    let second =
        "#[handler] async fn bye(&self, ctx: &Context, r: Streaming<A>) -> Result<B> { b() }";
    let cost = lines(&format!("{HELLO} {second}")) - lines(HELLO);
    assert!(cost <= 40, "{cost} lines");
}
