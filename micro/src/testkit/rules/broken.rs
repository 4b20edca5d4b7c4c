//! Rules with one flaw of choice.

use std::sync::Mutex;

use crate::auth::{Access, Decision, Principal, Resource, Rule, Rules, decide};
use crate::core::account::Account;
use crate::core::error::Result;
use crate::core::future::BoxFuture;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// No rules at all are taken for none that match.
    HidesThatThereAreNone,
    /// A rule holds only from the next grant on.
    HoldsLate,
    /// Revoking takes all ids that begin so.
    RevokesByPrefix,
    /// Revoking does nothing.
    KeepsRevoked,
    /// Among equals the first decides.
    FirstWins,
    /// Priorities do not count.
    IgnoresPriority,
    /// Scopes lose their case.
    LowersScopes,
    /// An empty scope is nobody.
    EmptyIsNobody,
    /// An account that is anonymous counts as one.
    AnonymousIsAnAccount,
    /// Names lose their case.
    LowersNames,
    /// The type of a resource does not count.
    IgnoresTypes,
    /// A wildcard covers what merely begins like it.
    WildcardWithoutSegment,
    /// Takes every rule.
    TakesAnything,
    /// A rule of the same id is added beside the other.
    AddsInsteadOfReplacing,
    /// Lists what came first first.
    ListsAsTheyCame,
    /// Forgets priorities when it lists.
    ListsHalf,
}

#[derive(Debug)]
pub(super) struct Broken {
    flaw: Flaw,
    rules: Mutex<Vec<Rule>>,
}

impl Broken {
    pub(super) fn new(flaw: Flaw) -> Self {
        Self { flaw, rules: Mutex::default() }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn bent(&self, mut rule: Rule) -> Rule {
        match self.flaw {
            Flaw::IgnoresPriority => rule.priority = 0,
            Flaw::LowersScopes => rule.scope = rule.scope.to_lowercase(),
            Flaw::EmptyIsNobody if rule.scope.is_empty() => rule.scope = "nobody".to_owned(),
            Flaw::AnonymousIsAnAccount if rule.scope == "*" => rule.scope = String::new(),
            Flaw::LowersNames => rule.resource = lowered(rule.resource),
            Flaw::IgnoresTypes => rule.resource.kind = "*".to_owned(),
            _ => {}
        }
        rule
    }

    fn covers(&self, rule: &Rule, asked: &Resource) -> bool {
        match rule
            .resource
            .endpoint
            .strip_suffix(".*")
            .or(rule.resource.endpoint.strip_suffix("/*"))
        {
            Some(head) if self.is(Flaw::WildcardWithoutSegment) => asked.endpoint.starts_with(head),
            _ => rule.resource.covers(asked),
        }
    }
}

fn lowered(resource: Resource) -> Resource {
    Resource {
        kind: resource.kind,
        name: resource.name.to_lowercase(),
        endpoint: resource.endpoint.to_lowercase(),
    }
}

impl Rules for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn verify(&self, principal: Principal<'_>, resource: &Resource) -> Decision {
        let mut account = Account::default();
        let principal = match principal {
            Principal::Account(known) if self.is(Flaw::LowersScopes) => {
                account.scopes = known.scopes.iter().map(|scope| scope.to_lowercase()).collect();
                Principal::Account(&account)
            }
            principal => principal,
        };
        let resource = match self.flaw {
            Flaw::LowersNames => lowered(resource.clone()),
            _ => resource.clone(),
        };
        let rules = self.rules.lock().unwrap();
        let seen =
            if self.is(Flaw::HoldsLate) { rules.len().saturating_sub(1) } else { rules.len() };
        let rules: Vec<Rule> = rules[..seen].iter().map(|rule| self.bent(rule.clone())).collect();
        if self.is(Flaw::FirstWins) {
            let first = rules
                .iter()
                .filter(|rule| rule.resource.covers(&resource) && principal.has(&rule.scope))
                .reduce(|best, rule| if rule.priority > best.priority { rule } else { best });
            return match first.map(|rule| rule.access) {
                Some(Access::Granted) => Decision::Granted,
                Some(Access::Denied) => Decision::Denied,
                None => decide(&rules, principal, &resource),
            };
        }
        let widened = |rule: &Rule| {
            let covers = self.covers(rule, &resource);
            let resource = if covers { Resource::any() } else { rule.resource.clone() };
            Rule { resource, ..rule.clone() }
        };
        let rules: Vec<Rule> = rules.iter().map(widened).collect();
        match decide(&rules, principal, &resource) {
            Decision::NoRules if self.is(Flaw::HidesThatThereAreNone) => Decision::Unmatched,
            decision => decision,
        }
    }

    fn grant<'a>(&'a self, rule: &'a Rule) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if !self.is(Flaw::TakesAnything) {
                rule.check()?;
            }
            let mut rules = self.rules.lock().unwrap();
            if !self.is(Flaw::AddsInsteadOfReplacing) {
                rules.retain(|other| other.id != rule.id);
            }
            rules.push(rule.clone());
            Ok(())
        })
    }

    fn revoke<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        let gone = |rule: &Rule| match self.flaw {
            Flaw::KeepsRevoked => false,
            Flaw::RevokesByPrefix => rule.id.starts_with(id),
            _ => rule.id == id,
        };
        self.rules.lock().unwrap().retain(|rule| !gone(rule));
        Box::pin(std::future::ready(Ok(())))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Rule>>> {
        let mut rules = self.rules.lock().unwrap().clone();
        if !self.is(Flaw::ListsAsTheyCame) {
            rules.sort_by(|left, right| left.id.cmp(&right.id));
        }
        if self.is(Flaw::ListsHalf) {
            rules.iter_mut().for_each(|rule| rule.priority = 0);
        }
        Box::pin(std::future::ready(Ok(rules)))
    }
}
