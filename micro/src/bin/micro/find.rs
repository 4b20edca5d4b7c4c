//! Finds services and endpoints by name, and says what there is where there is none.

use micro::broker::INBOX_SERVICE;
use micro::core::descriptor::CallKind;
use micro::core::error::Error;
use micro::core::nearest::nearest;
use micro::registry::{Endpoint, Record, Registry};

use crate::failure::{Failure, Outcome};

/// Names that an answer lists.
const NAMES_MAX: usize = 20;

/// What every service answers although the registry does not list it.
const INSIDE: &str = "Debug.";

/// The one endpoint of those that streams.
const LOG: &str = "Debug.Log";

/// Looks a service up.
pub(crate) async fn service(registry: &dyn Registry, name: &str) -> Outcome<Vec<Record>> {
    let found = registry.lookup(name).await?.unwrap_or_default();
    if found.iter().any(|record| !record.nodes.is_empty()) {
        return Ok(found);
    }
    let mut names = registry.list().await?;
    names.retain(|other| other != name && other != INBOX_SERVICE);
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    Err(Failure::Failed(unknown("service", name, &names, registry.name())))
}

/// Looks up every service but inboxes, or the one that is named.
pub(crate) async fn services(registry: &dyn Registry, name: Option<&str>) -> Outcome<Vec<Record>> {
    if let Some(name) = name {
        return service(registry, name).await;
    }
    let mut records = Vec::new();
    for name in registry.list().await?.into_iter().filter(|name| name != INBOX_SERVICE) {
        // One that has gone since is no service any more.
        records.extend(registry.lookup(&name).await?.unwrap_or_default());
    }
    Ok(records)
}

/// Returns how many messages an endpoint takes and gives.
pub(crate) fn kind(records: &[Record], service: &str, name: &str) -> Outcome<CallKind> {
    let endpoints = || records.iter().flat_map(|record| &record.endpoints);
    if let Some(endpoint) =
        endpoints().find(|endpoint| endpoint.name == name && is_called(endpoint))
    {
        return Ok(kind_of(endpoint));
    }
    if name == LOG {
        return Ok(CallKind::ServerStream);
    }
    if name.starts_with(INSIDE) {
        return Ok(CallKind::Unary);
    }
    let names: Vec<_> =
        endpoints().filter(|e| is_called(e)).map(|endpoint| endpoint.name.as_str()).collect();
    let what = format!("endpoint of `{service}`");
    Err(Failure::Failed(unknown(&what, name, &names, service)))
}

/// Returns the kind that an endpoint is registered with; go-micro's streams go both ways.
pub(crate) fn kind_of(endpoint: &Endpoint) -> CallKind {
    let fact = |key: &str| endpoint.metadata.get(key).map(String::as_str);
    match (fact("kind").and_then(CallKind::parse), fact("stream")) {
        (Some(kind), _) => kind,
        (None, Some("true")) => CallKind::Bidi,
        _ => CallKind::Unary,
    }
}

/// Returns whether an endpoint is called, and does not listen to a topic.
pub(crate) fn is_called(endpoint: &Endpoint) -> bool {
    !endpoint.metadata.contains_key("subscriber")
}

/// Makes the error of a name that nothing has.
pub(crate) fn unknown(what: &str, name: &str, names: &[&str], place: &str) -> Error {
    let hint = nearest(name, names.iter().copied())
        .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
    let there = match names {
        [] => format!("there is none in `{place}`"),
        _ => {
            let listed: Vec<_> = names.iter().take(NAMES_MAX).copied().collect();
            let more = names.len().saturating_sub(listed.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("there are {}{more}", listed.join(", "))
        }
    };
    Error::not_found("micro.cli", format!("no {what} `{name}`{hint} ({there})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_is_answered_by_what_there_is() {
        let text = unknown("service", "greter", &["greeter", "shop"], "local").detail().to_owned();
        assert_eq!(text, "no service `greter`; did you mean `greeter`? (there are greeter, shop)");
        let text = unknown("service", "a", &[], "local").detail().to_owned();
        assert_eq!(text, "no service `a` (there is none in `local`)");
        let many: Vec<_> = (0..30).map(|n| format!("service-{n}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(unknown("service", "a", &many, "local").detail().ends_with("and 10 more)"));
    }

    #[test]
    fn kinds_are_told_by_the_registry() {
        let endpoint = |facts: &[(&str, &str)]| Endpoint {
            metadata: facts.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Endpoint::default()
        };
        assert_eq!(kind_of(&endpoint(&[])), CallKind::Unary);
        assert_eq!(kind_of(&endpoint(&[("stream", "true")])), CallKind::Bidi);
        let facts = [("stream", "true"), ("kind", "client-stream")];
        assert_eq!(kind_of(&endpoint(&facts)), CallKind::ClientStream);
    }
}
