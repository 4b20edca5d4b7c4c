//! One rule, and how many decide together.

use serde::Deserialize;
use serde::Serialize;

use crate::auth::ERROR_ID;
use crate::auth::Principal;
use crate::auth::Resource;
use crate::core::error::Error;
use crate::core::error::Result;

/// Rules of one backend; more are a 429.
pub const RULES_MAX: usize = 10_000;

/// Bytes of a rule's id and of its scope; more is a 400.
const NAME_BYTES_MAX: usize = 256;

/// Whether a rule lets through or keeps out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "a rule grants or denies")]
pub enum Access {
    /// Lets through.
    Granted,
    /// Keeps out.
    Denied,
}

/// A rule: who, what, whether, and how much it weighs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Unique among the rules.
    pub id: String,
    /// Whom it is about: everybody when empty, every account when `*`, else accounts that have
    /// exactly this scope.
    pub scope: String,
    /// What it is about.
    pub resource: Resource,
    /// Whether it lets through.
    pub access: Access,
    /// A rule of a higher priority decides before one of a lower.
    #[serde(default)]
    pub priority: i32,
}

impl Rule {
    /// Makes a rule of priority 0 that lets through.
    pub fn grant(id: impl Into<String>, scope: impl Into<String>, resource: Resource) -> Self {
        let (id, scope, access) = (id.into(), scope.into(), Access::Granted);
        Self { id, scope, resource, access, priority: 0 }
    }

    /// Makes a rule of priority 0 that keeps out.
    pub fn deny(id: impl Into<String>, scope: impl Into<String>, resource: Resource) -> Self {
        Self { access: Access::Denied, ..Self::grant(id, scope, resource) }
    }

    /// Replaces the priority.
    #[must_use]
    pub fn with_priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Checks that this can be a rule.
    ///
    /// # Errors
    /// 400 for an id or a scope that is too long or holds a control character, an empty id, and
    /// what [`Resource::check`] refuses.
    pub fn check(&self) -> Result<()> {
        let fits = |text: &str| text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control);
        if self.id.is_empty() || !fits(&self.id) || !fits(&self.scope) {
            let detail = "the id of a rule is empty, or its id or scope is too long or not plain";
            return Err(Error::bad_request(ERROR_ID, detail));
        }
        self.resource.check()
    }

    fn applies(&self, principal: Principal<'_>, resource: &Resource) -> bool {
        self.resource.covers(resource) && principal.has(&self.scope)
    }
}

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever asks handles every answer")]
pub enum Decision {
    /// A rule lets it through.
    Granted,
    /// A rule keeps it out.
    Denied,
    /// There are rules, and none is about this: to be refused.
    Unmatched,
    /// There is no rule at all: the defaults hold.
    NoRules,
}

/// Decides by rules in any order: the highest priority decides, and among equals a rule that denies.
pub fn decide<'a>(
    rules: impl IntoIterator<Item = &'a Rule>,
    principal: Principal<'_>,
    resource: &Resource,
) -> Decision {
    let mut there_are = false;
    let mut best: Option<(i32, Access)> = None;
    for rule in rules {
        there_are = true;
        if !rule.applies(principal, resource) {
            continue;
        }
        best = Some(match best {
            Some((priority, access)) if priority > rule.priority => (priority, access),
            Some((priority, Access::Denied)) if priority == rule.priority => {
                (priority, Access::Denied)
            }
            _ => (rule.priority, rule.access),
        });
    }
    match best {
        Some((_, Access::Granted)) => Decision::Granted,
        Some((_, Access::Denied)) => Decision::Denied,
        None if there_are => Decision::Unmatched,
        None => Decision::NoRules,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::account::Account;

    fn everything(id: &str, access: Access, priority: i32) -> Rule {
        Rule { access, priority, ..Rule::grant(id, "", Resource::any()) }
    }

    fn decided(rules: &[Rule]) -> Decision {
        decide(rules, Principal::Anonymous, &Resource::service("a", "A.B"))
    }

    #[test]
    fn a11_deny_wins_among_equals_in_whatever_order() {
        use Access::{Denied, Granted};
        let (grant, deny) = (everything("g", Granted, 1), everything("d", Denied, 1));
        assert_eq!(decided(&[grant.clone(), deny.clone()]), Decision::Denied);
        assert_eq!(decided(&[deny.clone(), grant.clone()]), Decision::Denied);
        let higher = everything("h", Granted, 2);
        for rules in [[&higher, &deny, &grant], [&grant, &deny, &higher], [&deny, &higher, &grant]]
        {
            assert_eq!(decided(&rules.map(Rule::clone)), Decision::Granted);
        }
        let lower = everything("l", Granted, i32::MIN);
        assert_eq!(decided(&[lower]), Decision::Granted);
    }

    #[test]
    fn what_no_rule_is_about_is_told_from_no_rules() {
        assert_eq!(decided(&[]), Decision::NoRules);
        let other = Rule::grant("o", "", Resource::service("b", "*"));
        assert_eq!(decided(&[other]), Decision::Unmatched);
        let scoped = Rule::grant("s", "*", Resource::any());
        assert_eq!(decided(std::slice::from_ref(&scoped)), Decision::Unmatched);
        let account = Account::service("a", []);
        let known = decide([&scoped], Principal::Account(&account), &Resource::any());
        assert_eq!(known, Decision::Granted);
    }

    #[test]
    fn a_rule_reads_and_writes_plainly() {
        let rule = Rule::deny("no", "staff", Resource::route("/admin/*")).with_priority(-3);
        let json = serde_json::to_string(&rule).unwrap();
        assert_eq!(
            json,
            r#"{"id":"no","scope":"staff","resource":{"type":"route","name":"*","endpoint":"/admin/*"},"access":"denied","priority":-3}"#
        );
        assert_eq!(serde_json::from_str::<Rule>(&json).unwrap(), rule);
        for text in [
            json.replace("\"id\":\"no\"", "\"id\":\"no\",\"id\":\"yes\""),
            json.replace("\"denied\"", "\"granted\",\"access\":\"denied\""),
            json.replace("priority", "prority"),
        ] {
            assert!(serde_json::from_str::<Rule>(&text).is_err(), "{text}");
        }
    }
}
