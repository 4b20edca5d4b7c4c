//! What handlers take and return.

use super::Case;
use super::Expected;
use super::contract;
use super::inherent;
use crate::errors::Id;

/// Every case of this file.
pub(super) fn cases() -> Vec<Case> {
    [receivers(), arguments(), patterns(), messages(), selves_and_aliases(), replies()]
        .into_iter()
        .flatten()
        .collect()
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
            &[(
                Id::D17,
                "the context of handler `h` must come right after the receiver",
                "ctx: &Context",
            )],
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
    ]
}

fn patterns() -> Vec<Case> {
    vec![
        inherent(
            "#[handler] async fn h(&self, A { b }: A) -> Result<()> {}",
            &[(
                Id::D25,
                "use a plain name for the message argument of handler `h`; destructure in the body",
                "A { b }",
            )],
        ),
        inherent(
            "#[handler] async fn h(&self, _: A) -> Result<()> {}",
            &[(
                Id::D25,
                "use a plain name for the message argument of handler `h`; destructure in the body\n\
                 help: `_req: A`",
                "_",
            )],
        ),
        inherent("#[handler] async fn h(&self, _: &Context, mut a: A) -> Result<()> {}", &[]),
        inherent(
            "#[handler] async fn h(&self, a @ _: A) -> Result<()> {}",
            &[(
                Id::D25,
                "use a plain name for the message argument of handler `h`; destructure in the body",
                "a @ _",
            )],
        ),
        inherent(
            "#[handler] async fn h(&self, ref a: A) -> Result<()> {}",
            &[(
                Id::D25,
                "use a plain name for the message argument of handler `h`; destructure in the body",
                "ref a",
            )],
        ),
        // A contract says only that it takes none.
        contract(
            "#[handler] async fn h(&self, req: A, ctx: &mut Context) -> Result<()>;",
            &[(
                Id::D20,
                "contract handler `h` takes no context: it is inherited\n\
                 help: read it with `Context::current()`",
                "ctx: &mut Context",
            )],
        ),
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
                "the context of handler `h` is shared by everything the call does\n\
                 help: take `ctx: &Context`",
                "ctx: &mut Context",
            )],
        ),
    ]
}

fn messages() -> Vec<Case> {
    let opaque = "`impl Stream` in handler `h` has no wire format; name the type\n\
         help: streams are `Streaming<T>`";
    let into = "`impl Into<A>` in handler `h` has no wire format; name the type\n\
         help: streams are `Streaming<T>`";
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
            &[(Id::D22, into, "impl Into<A>"), (Id::D22, opaque, "impl Stream")],
        ),
        inherent(
            "#[handler] async fn h(&self) -> impl Stream {}",
            &[(Id::D22, opaque, "impl Stream")],
        ),
        inherent(
            "#[handler] async fn h(&self, a: Cow<'a, str>) -> Result<Cow<'static, str>> {}",
            &[(
                Id::D23,
                "message types of handler `h` must be `'static`; found lifetime `'a`",
                "'a",
            )],
        ),
    ]
}

fn selves_and_aliases() -> Vec<Case> {
    let selfish = |path: &str| match path {
        "Self::Req" => {
            "`Self::Req` in handler `h` means nothing to the generated client; write the type out"
        }
        "Self::Error" => {
            "`Self::Error` in handler `h` means nothing to the generated client; write the type out"
        }
        "Self::HResult" => {
            "`Self::HResult` in handler `h` means nothing to the generated client; write the type out"
        }
        _ => "`Self` in handler `h` means nothing to the generated client; write the type out",
    };
    vec![
        inherent(
            "#[handler] async fn h(&self, a: Self::Req) -> Result<Vec<Self>> {}",
            &[(Id::D24, selfish("Self::Req"), "Self::Req"), (Id::D24, selfish("Self"), "Self")],
        ),
        contract(
            "#[handler] async fn h(&self) -> Result<(), Self::Error>;",
            &[(Id::D24, selfish("Self::Error"), "Self::Error")],
        ),
        // What an alias is given is as much of a message as what `Result` is given.
        inherent(
            "#[handler] async fn h(&self) -> HelloResult<&str> {}",
            &[(
                Id::D15,
                "messages must be owned: `&str` cannot outlive the network buffer\n\
                 help: use `String`",
                "&str",
            )],
        ),
        inherent(
            "#[handler] async fn h(&self) -> Self::HResult {}",
            &[(Id::D24, selfish("Self::HResult"), "Self::HResult")],
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
        // One `cfg` keeps nothing apart.
        inherent(
            "#[cfg(unix)] #[handler] async fn get(&self) -> Result<()> {} \
             #[handler(name = \"Get\")] async fn b(&self) -> Result<()> {}",
            &twice("get", "b"),
        ),
        inherent(
            "#[handler(name = \"Get\")] async fn b(&self) -> Result<()> {} \
             #[cfg(unix)] #[handler] async fn get(&self) -> Result<()> {}",
            &twice("b", "get"),
        ),
        // Subscribers are endpoints of the record too.
        inherent(
            "#[handler] async fn get(&self) -> Result<()> {} \
             #[subscriber(topic = \"t\")] async fn Get(&self, e: E) -> Result<()> {}",
            &twice("get", "Get"),
        ),
        inherent(
            "#[subscriber(topic = \"t\")] async fn get(&self, e: E) -> Result<()> {} \
             #[subscriber(topic = \"u\")] async fn Get(&self, e: E) -> Result<()> {}",
            &twice("get", "Get"),
        ),
    ]
}

/// Both methods are shown.
fn twice(first: &'static str, second: &'static str) -> [Expected; 2] {
    let text = match (first, second) {
        ("b", _) => {
            "endpoint `G.Get` is produced twice, by `b` and `get`\n\
             help: `#[handler(name = \"\u{2026}\")]`"
        }
        (_, "b") => {
            "endpoint `G.Get` is produced twice, by `get` and `b`\n\
             help: `#[handler(name = \"\u{2026}\")]`"
        }
        _ => {
            "endpoint `G.Get` is produced twice, by `get` and `Get`\n\
             help: `#[handler(name = \"\u{2026}\")]`"
        }
    };
    [(Id::D31, text, first), (Id::D31, text, second)]
}
