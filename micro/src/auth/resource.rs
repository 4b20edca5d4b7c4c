//! What is asked for.

use serde::Deserialize;
use serde::Serialize;

use crate::auth::ERROR_ID;
use crate::auth::pattern;
use crate::core::error::Error;
use crate::core::error::Result;

/// Bytes of each part of a resource; a rule with more is a 400.
pub const RESOURCE_BYTES_MAX: usize = 512;

/// Something that can be called, or in a rule what is like it.
///
/// In a rule each part may be `*`. The endpoint may also end in `.*` or `/*`: everything below at
/// any depth, and not what stands before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// `service` for an endpoint, `route` for a path of the user's own HTTP router.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name of the service; `*` for a route.
    pub name: String,
    /// The wire name of the endpoint, such as `Orders.Read`, or the path, such as `/admin/users`.
    pub endpoint: String,
}

impl Resource {
    /// Names an endpoint of a service.
    pub fn service(name: impl Into<String>, endpoint: impl Into<String>) -> Self {
        Self { kind: "service".to_owned(), name: name.into(), endpoint: endpoint.into() }
    }

    /// Names a path of the user's own HTTP router.
    pub fn route(path: impl Into<String>) -> Self {
        Self { kind: "route".to_owned(), name: "*".to_owned(), endpoint: path.into() }
    }

    /// Names everything there is.
    pub fn any() -> Self {
        let any = || "*".to_owned();
        Self { kind: any(), name: any(), endpoint: any() }
    }

    /// Checks that this can be the resource of a rule.
    ///
    /// # Errors
    /// 400 for an empty part, one that is too long or holds a control character, and for a `*`
    /// that does not stand alone or at the end of the endpoint.
    pub fn check(&self) -> Result<()> {
        for (what, part) in [("type", &self.kind), ("name", &self.name)] {
            let plain = part == "*" || !part.contains('*');
            if !plain || !is_fit(part) {
                return Err(wrong(what, part));
            }
        }
        if !is_fit(&self.endpoint) || !pattern::is_pattern(&self.endpoint) {
            return Err(wrong("endpoint", &self.endpoint));
        }
        Ok(())
    }

    /// Returns whether this, as the resource of a rule, is like `asked`.
    pub fn covers(&self, asked: &Self) -> bool {
        let same = |mine: &str, theirs: &str| mine == "*" || mine == theirs;
        same(&self.kind, &asked.kind)
            && same(&self.name, &asked.name)
            && pattern::covers(&self.endpoint, &asked.endpoint)
    }
}

fn is_fit(part: &str) -> bool {
    !part.is_empty() && part.len() <= RESOURCE_BYTES_MAX && !part.chars().any(char::is_control)
}

fn wrong(what: &str, part: &str) -> Error {
    let part: String = part.chars().take(64).collect();
    let part = part.escape_debug();
    let detail =
        format!("the {what} `{part}` of a rule is empty, too long or a pattern there is not");
    Error::bad_request(ERROR_ID, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_resource_of_a_rule_is_refused() {
        let long = "x".repeat(RESOURCE_BYTES_MAX + 1);
        for (resource, fits) in [
            (Resource::any(), true),
            (Resource::service("orders", "Orders.*"), true),
            (Resource::route("/admin/*"), true),
            (Resource::service("or*", "Orders.Read"), false),
            (Resource::service("orders", ""), false),
            (Resource::service("orders", "Or*"), false),
            (Resource::service("orders", "*.Read"), false),
            (Resource::service("orders", "a\nb"), false),
            (Resource::service("orders", long.as_str()), false),
        ] {
            assert_eq!(resource.check().is_ok(), fits, "{resource:?}");
        }
    }

    #[test]
    fn each_part_has_to_match() {
        let rule = Resource::service("orders", "Orders.*");
        for (asked, covered) in [
            (Resource::service("orders", "Orders.Read"), true),
            (Resource::service("Orders", "Orders.Read"), false),
            (Resource::service("orders", "Ordersx.Read"), false),
            (Resource::route("Orders.Read"), false),
        ] {
            assert_eq!(rule.covers(&asked), covered, "{asked:?}");
            assert!(Resource::any().covers(&asked));
        }
    }
}
