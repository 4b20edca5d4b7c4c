//! Every mistake: its id, its words, and the exact source text it is shown on.
//!
//! A check that is removed takes its rows' expectations with it, so each check is pinned here.

mod args;
mod items;
mod signatures;
mod subscribers;

use crate::check;
use crate::errors::Diagnostic;
use crate::errors::Id;
use proc_macro2::TokenStream;

/// One mistake as expected: id, message, source text ("" stands for the attribute itself).
type Expected = (Id, &'static str, &'static str);

#[derive(Clone)]
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
    [args::cases(), items::cases(), signatures::cases(), subscribers::cases()].concat()
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
