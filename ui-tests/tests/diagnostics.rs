//! What the messages of failing cases must be, beyond being what they are: as many as there are
//! mistakes, on the marked lines, naming the item, and free of our private names.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "every function here is a test's"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Mistakes that the compiler finds in the expansion, in the words of the runtime's traits.
const COMPILED: &[&str] =
    &["d19", "d38", "d43", "d44", "d45", "d46", "d47", "d48", "d49", "d50", "d51", "d52", "d59"];

/// Every failing case: how many errors it has, and what all or each of them must name.
const CASES: &[(&str, usize, &[&str])] = &[
    ("contract/d04_nothing_exported", 1, &["Orders"]),
    ("contract/d05_handler_in_a_plain_trait", 1, &["#[handler]"]),
    ("contract/d12_shared_self", 1, &["count"]),
    ("contract/d20_takes_context", 1, &["count"]),
    ("contract/d24_self_error", 1, &["twin"]),
    ("contract/d26_unsafe_trait", 1, &["Orders"]),
    ("contract/d40_subscriber", 1, &["Topic<T>"]),
    ("contract/d41_neither_handler_nor_body", 1, &["lost"]),
    ("contract/d42_associated_type", 1, &["Orders"]),
    ("contract/d42_generic", 1, &["Orders"]),
    ("contract/d48_error_without_transport", 1, &["Fault"]),
    ("contract/d58_demands_more", 1, &["Health"]),
    ("contract/many_in_a_contract", 6, &["third", "first", "first", "second", "fourth", "fourth"]),
    ("handler/d05_outside_of_a_service", 1, &["#[handler]"]),
    ("handler/d05_our_word_by_hand", 1, &["#[handler]"]),
    ("handler/d06_on_a_constant", 1, &["LIMIT"]),
    ("handler/d06_on_a_macro_call", 1, &["made"]),
    ("handler/d07_inside_cfg_attr", 1, &["hello"]),
    ("handler/d08_both_attributes", 1, &["hello"]),
    ("handler/d09_twice", 1, &["hello"]),
    ("handler/d10_not_async", 1, &["hello"]),
    ("handler/d10_returns_a_future", 1, &["hello"]),
    ("handler/d11_exclusive_self", 1, &["hello"]),
    ("handler/d12_boxed_self", 1, &["hello"]),
    ("handler/d12_no_receiver", 1, &["hello"]),
    ("handler/d12_self_by_value", 1, &["hello"]),
    ("handler/d13_no_return_type", 1, &["hello"]),
    ("handler/d14_plain_reply", 1, &["hello"]),
    ("handler/d15_borrowed_reply", 1, &["&[u8]"]),
    ("handler/d15_borrowed_request", 1, &["&str"]),
    ("handler/d16_two_messages", 1, &["create_order"]),
    ("handler/d17_context_last", 1, &["hello"]),
    ("handler/d18_two_contexts", 1, &["hello"]),
    ("handler/d19_foreign_context", 1, &["mine::Context"]),
    ("handler/d21_generic", 1, &["hello"]),
    ("handler/d22_opaque_reply", 1, &["impl "]),
    ("handler/d22_opaque_request", 1, &["impl "]),
    ("handler/d23_lifetime", 1, &["hello"]),
    ("handler/d24_self_type", 1, &["hello"]),
    ("handler/d25_pattern", 1, &["hello"]),
    ("handler/d25_binding", 1, &["hello"]),
    ("handler/d25_wildcard", 1, &["hello"]),
    ("handler/d26_const", 2, &["hello", "`const`"]),
    ("handler/d26_extern", 1, &["hello"]),
    ("handler/d26_unsafe", 1, &["hello"]),
    ("handler/d26_variadic", 4, &["hello", "C-variadic", "C variable", "C-variadic"]),
    ("handler/d27_no_key", 1, &["\"Create\""]),
    ("handler/d27_no_sign", 1, &["name \"Create\""]),
    ("handler/d27_unknown_key", 1, &["retry"]),
    ("handler/d28_key_twice", 1, &["`timeout`"]),
    ("handler/d28_metadata_twice", 1, &["`team`"]),
    ("handler/d29_flag_with_value", 1, &["`idempotent`"]),
    ("handler/d29_metadata_not_a_string", 1, &["`metadata`"]),
    ("handler/d29_metadata_not_pairs", 1, &["`metadata`"]),
    ("handler/d29_scope_not_a_list", 1, &["`scope`"]),
    ("handler/d29_timeout_alone", 1, &["`timeout`"]),
    ("handler/d29_timeout_as_a_list", 1, &["`timeout`"]),
    ("handler/d29_timeout_unknown_unit", 1, &["`timeout`"]),
    ("handler/d29_timeout_without_unit", 1, &["`timeout`"]),
    ("handler/d30_name_with_space", 1, &["a b"]),
    ("handler/d31_one_name_twice", 2, &["Greeter.GetUser"]),
    ("handler/d32_public_with_scope", 1, &["`scope`"]),
    ("handler/d56_exclusive_context", 1, &["hello"]),
    (
        "handler/many_in_a_handler",
        10,
        &[
            "colour",
            "`timeout`",
            "hello",
            "hello",
            "hello",
            "hello",
            "hello",
            "hello",
            "&str",
            "hello",
        ],
    ),
    ("message/d14_alias_of_no_result", 1, &["Result"]),
    ("message/d43_event_not_deserializable", 1, &["Made"]),
    ("message/d43_request_not_deserializable", 1, &["Hello"]),
    ("message/d43_streamed_request", 1, &["Row"]),
    ("message/d44_reply_not_serializable", 1, &["Reply"]),
    ("message/d44_streamed_reply", 1, &["Row"]),
    ("message/d45_future_not_send", 1, &["Rc<i32>"]),
    ("message/d47_error_not_convertible", 1, &["Fault"]),
    ("message/d47_subscriber_error", 1, &["Fault"]),
    ("service/d01_args_on_struct", 1, &["G"]),
    ("service/d02_on_a_foreign_block", 1, &["#[service]"]),
    ("service/d02_on_enum", 1, &["Choice"]),
    ("service/d02_on_function", 1, &["run"]),
    ("service/d02_on_module", 1, &["inner"]),
    ("service/d02_unnamed_type", 2, &["(u8, u8)", "primitive types"]),
    ("service/d03_contract_impl", 1, &["OrdersServer"]),
    ("service/d04_nothing_exported", 1, &["Greeter"]),
    ("service/d09_wire_twice", 1, &["smtp"]),
    ("service/d27_unknown_key", 1, &["versoin"]),
    ("service/d27_wire_unknown_key", 1, &["defualt"]),
    ("service/d28_crate_twice", 1, &["`crate`"]),
    ("service/d28_key_twice", 1, &["`name`"]),
    ("service/d29_client_not_a_name", 1, &["`client`"]),
    ("service/d29_crate_not_a_path", 1, &["`crate`"]),
    ("service/d29_name_not_a_string", 1, &["`name`"]),
    ("service/d30_name_empty", 1, &["\"\""]),
    ("service/d30_name_with_space", 1, &["a b"]),
    ("service/d32_public_with_scope", 1, &["`scope`"]),
    ("service/d32_wire_both", 1, &["`config`"]),
    ("service/d33_version_short", 1, &["`version`"]),
    ("service/d33_version_words", 1, &["version"]),
    ("service/d46_service_not_sync", 1, &["Counter"]),
    ("service/d49_mount_of_no_service", 1, &["Plain"]),
    ("service/d50_two_blocks", 1, &["Greeter"]),
    ("service/d50_two_clients", 2, &["GreeterClient", "Greeter"]),
    ("service/d51_client_exists", 1, &["GreeterClient"]),
    ("service/d52_skew", 1, &["micro-macros"]),
    ("service/d55_reserved_metadata", 1, &["scopes"]),
    ("service/d59_field_not_wirable", 1, &["Pool"]),
    (
        "service/many_in_a_service",
        16,
        &[
            "versoin",
            "`timeout`",
            "hello",
            "hello",
            "&str",
            "hello",
            "retry",
            "a b",
            "get",
            "get",
            "get",
            "both",
            "both",
            "on_made",
            "on_made",
            "LIMIT",
        ],
    ),
    ("subscriber/d05_method_of_no_service", 1, &["#[subscriber]"]),
    ("subscriber/d05_on_a_block", 1, &["#[subscriber]"]),
    ("subscriber/d06_on_a_struct", 1, &["Mailer"]),
    ("subscriber/d07_inside_cfg_attr", 1, &["on_made"]),
    ("subscriber/d16_two_events", 1, &["on_made"]),
    ("subscriber/d27_unknown_key", 1, &["group"]),
    ("subscriber/d29_ack_unknown", 1, &["ack"]),
    ("subscriber/d29_concurrency_zero", 1, &["concurrency"]),
    ("subscriber/d29_overflow_unknown", 1, &["`drop_oldest`"]),
    ("subscriber/d31_handler_of_that_name", 2, &["Mailer.OnMade"]),
    ("subscriber/d34_free_without_topic", 1, &["audit"]),
    ("subscriber/d34_without_topic", 1, &["on_made"]),
    ("subscriber/d35_without_event", 1, &["on_made"]),
    ("subscriber/d36_returns_a_value", 1, &["on_made"]),
    ("subscriber/d37_manual_ack_without_envelope", 1, &["on_made"]),
    ("subscriber/d38_topic_of_another_type", 1, &["Topic<u8>"]),
    ("subscriber/d39_streamed_event", 1, &["on_made"]),
    ("subscriber/d53_pattern_with_typed_event", 1, &["audit.*"]),
    ("subscriber/d54_topic_with_space", 1, &["a b"]),
];

/// One failing case, read from its files.
struct Case {
    name: String,
    source: String,
    stderr: String,
}

/// One error: its whole text and the line its primary span starts on.
struct Report {
    text: String,
    line: usize,
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The names of the files with that extension in `<macro>/<kind>/`, as `<macro>/<stem>`.
fn files(kind: &str, extension: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for group in fs::read_dir(here()).unwrap() {
        let group = group.unwrap().path();
        let Ok(entries) = fs::read_dir(group.join(kind)) else { continue };
        for file in entries {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|found| found == extension) {
                let group = group.file_name().unwrap().to_str().unwrap();
                names.insert(format!("{group}/{}", file.file_stem().unwrap().to_str().unwrap()));
            }
        }
    }
    names
}

fn cases() -> Vec<Case> {
    let read = |name: &str, extension: &str| {
        let (group, stem) = name.split_once('/').unwrap();
        let path = here().join(group).join("fail").join(format!("{stem}.{extension}"));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let case = |(name, ..): &(&str, usize, &[&str])| Case {
        name: (*name).to_owned(),
        source: read(name, "rs"),
        stderr: read(name, "stderr"),
    };
    CASES.iter().map(case).collect()
}

fn reports(case: &Case) -> Vec<Report> {
    let mut reports: Vec<Report> = Vec::new();
    for line in case.stderr.lines() {
        let starts = line.starts_with("error");
        if starts {
            reports.push(Report { text: String::new(), line: 0 });
        } else if line.starts_with("warning") {
            break;
        }
        let Some(report) = reports.last_mut() else { continue };
        report.text.push_str(line);
        report.text.push('\n');
        if let (0, Some(place)) = (report.line, line.trim().strip_prefix("--> ")) {
            report.line = place.split(':').nth(1).unwrap().parse().unwrap();
        }
    }
    reports
}

/// What an error says: its header, up to the place, and its `help:` and `note:` lines. The source
/// that it quotes would contain the item whatever the text said.
fn words(report: &str) -> String {
    let mut header = true;
    let mut words = String::new();
    for line in report.lines() {
        header &= !line.trim_start().starts_with("--> ");
        let line = line.trim_start();
        let line = line.strip_prefix("= ").unwrap_or(line);
        let explains = line.starts_with("help:") || line.starts_with("note:");
        if header || (explains && !line.contains("this error originates in")) {
            words.push_str(line);
            words.push('\n');
        }
    }
    words
}

/// The id a case is filed under, such as `d14`; cases with many mistakes have none.
fn id(name: &str) -> Option<&str> {
    let stem = name.split_once('/').unwrap().1;
    let id = stem.split('_').next().unwrap();
    (id != "many").then_some(id)
}

/// The ids of the checks, as the macros declare them.
fn checked() -> BTreeSet<String> {
    let path = here().join("../../micro-macros/src/errors.rs");
    let source = fs::read_to_string(path).unwrap();
    let list = source.split("\nids! {").nth(1).unwrap().split('}').next().unwrap();
    list.split_whitespace().map(str::to_lowercase).collect()
}

#[test]
fn every_case_is_declared() {
    let declared: BTreeSet<String> = CASES.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(declared, files("fail", "rs"));
    assert_eq!(declared, files("fail", "stderr"));
}

#[test]
fn every_check_has_a_case_and_every_case_a_check() {
    let mut known = checked();
    known.extend(COMPILED.iter().map(|id| (*id).to_owned()));
    // Rustc reads an item before the macros do: what they cannot read never reaches them.
    known.remove("d57");
    let filed = CASES.iter().filter_map(|(name, ..)| id(name)).map(str::to_owned);
    assert_eq!(filed.collect::<BTreeSet<_>>(), known);
}

#[test]
fn there_are_as_many_errors_as_mistakes() {
    for (case, (_, errors, _)) in cases().iter().zip(CASES) {
        assert_eq!(reports(case).len(), *errors, "{}", case.name);
    }
}

#[test]
fn errors_stand_on_the_marked_lines() {
    for case in cases() {
        let marked = |line: usize| case.source.lines().nth(line - 1).unwrap().ends_with("//~");
        for report in reports(&case) {
            assert!(marked(report.line), "{}: line {}\n{}", case.name, report.line, report.text);
        }
        let reported: BTreeSet<usize> = reports(&case).iter().map(|report| report.line).collect();
        let marks = (1..=case.source.lines().count()).filter(|line| marked(*line));
        assert_eq!(reported, marks.collect(), "{}", case.name);
    }
}

#[test]
fn errors_name_the_item() {
    let mut faults = Vec::new();
    for (case, (_, _, items)) in cases().iter().zip(CASES) {
        let reports = reports(case);
        // One item for all, or one for each.
        assert!(items.len() == 1 || items.len() == reports.len(), "{}", case.name);
        for (report, item) in reports.iter().zip(items.iter().cycle()) {
            let words = words(&report.text);
            if item.is_empty() || !words.contains(item) {
                faults.push(format!("{}: `{item}`\n{words}", case.name));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn errors_show_nothing_private() {
    // These cases name private things themselves.
    let others =
        |case: &Case| !["service/d52_skew", "handler/d05_our_word_by_hand"].contains(&&*case.name);
    for case in cases().into_iter().filter(others) {
        for private in ["__private", "Wire<", "&&&", "__m::", "__Micro", "__micro"] {
            assert!(!case.stderr.contains(private), "{}: `{private}`", case.name);
        }
    }
}

#[test]
fn there_are_enough_of_them() {
    assert!(CASES.len() >= 60);
    assert!(CASES.iter().filter(|(name, ..)| id(name).is_none()).count() >= 3);
    assert!(files("pass", "rs").len() >= 25);
    assert!(snapshots().len() >= 30);
}

/// Every rule of the grammar, and the snapshot that shows what it expands to.
const RULES: &[(&str, &str)] = &[
    ("service", "service_default"),
    ("service(name)", "service_name"),
    ("service(version)", "service_version"),
    ("service(scope)", "service_scope"),
    ("service(public)", "service_public"),
    ("service(timeout)", "service_timeout"),
    ("service(metadata)", "service_metadata"),
    ("service(client)", "service_client_named"),
    ("service(client = none)", "service_client_none"),
    ("service(crate)", "service_crate"),
    ("service on impl<..>", "impl_generics"),
    ("service on trait", "contract"),
    ("service on trait, default bodies", "contract_default_bodies"),
    ("service on trait, cfg", "contract_cfg"),
    ("service on struct", "struct_fields"),
    ("service on struct(..)", "struct_tuple"),
    ("service on struct;", "struct_unit"),
    ("wire(config)", "struct_fields"),
    ("wire(default)", "struct_fields"),
    ("handler(name)", "handler_name"),
    ("handler(scope)", "handler_scope"),
    ("handler(scope = [..])", "handler_scopes"),
    ("handler(public)", "handler_public"),
    ("handler(timeout)", "handler_timeout"),
    ("handler(idempotent)", "handler_idempotent"),
    ("handler(detached)", "handler_detached"),
    ("handler(metadata)", "handler_metadata"),
    ("handler replaces service", "handler_replaces_service_defaults"),
    ("ctx: &Context", "signature_context_by_reference"),
    ("ctx: Context", "signature_context_by_value"),
    ("self: Arc<Self>", "signature_shared_receiver"),
    ("T -> Result<U>", "signature_unary"),
    ("T -> Result<Streaming<U>>", "signature_server_stream"),
    ("Streaming<T> -> Result<U>", "signature_client_stream"),
    ("Streaming<T> -> Result<Streaming<U>>", "signature_bidi"),
    ("-> Result<U, E>", "signature_error_type"),
    ("-> AliasResult", "signature_result_alias"),
    ("/// and @example", "method_docs"),
    ("cfg", "method_cfg"),
    ("deprecated", "method_deprecated"),
    ("cfg_attr(.., deprecated)", "method_deprecated_sometimes"),
    ("r#ident", "method_raw_identifier"),
    ("vis", "method_visibility"),
    ("subscriber(topic = \"..\")", "subscriber_topic_name"),
    ("subscriber(topic)", "subscriber_topic_constant"),
    ("subscriber(queue)", "subscriber_queue"),
    ("subscriber(concurrency)", "subscriber_concurrency"),
    ("subscriber(overflow)", "subscriber_overflow"),
    ("subscriber(ack)", "subscriber_ack_manual"),
    ("subscriber(ack = auto)", "subscriber_ack_auto"),
    ("Event<Raw>", "subscriber_raw"),
    ("subscriber, ctx, E", "subscriber_context"),
    ("subscriber on fn", "free_subscriber"),
    ("subscriber(crate) on fn", "free_subscriber_crate"),
    ("a mistake in a service", "fallback_service"),
    ("a mistake in a contract", "fallback_contract"),
    ("a mistake in a contract's head", "fallback_generic_contract"),
    ("service on impl Trait for", "fallback_contract_impl"),
    ("a mistake in a free subscriber", "fallback_subscriber"),
];

fn snapshots() -> BTreeSet<String> {
    let files = fs::read_dir(here().join("expansion")).unwrap();
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files.map(|file| stem(file.unwrap().path())).collect()
}

#[test]
fn every_rule_has_its_snapshot_and_every_snapshot_its_rule() {
    let pinned: BTreeSet<String> = RULES.iter().map(|(_, file)| (*file).to_owned()).collect();
    assert_eq!(pinned, snapshots());
    let rules: BTreeSet<&str> = RULES.iter().map(|(rule, _)| *rule).collect();
    assert_eq!(rules.len(), RULES.len(), "a rule is listed twice");
}

/// The arguments are those that the macros declare.
#[test]
fn every_argument_is_a_rule() {
    let source = fs::read_to_string(here().join("../../micro-macros/src/args/mod.rs")).unwrap();
    let mut found = 0;
    for (list, attribute) in [
        ("SERVICE", "service"),
        ("HANDLER", "handler"),
        ("SUBSCRIBER", "subscriber"),
        ("WIRE", "wire"),
    ] {
        let start = format!("\nconst {list}: &[&str] =");
        let keys = source.split(&start).nth(1).unwrap().split(';').next().unwrap();
        for key in keys.split('"').skip(1).step_by(2) {
            let rule = format!("{attribute}({key})");
            assert!(RULES.iter().any(|(known, _)| *known == rule), "no snapshot pins `{rule}`");
            found += 1;
        }
    }
    assert!(found >= 20, "{found} arguments");
}
