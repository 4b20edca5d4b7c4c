//! What subscribers take and return.

use super::Case;
use super::free;
use super::inherent;
use crate::errors::Id;

/// Every case of this file.
pub(super) fn cases() -> Vec<Case> {
    [subscribers(), events()].into_iter().flatten().collect()
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
            &[(
                Id::D36,
                "subscriber `h` must return `Result<()>`; nobody receives `Reply`",
                "Reply",
            )],
        ),
        inherent(
            "#[subscriber(topic = T)] async fn h(&self, a: A) -> Reply {}",
            &[(
                Id::D36,
                "subscriber `h` must return `Result<()>`; nobody receives `Reply`",
                "Reply",
            )],
        ),
        inherent(
            "#[subscriber(topic = T)] async fn h(&self, a: A) {}",
            &[(
                Id::D13,
                "subscriber `h` must return a `Result`\nhelp: `-> micro::Result<()>`",
                "h",
            )],
        ),
    ]
}

fn events() -> Vec<Case> {
    vec![
        inherent(
            "#[subscriber(topic = T, ack = manual)] async fn h(&self, a: Made) -> Result<()> {}",
            &[(
                Id::D37,
                "manual ack of subscriber `h` needs the envelope\nhelp: take `ev: Event<Made>`",
                "manual",
            )],
        ),
        inherent(
            "#[subscriber(topic = T)] async fn h(&self, a: Streaming<Made>) -> Result<()> {}",
            &[(
                Id::D39,
                "subscriber `h` receives one event at a time; `Streaming<Made>` is not allowed",
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
