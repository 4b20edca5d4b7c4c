//! Case conversion, wire names and generated identifiers.

use proc_macro2::Ident;
use proc_macro2::Span;
use syn::ext::IdentExt;

/// The characters a wire name may have, in the words of the message that rejects others.
pub(crate) const NAME_RULE: &str = "letters, digits, `_`, `-`, `.`";

/// Metadata keys that the runtime fills itself.
pub(crate) const RESERVED_METADATA: &[&str] =
    &["description", "example", "scopes", "stream", "subscriber", "topic"];

/// The identifier without `r#`.
pub(crate) fn plain(ident: &Ident) -> String {
    ident.unraw().to_string()
}

/// `get_user` and `getUser` both become `GetUser`.
pub(crate) fn pascal_case(ident: &str) -> String {
    let mut out = String::with_capacity(ident.len());
    let mut start = true;
    for letter in ident.chars() {
        if letter == '_' {
            start = true;
        } else if start {
            out.extend(letter.to_uppercase());
            start = false;
        } else {
            out.push(letter);
        }
    }
    out
}

/// `OrderBook` becomes `order-book`, `HTTPProxy` becomes `http-proxy`.
pub(crate) fn kebab_case(ident: &str) -> String {
    let letters: Vec<char> = ident.chars().collect();
    let mut out = String::with_capacity(ident.len().saturating_add(4));
    for (index, letter) in letters.iter().enumerate() {
        if *letter == '_' {
            if !out.is_empty() && !out.ends_with('-') {
                out.push('-');
            }
            continue;
        }
        let before = index.checked_sub(1).and_then(|at| letters.get(at));
        let after = index.checked_add(1).and_then(|at| letters.get(at));
        let boundary = letter.is_uppercase()
            && before.is_some_and(|before| {
                !before.is_uppercase() || after.is_some_and(|after| after.is_lowercase())
            });
        if boundary && !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

/// Tells whether a service, endpoint or queue may be called so on the wire.
pub(crate) fn is_wire_name(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-.".contains(letter))
}

/// The known key that was probably meant: a synonym, or the nearest by edit distance.
pub(crate) fn suggestion<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let synonym = match unknown {
        "retry" | "retries" | "retriable" | "retryable" => "idempotent",
        "auth" | "permission" | "permissions" | "role" | "roles" => "scope",
        "deadline" => "timeout",
        "group" => "queue",
        "no_cancel" | "spawn" => "detached",
        "path" | "rename" | "endpoint" => "name",
        _ => "",
    };
    if let Some(found) = known.iter().find(|key| **key == synonym) {
        return Some(found);
    }
    let limit = unknown.len().max(3) / 3;
    known
        .iter()
        .map(|key| (distance(unknown, key), *key))
        .filter(|(cost, _)| *cost <= limit)
        .min()
        .map(|(_, key)| key)
}

/// Levenshtein distance, one row at a time.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (line, left) in from.chars().enumerate() {
        let mut diagonal = line;
        let mut before = line.saturating_add(1);
        if let Some(first) = row.first_mut() {
            *first = before;
        }
        for (cell, right) in row.iter_mut().skip(1).zip(to.chars()) {
            let substitute = diagonal.saturating_add(usize::from(left != right));
            diagonal = *cell;
            before = substitute.min(before.saturating_add(1)).min(cell.saturating_add(1));
            *cell = before;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// `GreeterClient`, placed on the service's identifier so that a collision points there.
pub(crate) fn client(service: &Ident) -> Ident {
    suffixed(service, "Client")
}

/// `OrdersServer`, placed on the contract's identifier.
pub(crate) fn server(service: &Ident) -> Ident {
    suffixed(service, "Server")
}

fn suffixed(service: &Ident, suffix: &str) -> Ident {
    Ident::new(&format!("{}{suffix}", plain(service)), service.span())
}

/// A location with the hygiene of generated code: locals never meet the user's names, and
/// lints know that the code was generated.
pub(crate) fn located(span: Span) -> Span {
    span.resolved_at(Span::mixed_site())
}

#[cfg(test)]
mod tests {
    use super::distance;
    use super::kebab_case;
    use super::pascal_case;
    use super::suggestion;

    #[test]
    fn methods_become_pascal_case() {
        for (from, to) in [
            ("hello", "Hello"),
            ("get_user", "GetUser"),
            ("getUser", "GetUser"),
            ("v2_get", "V2Get"),
            ("_hidden", "Hidden"),
            ("__", ""),
        ] {
            assert_eq!(pascal_case(from), to);
        }
    }

    #[test]
    fn types_become_kebab_case() {
        for (from, to) in [
            ("Greeter", "greeter"),
            ("OrderBook", "order-book"),
            ("HTTPProxy", "http-proxy"),
            ("Order_Book", "order-book"),
            ("S3Store", "s3-store"),
        ] {
            assert_eq!(kebab_case(from), to);
        }
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("timout", "timeout"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("scope", "scope"), 0);
    }

    #[test]
    fn suggestions_know_synonyms_and_typos() {
        let known = ["name", "scope", "timeout", "idempotent"];
        assert_eq!(suggestion("retry", &known), Some("idempotent"));
        assert_eq!(suggestion("timout", &known), Some("timeout"));
        assert_eq!(suggestion("colour", &known), None);
    }
}
