//! Keys and values of arguments.

use super::Case;
use super::handler_args;
use super::service_args;
use super::subscriber_args;
use crate::errors::Id;

/// Every case of this file.
pub(super) fn cases() -> Vec<Case> {
    [keys(), handler_values(), scopes(), values()].into_iter().flatten().collect()
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
                 `overflow`, `ack`",
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

fn handler_values() -> Vec<Case> {
    let duration = "`timeout` takes a duration string such as \"500ms\", \"2s\", \"1m\"";
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
    ]
}

fn scopes() -> Vec<Case> {
    let scope = "`scope` takes a string or a list such as [\"orders:read\", \"orders:write\"]";
    vec![
        handler_args("scope = [a]", &[(Id::D29, scope, "[a]")]),
        handler_args("scope = \"a,b\"", &[(Id::D29, scope, "\"a,b\"")]),
        handler_args("scope = \"a b\"", &[(Id::D29, scope, "\"a b\"")]),
        handler_args("scope = \"\"", &[(Id::D29, scope, "\"\"")]),
        handler_args("scope = [\"a\", \"\"]", &[(Id::D29, scope, "[\"a\", \"\"]")]),
    ]
}

fn values() -> Vec<Case> {
    let metadata = "`metadata` takes pairs such as `metadata(team = \"core\")`";
    vec![
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
            "topic = \"t\", overflow = drop",
            &[(Id::D29, "`overflow` takes `block`, `disconnect` or `drop_oldest`", "drop")],
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
                "`\"a b\"` is not a valid topic: words of letters, digits, `_`, `-` with dots between",
                "\"a b\"",
            )],
        ),
    ]
}
