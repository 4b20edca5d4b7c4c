//! What the attributes stand on, and which members they mark.

use super::Case;
use super::contract;
use super::free;
use super::inherent;
use super::item;
use crate::errors::Id;

/// Every case of this file.
pub(super) fn cases() -> Vec<Case> {
    [misplaced_items(), items(), marks(), marked_members(), contracts(), wired()]
        .into_iter()
        .flatten()
        .collect()
}

fn misplaced_items() -> Vec<Case> {
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
    ]
}

fn items() -> Vec<Case> {
    vec![
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
            "async fn h(ev) -> Result<()> {}",
            &[(Id::D57, "this item cannot be read: expected `:`", ")")],
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
    ]
}

fn marked_members() -> Vec<Case> {
    vec![
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
                "`#[handler]` of `h` inside `cfg_attr` is invisible to `#[service]`\n\
                 help: use `#[cfg(feature = \"x\")] #[handler]`",
                "#[cfg_attr(feature = \"x\", handler(idempotent))]",
            )],
        ),
        // What the topic is called does not matter.
        inherent(
            "#[cfg_attr(unix, cold, micro::subscriber(topic = \"handlers.made\"))] \
             async fn on(&self, e: E) -> Result<()> {}",
            &[(
                Id::D07,
                "`#[subscriber]` of `on` inside `cfg_attr` is invisible to `#[service]`\n\
                 help: use `#[cfg(unix)] #[subscriber]`",
                "#[cfg_attr(unix, cold, micro::subscriber(topic = \"handlers.made\"))]",
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

fn contracts() -> Vec<Case> {
    let sound = "#[handler] async fn ok(&self) -> Result<()>;";
    vec![
        contract(
            &format!("{sound} #[subscriber(topic = T)] async fn h(&self, e: E) -> Result<()>;"),
            &[(
                Id::D40,
                "contract method `h` cannot be a subscriber: topics are the contract for events\n\
                 help: share a `Topic<T>` const and put `#[subscriber]` in an inherent impl",
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
                (
                    Id::D42,
                    "contract `G` cannot be generic: the wire has one concrete shape",
                    "<T: Clone>",
                ),
                (
                    Id::D42,
                    "contract `G` cannot be generic over `Item`: the wire has one concrete shape",
                    "Item",
                ),
                (
                    Id::D42,
                    "contract `G` cannot be generic over `N`: the wire has one concrete shape",
                    "N",
                ),
            ],
        ),
        item(
            "",
            &format!("unsafe trait G {{ {sound} }}"),
            &[(Id::D26, "contract `G` must not be `unsafe`", "unsafe")],
        ),
        // What the generated client is by itself.
        item(
            "",
            &format!("trait G: Send + Sync + Sized + core::marker::Unpin + 'static {{ {sound} }}"),
            &[],
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
            "crate = a, \"b\", crate = c",
            "struct G { a: A }",
            &[
                (Id::D27, "expected an argument, found `\"b\"`; expected one of `crate`", "\"b\""),
                (Id::D28, "`crate` given twice", "crate"),
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
