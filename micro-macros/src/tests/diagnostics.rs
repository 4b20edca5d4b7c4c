//! Every mistake: its id, its words, and the exact source text it is shown on.
//!
//! A check that is removed takes its rows' expectations with it, so each check is pinned here.

use crate::check;
use crate::errors::Diagnostic;
use crate::errors::Id;
use proc_macro2::TokenStream;

/// One mistake as expected: id, message, source text ("" stands for the attribute itself).
type Expected = (Id, &'static str, &'static str);

struct Case {
    args: &'static str,
    item: String,
    free: bool,
    expected: Vec<Expected>,
}

fn item(args: &'static str, item: &str, expected: &[Expected]) -> Case {
    Case { args, item: item.to_owned(), free: false, expected: expected.to_vec() }
}

fn inherent(member: &str, expected: &[Expected]) -> Case {
    item("", &format!("impl G {{ {member} }}"), expected)
}

/// A member beside a sound handler.
fn beside(member: &str, expected: &[Expected]) -> Case {
    let sound = "#[handler] async fn ok(&self) -> Result<()> { x }";
    inherent(&format!("{sound} {member}"), expected)
}

fn contract(member: &str, expected: &[Expected]) -> Case {
    item("", &format!("trait G {{ {member} }}"), expected)
}

fn service_args(args: &'static str, expected: &[Expected]) -> Case {
    item(args, "impl G { #[handler] async fn h(&self) -> Result<()> {} }", expected)
}

fn handler_args(args: &str, expected: &[Expected]) -> Case {
    inherent(&format!("#[handler({args})] async fn h(&self) -> Result<()> {{}}"), expected)
}

fn subscriber_args(args: &str, expected: &[Expected]) -> Case {
    let method = "async fn h(&self, ev: E) -> Result<()> {}";
    inherent(&format!("#[subscriber({args})] {method}"), expected)
}

fn free(args: &'static str, item: &str, expected: &[Expected]) -> Case {
    Case { args, item: item.to_owned(), free: true, expected: expected.to_vec() }
}

fn found(case: &Case) -> Vec<(Id, String, String)> {
    let args: TokenStream = case.args.parse().unwrap();
    let item: TokenStream = case.item.parse().unwrap();
    let check = if case.free { check::subscriber } else { check::service };
    let (_model, errors) = check(args, item);
    let source = |one: &Diagnostic| {
        let whole = one.start.join(one.end).unwrap_or(one.start);
        whole.source_text().unwrap_or_default()
    };
    errors.into_list().into_iter().map(|one| (one.id, one.text.clone(), source(&one))).collect()
}

fn cases() -> Vec<Case> {
    let mut cases = items();
    cases.extend(marks());
    cases.extend(receivers());
    cases.extend(arguments());
    cases.extend(messages());
    cases.extend(replies());
    cases.extend(keys());
    cases.extend(values());
    cases.extend(subscribers());
    cases.extend(contracts());
    cases.extend(wired());
    cases
}

fn items() -> Vec<Case> {
    vec![
        item(
            "name = \"g\", crate = a::b",
            "struct G { a: A }",
            &[(
                Id::D01,
                "`name` belongs on the `impl` block: on a struct `#[service]` only wires its \
                 fields\nhelp: move it to `#[service(name = \"g\")] impl G { \u{2026} }`",
                "name = \"g\"",
            )],
        ),
        item(
            "",
            "pub async fn run() {}",
            &[(
                Id::D02,
                "`#[service]` belongs on an `impl` block, a `trait` or a `struct`, not on fn \
                 `run`\nhelp: export a function as a method: `#[service] impl Type { \u{2026} }`",
                "run",
            )],
        ),
        item(
            "",
            "pub enum Choice { A }",
            &[(
                Id::D02,
                "`#[service]` belongs on an `impl` block, a `trait` or a `struct`, not on enum \
                 `Choice`\nhelp: export a function as a method: `#[service] impl Type { \u{2026} }`",
                "Choice",
            )],
        ),
        item(
            "",
            "mod inner { }",
            &[(
                Id::D02,
                "`#[service]` belongs on an `impl` block, a `trait` or a `struct`, not on mod \
                 `inner`\nhelp: export a function as a method: `#[service] impl Type { \u{2026} }`",
                "inner",
            )],
        ),
        item(
            "",
            "impl [u8] { #[handler] async fn h(&self) -> Result<()> {} }",
            &[(Id::D02, "`#[service]` needs a type with a name, found `[u8]`", "[u8]")],
        ),
        item(
            "",
            "impl api::Orders for Pg { #[handler] async fn h(&self) -> Result<()> {} }",
            &[(
                Id::D03,
                "contract implementations need no attribute\n\
                 help: remove `#[service]` and mount it with `OrdersServer(value)`",
                "api::Orders",
            )],
        ),
        item(
            "",
            "impl G { async fn helper(&self) {} }",
            &[(
                Id::D04,
                "service `G` exports nothing\nhelp: mark at least one method `#[handler]` or \
                 `#[subscriber(topic = \"\u{2026}\")]`",
                "G",
            )],
        ),
        item(
            "",
            "trait G { async fn helper(&self) {} }",
            &[(
                Id::D04,
                "service `G` exports nothing\nhelp: mark at least one method `#[handler]`",
                "G",
            )],
        ),
        item(
            "",
            "impl G { #[handler] async fn broken(&self, req) -> Result<()> {} }",
            &[(Id::D57, "the signature of `broken` cannot be read: expected `:`", ")")],
        ),
        item("", "trait 7 {}", &[(Id::D57, "this item cannot be read: expected identifier", "7")]),
    ]
}

fn marks() -> Vec<Case> {
    vec![
        free(
            "topic = \"t\"",
            "async fn h(&self, ev: E) -> Result<()> {}",
            &[(
                Id::D05,
                "`#[subscriber]` on a method only has meaning inside an `impl` marked `#[service]`",
                "",
            )],
        ),
        free(
            "topic = \"t\"",
            "impl G { }",
            &[(
                Id::D05,
                "`#[subscriber]` belongs on a method or a function, not on a block\n\
                 help: put `#[service]` on the block and `#[subscriber]` on its methods",
                "",
            )],
        ),
        free(
            "topic = \"t\"",
            "struct S;",
            &[(Id::D06, "struct `S` cannot be a subscriber; only `async fn` can", "S")],
        ),
        free(
            "topic = \"t\"",
            "static S: u8 = 1;",
            &[(Id::D06, "static `S` cannot be a subscriber; only `async fn` can", "S")],
        ),
        inherent(
            "#[handler] const LIMIT: usize = 3;",
            &[(Id::D06, "const `LIMIT` cannot be a handler; only `async fn` methods can", "LIMIT")],
        ),
        inherent(
            "#[handler] made!(a, b);",
            &[(Id::D06, "macro `made` cannot be a handler; only `async fn` methods can", "made")],
        ),
        contract(
            "#[handler] type Item;",
            &[(Id::D06, "type `Item` cannot be a handler; only `async fn` methods can", "Item")],
        ),
        inherent(
            "#[cfg_attr(feature = \"x\", handler(idempotent))] \
             async fn h(&self) -> Result<()> {}",
            &[(
                Id::D07,
                "`#[handler]` inside `cfg_attr` is invisible to `#[service]`\n\
                 help: use `#[cfg(feature = \"x\")] #[handler]`",
                "#[cfg_attr(feature = \"x\", handler(idempotent))]",
            )],
        ),
        inherent(
            "#[handler] #[subscriber(topic = \"t\")] async fn h(&self, e: E) -> Result<()> {}",
            &[(
                Id::D08,
                "method `h` is both handler and subscriber",
                "#[subscriber(topic = \"t\")]",
            )],
        ),
        inherent(
            "#[handler] #[micro::handler(idempotent)] async fn h(&self) -> Result<()> {}",
            &[(Id::D09, "duplicate `#[handler]` on `h`", "#[micro::handler(idempotent)]")],
        ),
    ]
}

fn receivers() -> Vec<Case> {
    let wanted = "handler `h` must take `&self` (or `self: Arc<Self>`)";
    vec![
        inherent(
            "#[handler] fn h(&self) -> Result<()> {}",
            &[(Id::D10, "handler `h` must be `async`\nhelp: `async fn h(\u{2026})`", "fn")],
        ),
        inherent(
            "#[handler] fn h(&self) -> impl Future<Output = Result<()>> {}",
            &[(Id::D10, "handler `h` must be `async`\nhelp: `async fn h(\u{2026})`", "fn")],
        ),
        inherent(
            "#[handler] async fn h(&mut self) -> Result<()> {}",
            &[(
                Id::D11,
                "handler `h` must take `&self`: calls run concurrently\n\
                 help: keep mutable state behind a `Mutex`, an atomic or a channel",
                "&mut self",
            )],
        ),
        inherent("#[handler] async fn h(self) -> Result<()> {}", &[(Id::D12, wanted, "self")]),
        inherent("#[handler] async fn h() -> Result<()> {}", &[(Id::D12, wanted, "h")]),
        inherent(
            "#[handler] async fn h(self: Box<Self>) -> Result<()> {}",
            &[(Id::D12, wanted, "self: Box<Self>")],
        ),
        contract(
            "#[handler] async fn h(self: Arc<Self>) -> Result<()>;",
            &[(Id::D12, "handler `h` must take `&self`", "self: Arc<Self>")],
        ),
        inherent("#[handler] async fn h(self: std::sync::Arc<Self>) -> Result<()> {}", &[]),
        inherent("#[handler] async fn h(self: &Self) -> Result<()> {}", &[]),
    ]
}

fn arguments() -> Vec<Case> {
    vec![
        inherent(
            "#[handler] async fn get_it(&self, a: A, b: Vec<B>) -> Result<()> {}",
            &[(
                Id::D16,
                "handler `get_it` takes 2 messages; handlers take one\n\
                 help: group them: `struct GetItRequest { a: A, b: Vec<B> }`",
                "b: Vec<B>",
            )],
        ),
        inherent(
            "#[handler] async fn h(&self, req: A, ctx: &Context) -> Result<()> {}",
            &[(Id::D17, "the context must come right after the receiver", "ctx: &Context")],
        ),
        inherent(
            "#[handler] async fn h(&self, a: &Context, b: micro::Context) -> Result<()> {}",
            &[(Id::D18, "handler `h` takes the context twice", "b: micro::Context")],
        ),
        contract(
            "#[handler] async fn h(&self, ctx: &Context, req: A) -> Result<()>;",
            &[(
                Id::D20,
                "contract handler `h` takes no context: it is inherited\n\
                 help: read it with `Context::current()`",
                "ctx: &Context",
            )],
        ),
        inherent(
            "#[handler] async fn h<T: Clone, const N: usize>(&self, req: A) -> Result<()> {}",
            &[(
                Id::D21,
                "handler `h` cannot be generic: remote callers cannot choose `T`, `N`\n\
                 help: make the service generic, or use an enum",
                "<T: Clone, const N: usize>",
            )],
        ),
        inherent(
            "#[handler] async fn h(&self, A { b }: A) -> Result<()> {}",
            &[(
                Id::D25,
                "use a plain name for the message argument; destructure in the body",
                "A { b }",
            )],
        ),
        inherent(
            "#[handler] async fn h(&self, _: A) -> Result<()> {}",
            &[(
                Id::D25,
                "use a plain name for the message argument; destructure in the body\n\
                 help: `_req: A`",
                "_",
            )],
        ),
        inherent("#[handler] async fn h(&self, _: &Context, mut a: A) -> Result<()> {}", &[]),
        inherent(
            "#[handler] async unsafe extern \"C\" fn h(&self, ...) -> Result<()> {}",
            &[
                (Id::D26, "handler `h` must not be `unsafe`", "unsafe"),
                (Id::D26, "handler `h` must not be `extern`", "extern \"C\""),
                (Id::D26, "handler `h` must not be `variadic`", "..."),
            ],
        ),
        inherent(
            "#[handler] const async fn h(&self) -> Result<()> {}",
            &[(Id::D26, "handler `h` must not be `const`", "const")],
        ),
        inherent(
            "#[handler] async fn h(&self, ctx: &mut Context) -> Result<()> {}",
            &[(
                Id::D56,
                "the context is shared by everything the call does\nhelp: take `ctx: &Context`",
                "ctx: &mut Context",
            )],
        ),
    ]
}

fn messages() -> Vec<Case> {
    let opaque = "`impl Trait` has no wire format; name the type\nhelp: streams are `Streaming<T>`";
    let selfish = "`Self` means nothing to the generated client; write the type out";
    vec![
        inherent(
            "#[handler] async fn h(&self, name: &'a str) -> Result<&[u8]> {}",
            &[
                (
                    Id::D15,
                    "messages must be owned: `&'a str` cannot outlive the network buffer\n\
                     help: use `String`",
                    "&'a str",
                ),
                (
                    Id::D15,
                    "messages must be owned: `&[u8]` cannot outlive the network buffer\n\
                     help: use `Bytes`",
                    "&[u8]",
                ),
            ],
        ),
        inherent(
            "#[handler] async fn h(&self, a: Option<&Vec<A>>) -> Result<&[Item]> {}",
            &[
                (
                    Id::D15,
                    "messages must be owned: `&Vec<A>` cannot outlive the network buffer\n\
                     help: use `Vec<A>`",
                    "&Vec<A>",
                ),
                (
                    Id::D15,
                    "messages must be owned: `&[Item]` cannot outlive the network buffer\n\
                     help: use `Vec<Item>`",
                    "&[Item]",
                ),
            ],
        ),
        inherent(
            "#[handler] async fn h(&self, a: impl Into<A>) -> Result<impl Stream> {}",
            &[(Id::D22, opaque, "impl Into<A>"), (Id::D22, opaque, "impl Stream")],
        ),
        inherent(
            "#[handler] async fn h(&self) -> impl Stream {}",
            &[(Id::D22, opaque, "impl Stream")],
        ),
        inherent(
            "#[handler] async fn h(&self, a: Cow<'a, str>) -> Result<Cow<'static, str>> {}",
            &[(Id::D23, "message types must be `'static`; found lifetime `'a`", "'a")],
        ),
        inherent(
            "#[handler] async fn h(&self, a: Self::Req) -> Result<Vec<Self>> {}",
            &[(Id::D24, selfish, "Self::Req"), (Id::D24, selfish, "Self")],
        ),
        contract(
            "#[handler] async fn h(&self) -> Result<(), Self::Error>;",
            &[(Id::D24, selfish, "Self::Error")],
        ),
    ]
}

fn replies() -> Vec<Case> {
    vec![
        inherent(
            "#[handler] async fn h(&self) {}",
            &[(Id::D13, "handler `h` must return a `Result`\nhelp: `-> micro::Result<()>`", "h")],
        ),
        inherent(
            "#[handler] async fn h(&self) -> api::Page<Reply> {}",
            &[(
                Id::D14,
                "handler `h` must return a `Result`, found `api::Page<Reply>`\n\
                 help: `-> micro::Result<api::Page<Reply>>`; aliases must be named \
                 `\u{2026}Result`",
                "api::Page<Reply>",
            )],
        ),
        inherent("#[handler] async fn h(&self) -> HelloResult {}", &[]),
        inherent(
            "#[handler] async fn get_user(&self) -> Result<()> {} \
             #[handler] async fn getUser(&self) -> Result<()> {}",
            &[
                (
                    Id::D31,
                    "endpoint `G.GetUser` is produced twice, by `get_user` and `getUser`\n\
                     help: `#[handler(name = \"\u{2026}\")]`",
                    "get_user",
                ),
                (
                    Id::D31,
                    "endpoint `G.GetUser` is produced twice, by `get_user` and `getUser`\n\
                     help: `#[handler(name = \"\u{2026}\")]`",
                    "getUser",
                ),
            ],
        ),
        inherent(
            "#[cfg(unix)] #[handler] async fn get_user(&self) -> Result<()> {} \
             #[cfg(windows)] #[handler(name = \"GetUser\")] async fn b(&self) -> Result<()> {}",
            &[],
        ),
    ]
}

fn keys() -> Vec<Case> {
    vec![
        handler_args(
            "retry",
            &[(
                Id::D27,
                "unknown argument `retry`; expected one of `name`, `scope`, `public`, `timeout`, \
                 `idempotent`, `detached`, `metadata`\nhelp: did you mean `idempotent`?",
                "retry",
            )],
        ),
        service_args(
            "versoin = \"1.0.0\"",
            &[(
                Id::D27,
                "unknown argument `versoin`; expected one of `name`, `version`, `scope`, \
                 `public`, `timeout`, `metadata`, `client`, `crate`\n\
                 help: did you mean `version`?",
                "versoin",
            )],
        ),
        subscriber_args(
            "topic = \"t\", colour = 1",
            &[(
                Id::D27,
                "unknown argument `colour`; expected one of `topic`, `queue`, `concurrency`, \
                 `ack`",
                "colour",
            )],
        ),
        handler_args(
            "\"Create\"",
            &[(
                Id::D27,
                "expected an argument, found `\"Create\"`; expected one of `name`, `scope`, \
                 `public`, `timeout`, `idempotent`, `detached`, `metadata`",
                "\"Create\"",
            )],
        ),
        handler_args(
            "name \"a\"",
            &[(
                Id::D27,
                "expected an argument, found `name \"a\"`; expected one of `name`, `scope`, \
                 `public`, `timeout`, `idempotent`, `detached`, `metadata`",
                "name \"a\"",
            )],
        ),
        handler_args(
            "timeout = \"1s\", timeout = \"2s\"",
            &[(Id::D28, "`timeout` given twice", "timeout")],
        ),
        service_args(
            "metadata(team = \"a\", team = \"b\")",
            &[(Id::D28, "`team` given twice", "team")],
        ),
        service_args(
            "public, scope = \"a\"",
            &[(Id::D32, "`public` and `scope` contradict each other", "scope")],
        ),
        handler_args(
            "scope = \"a\", public",
            &[(Id::D32, "`public` and `scope` contradict each other", "public")],
        ),
        handler_args(
            "metadata(scopes = \"admin\")",
            &[(Id::D55, "the metadata key `scopes` is set by the framework", "scopes")],
        ),
    ]
}

fn values() -> Vec<Case> {
    let duration = "`timeout` takes a duration string such as \"500ms\", \"2s\", \"1m\"";
    let scope = "`scope` takes a string or a list such as [\"orders:read\", \"orders:write\"]";
    let metadata = "`metadata` takes pairs such as `metadata(team = \"core\")`";
    vec![
        handler_args("timeout = 5", &[(Id::D29, duration, "5")]),
        handler_args("timeout = \"5 parsecs\"", &[(Id::D29, duration, "\"5 parsecs\"")]),
        handler_args("timeout", &[(Id::D29, duration, "timeout")]),
        handler_args("timeout(\"1s\")", &[(Id::D29, duration, "timeout(\"1s\")")]),
        handler_args("idempotent = true", &[(Id::D29, "`idempotent` takes no value", "true")]),
        handler_args("name = 1", &[(Id::D29, "`name` takes a string such as \"Create\"", "1")]),
        service_args("name = 1", &[(Id::D29, "`name` takes a string such as \"orders\"", "1")]),
        service_args(
            "version = 1.0",
            &[(Id::D29, "`version` takes a string such as \"1.4.0\"", "1.0")],
        ),
        handler_args("scope = [a]", &[(Id::D29, scope, "[a]")]),
        handler_args("scope = \"a,b\"", &[(Id::D29, scope, "\"a,b\"")]),
        handler_args("metadata = 1", &[(Id::D29, metadata, "1")]),
        handler_args("metadata(a = 1)", &[(Id::D29, metadata, "a = 1")]),
        service_args(
            "client = \"X\"",
            &[(Id::D29, "`client` takes a type name or `none`", "\"X\"")],
        ),
        service_args(
            "crate = \"x\"",
            &[(Id::D29, "`crate` takes a path such as `my_facade::micro`", "\"x\"")],
        ),
        subscriber_args(
            "topic = 7",
            &[(
                Id::D29,
                "`topic` takes a string such as \"orders.created\" or a `Topic<T>` const",
                "7",
            )],
        ),
        subscriber_args(
            "topic = \"t\", concurrency = 0",
            &[(Id::D29, "`concurrency` takes a whole number from 1 up such as 16", "0")],
        ),
        subscriber_args(
            "topic = \"t\", ack = never",
            &[(Id::D29, "`ack` takes `auto` or `manual`", "never")],
        ),
        handler_args(
            "name = \"a b\"",
            &[(
                Id::D30,
                "`\"a b\"` is not a valid endpoint name: letters, digits, `_`, `-`, `.`",
                "\"a b\"",
            )],
        ),
        service_args(
            "name = \"\"",
            &[(
                Id::D30,
                "`\"\"` is not a valid service name: letters, digits, `_`, `-`, `.`",
                "\"\"",
            )],
        ),
        subscriber_args(
            "topic = \"t\", queue = \"a/b\"",
            &[(
                Id::D30,
                "`\"a/b\"` is not a valid queue name: letters, digits, `_`, `-`, `.`",
                "\"a/b\"",
            )],
        ),
        service_args(
            "version = \"1.4\"",
            &[(Id::D33, "`version` must be semver: unexpected end after minor", "\"1.4\"")],
        ),
        subscriber_args(
            "topic = \"a b\"",
            &[(
                Id::D54,
                "`\"a b\"` is not a valid topic: visible ASCII characters, at least one",
                "\"a b\"",
            )],
        ),
    ]
}

fn subscribers() -> Vec<Case> {
    vec![
        inherent(
            "#[subscriber(queue = \"q\")] async fn h(&self, ev: E) -> Result<()> {}",
            &[(
                Id::D34,
                "subscriber `h` needs a topic\nhelp: `#[subscriber(topic = \"orders.created\")]`",
                "#[subscriber(queue = \"q\")]",
            )],
        ),
        free(
            "",
            "async fn h(ev: E) -> Result<()> {}",
            &[(
                Id::D34,
                "subscriber `h` needs a topic\nhelp: `#[subscriber(topic = \"orders.created\")]`",
                "",
            )],
        ),
        inherent(
            "#[subscriber(topic = T)] async fn h(&self, ctx: &Context) -> Result<()> {}",
            &[(Id::D35, "subscriber `h` must take the event as its last argument", "h")],
        ),
        inherent(
            "#[subscriber(topic = T)] async fn h(&self, a: A, b: B) -> Result<()> {}",
            &[(Id::D16, "subscriber `h` takes 2 events; subscribers take one", "b: B")],
        ),
        inherent(
            "#[subscriber(topic = T)] async fn h(&self, a: A) -> Result<Reply> {}",
            &[(Id::D36, "subscribers return `Result<()>`; nobody receives `Reply`", "Reply")],
        ),
        inherent(
            "#[subscriber(topic = T)] async fn h(&self, a: A) -> Reply {}",
            &[(Id::D36, "subscribers return `Result<()>`; nobody receives `Reply`", "Reply")],
        ),
        inherent(
            "#[subscriber(topic = T)] async fn h(&self, a: A) {}",
            &[(
                Id::D13,
                "subscriber `h` must return a `Result`\nhelp: `-> micro::Result<()>`",
                "h",
            )],
        ),
        inherent(
            "#[subscriber(topic = T, ack = manual)] async fn h(&self, a: Made) -> Result<()> {}",
            &[(Id::D37, "manual ack needs the envelope\nhelp: take `ev: Event<Made>`", "manual")],
        ),
        inherent(
            "#[subscriber(topic = T)] async fn h(&self, a: Streaming<Made>) -> Result<()> {}",
            &[(
                Id::D39,
                "subscribers receive one event at a time; `Streaming` is not allowed",
                "Streaming<Made>",
            )],
        ),
        inherent(
            "#[subscriber(topic = \"audit.*\")] async fn h(&self, a: Event<Made>) -> Result<()> {}",
            &[(
                Id::D53,
                "the pattern `\"audit.*\"` matches events of many types\n\
                 help: take `ev: Event<Raw>`",
                "\"audit.*\"",
            )],
        ),
        free(
            "topic = \"audit.*\"",
            "async fn h(ctx: &Context, e: Event<Raw>) -> Result<()> {}",
            &[],
        ),
    ]
}

fn contracts() -> Vec<Case> {
    let generic = "contracts cannot be generic: the wire has one concrete shape";
    let sound = "#[handler] async fn ok(&self) -> Result<()>;";
    vec![
        contract(
            &format!("{sound} #[subscriber(topic = T)] async fn h(&self, e: E) -> Result<()>;"),
            &[(
                Id::D40,
                "topics are the contract for events\nhelp: share a `Topic<T>` const and put \
                 `#[subscriber]` in an inherent impl",
                "#[subscriber(topic = T)]",
            )],
        ),
        contract(
            &format!("{sound} async fn lost(&self); async fn kept(&self) {{}}"),
            &[(
                Id::D41,
                "contract method `lost` is neither a `#[handler]` nor has a default body",
                "lost",
            )],
        ),
        item(
            "",
            &format!("trait G<T: Clone> {{ {sound} type Item; const N: u8; const M: u8 = 1; }}"),
            &[
                (Id::D42, generic, "<T: Clone>"),
                (Id::D42, generic, "Item"),
                (Id::D42, generic, "N"),
            ],
        ),
        item(
            "",
            &format!("unsafe trait G {{ {sound} }}"),
            &[(Id::D26, "contract `G` must not be `unsafe`", "unsafe")],
        ),
        item(
            "",
            &format!("trait G: Send + Health + 'static {{ {sound} }}"),
            &[(
                Id::D58,
                "a contract asks only `Send`, `Sync` and `'static` of its implementations\n\
                 help: the generated client implements `G` too; make `Health` a contract of its \
                 own",
                "Health",
            )],
        ),
    ]
}

fn wired() -> Vec<Case> {
    vec![
        item(
            "",
            "struct G { #[wire(config = 1)] a: A, #[wire(defualt)] b: B }",
            &[
                (Id::D29, "`config` takes the path of a section such as \"smtp\"", "1"),
                (
                    Id::D27,
                    "unknown argument `defualt`; expected one of `config`, `default`\n\
                     help: did you mean `default`?",
                    "defualt",
                ),
            ],
        ),
        item(
            "",
            "struct G { #[wire(default)] #[wire(default)] a: A }",
            &[(Id::D09, "duplicate `#[wire]` on `a`", "#[wire(default)]")],
        ),
        item(
            "",
            "struct G { #[wire(default, config = \"x\")] a: A }",
            &[(Id::D32, "`config` and `default` contradict each other", "config")],
        ),
    ]
}

#[test]
fn every_mistake_has_its_words_and_its_place() {
    let mut wrong = Vec::new();
    for case in cases() {
        let found = found(&case);
        let same = found.len() == case.expected.len()
            && found
                .iter()
                .zip(&case.expected)
                .all(|((id, text, at), expected)| (*id, text.as_str(), at.as_str()) == *expected);
        if !same {
            wrong.push(format!("{}\n found {found:#?}\n expected {:#?}", case.item, case.expected));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_id_has_a_case() {
    let mut known: Vec<Id> =
        cases().iter().flat_map(|case| &case.expected).map(|(id, ..)| *id).collect();
    known.sort();
    known.dedup();
    assert_eq!(known, Id::ALL);
}

#[test]
fn one_build_shows_every_mistake() {
    let case = inherent(
        "#[handler(retry)] fn a(&mut self, x: &str) -> Reply {} \
         #[handler] async fn b<T>(self) {} \
         #[subscriber] async fn c(&self) -> Result<u8> {}",
        &[],
    );
    let ids: Vec<Id> = found(&case).into_iter().map(|(id, ..)| id).collect();
    let a = [Id::D27, Id::D10, Id::D11, Id::D15, Id::D14];
    let b = [Id::D21, Id::D12, Id::D13];
    let c = [Id::D35, Id::D36, Id::D34];
    assert_eq!(ids, [&a[..], &b[..], &c[..]].concat());
}

#[test]
fn a_mistake_beside_a_sound_method_leaves_it_exported() {
    let case = beside("#[handler] fn bad(&self) -> Reply {}", &[]);
    let (model, errors) = check::service(TokenStream::new(), case.item.parse().unwrap());
    assert_eq!(errors.count(), 2);
    let crate::model::Model::Service(service) = model else { panic!("a service") };
    let wires: Vec<&str> = service.endpoints.iter().map(|one| one.wire.as_str()).collect();
    assert_eq!(wires, ["G.Ok"]);
}
