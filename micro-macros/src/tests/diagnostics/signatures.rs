//! What handlers take and return.

use super::Case;
use super::contract;
use super::inherent;
use crate::errors::Id;

/// Every case of this file.
pub(super) fn cases() -> Vec<Case> {
    [receivers(), arguments(), patterns(), messages(), replies()].into_iter().flatten().collect()
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
    ]
}

fn patterns() -> Vec<Case> {
    vec![
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
