//! What every backend of rules promises, as claims that it passes or fails by name.
//!
//! ```
//! # use micro::auth::StoredRules;
//! # use micro::core::shutdown::TaskTracker;
//! # use micro::store::{Handle, Memory};
//! # use micro::testkit::rules::{Subject, conformance};
//! # use std::sync::Arc;
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?.block_on(async {
//! conformance(async || {
//!     let table = Handle::new(Memory::new()).table("rules").unwrap();
//!     let open = async || Arc::new(StoredRules::open(table.clone(), &TaskTracker::new()).await.unwrap());
//!     Subject { one: open().await, two: open().await }
//! })
//! .await
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::{Decision, Principal, Resource, Rule, Rules};
use crate::core::account::Account;
use crate::core::clock;
use crate::core::future::BoxFuture;

/// How a claim failed; `Ok` if it holds.
pub type Verdict = Result<(), String>;

/// How long a backend may take until a change holds in another process.
const PATIENCE: Duration = Duration::from_secs(60);

/// A backend to be examined, without rules.
///
/// Two values stand for two processes that share their rules; they may be one.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "there are two processes")]
pub struct Subject {
    /// The backend of the first process.
    pub one: Arc<dyn Rules>,
    /// The backend of the second process.
    pub two: Arc<dyn Rules>,
}

/// A promise: its name and how it is examined.
struct Claim {
    name: &'static str,
    check: for<'a> fn(&'a Subject) -> BoxFuture<'a, Verdict>,
}

/// The claims that a backend failed, each with what was seen.
#[derive(Debug)]
pub struct Failures(Vec<(&'static str, String)>);

impl Failures {
    /// Returns the names of the claims that failed.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.iter().map(|failure| failure.0)
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} claims fail", self.0.len(), CLAIMS.len())?;
        self.0.iter().try_for_each(|(name, why)| write!(f, "\n  {name}: {why}"))
    }
}

impl std::error::Error for Failures {}

/// Examines all claims, each on a subject of its own from `make`.
///
/// # Errors
///
/// Lists the claims that failed.
pub async fn conformance(make: impl AsyncFn() -> Subject) -> Result<(), Failures> {
    let mut failures = Vec::new();
    for claim in CLAIMS {
        if let Err(why) = (claim.check)(&make().await).await {
            failures.push((claim.name, why));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failures(failures)) }
}

impl Subject {
    async fn grant(&self, rule: Rule) -> Verdict {
        self.one.grant(&rule).await.map_err(|error| format!("grant of {rule:?}: {error}"))
    }

    /// Fails unless both processes come to decide so, the first at once.
    async fn decides(&self, scopes: &[&str], resource: &Resource, wanted: Decision) -> Verdict {
        let account = Account::service("a", scopes.iter().map(|scope| (*scope).to_owned()));
        self.comes_to(Principal::Account(&account), resource, wanted).await
    }

    async fn comes_to(
        &self,
        principal: Principal<'_>,
        resource: &Resource,
        wanted: Decision,
    ) -> Verdict {
        let seen = self.one.verify(principal, resource);
        ensure(seen == wanted, || format!("{principal:?} {resource:?}: {seen:?}, not {wanted:?}"))?;
        let deadline = clock::after(clock::now(), PATIENCE);
        loop {
            let seen = self.two.verify(principal, resource);
            if seen == wanted {
                return Ok(());
            }
            if clock::now() >= deadline {
                return Err(format!("elsewhere {resource:?} is {seen:?} and never {wanted:?}"));
            }
            clock::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(why()) }
}

fn read() -> Resource {
    Resource::service("orders", "Orders.Read")
}

macro_rules! declare {
    ($(async fn $name:ident($subject:ident) $body:block)*) => {
        const CLAIMS: &[Claim] = &[$(Claim { name: stringify!($name), check: $name },)*];
        $(
            fn $name($subject: &Subject) -> BoxFuture<'_, Verdict> {
                Box::pin(async move $body)
            }
        )*
    };
}

declare! {
    async fn no_rules_are_told_from_none_that_match(subject) {
        subject.decides(&["x"], &read(), Decision::NoRules).await?;
        subject.grant(Rule::grant("r", "x", Resource::service("other", "*"))).await?;
        subject.decides(&["x"], &read(), Decision::Unmatched).await
    }

    async fn a_rule_holds_when_its_grant_returns_and_soon_elsewhere(subject) {
        subject.grant(Rule::grant("r", "x", read())).await?;
        subject.decides(&["x"], &read(), Decision::Granted).await
    }

    async fn a_revoked_rule_is_gone_and_others_stay(subject) {
        subject.grant(Rule::grant("a", "x", read())).await?;
        subject.grant(Rule::grant("ab", "y", read())).await?;
        let revoked = subject.one.revoke("a").await;
        ensure(revoked.is_ok(), || format!("revoke: {revoked:?}"))?;
        subject.decides(&["x"], &read(), Decision::Unmatched).await?;
        subject.decides(&["y"], &read(), Decision::Granted).await?;
        let again = subject.one.revoke("a").await;
        ensure(again.is_ok(), || format!("revoking what is absent: {again:?}"))
    }

    async fn among_equals_deny_wins_whatever_came_first(subject) {
        let orders = [["b", "a", "c"], ["a", "b", "c"], ["c", "a", "b"]];
        for (n, order) in orders.into_iter().enumerate() {
            let resource = Resource::service("orders", format!("Orders.R{n}"));
            for (which, id) in order.into_iter().enumerate() {
                let id = format!("{n}{id}");
                subject.grant(match (which + n) % 3 {
                    0 => Rule::deny(id, "*", resource.clone()),
                    _ => Rule::grant(id, "*", resource.clone()),
                })
                .await?;
            }
            subject.decides(&["x"], &resource, Decision::Denied).await?;
        }
        Ok(())
    }

    async fn a_higher_priority_decides(subject) {
        subject.grant(Rule::deny("a", "*", read())).await?;
        subject.grant(Rule::grant("b", "x", read()).with_priority(1)).await?;
        subject.decides(&["x"], &read(), Decision::Granted).await?;
        subject.decides(&["y"], &read(), Decision::Denied).await?;
        subject.grant(Rule::deny("c", "", Resource::any()).with_priority(2)).await?;
        subject.decides(&["x"], &read(), Decision::Denied).await
    }

    async fn a_scope_is_compared_exactly(subject) {
        subject.grant(Rule::grant("a", "Admin", read())).await?;
        for scopes in [&["admin"][..], &["Admin "], &["Admin.x"], &["*"], &[""], &[]] {
            subject.decides(scopes, &read(), Decision::Unmatched).await?;
        }
        subject.decides(&["y", "Admin"], &read(), Decision::Granted).await
    }

    async fn an_empty_scope_is_everybody_and_a_star_every_account(subject) {
        let other = Resource::service("orders", "Orders.Ping");
        subject.grant(Rule::grant("all", "", other.clone())).await?;
        subject.grant(Rule::grant("known", "*", read())).await?;
        subject.comes_to(Principal::Anonymous, &other, Decision::Granted).await?;
        subject.comes_to(Principal::Anonymous, &read(), Decision::Unmatched).await?;
        subject.decides(&[], &read(), Decision::Granted).await
    }

    async fn every_part_of_a_resource_has_to_match(subject) {
        subject.grant(Rule::grant("a", "*", read())).await?;
        for resource in [
            Resource::service("orders2", "Orders.Read"),
            Resource::service("Orders", "Orders.Read"),
            Resource::service("orders", "Orders.ReadAll"),
            Resource::service("orders", "orders.read"),
            Resource { name: "orders".to_owned(), ..Resource::route("Orders.Read") },
        ] {
            subject.decides(&[], &resource, Decision::Unmatched).await?;
        }
        subject.decides(&[], &read(), Decision::Granted).await
    }

    async fn a_wildcard_covers_what_is_below_it_and_no_more(subject) {
        subject.grant(Rule::grant("a", "*", Resource::service("orders", "Orders.*"))).await?;
        subject.grant(Rule::grant("b", "*", Resource::route("/admin/*"))).await?;
        for (resource, decision) in [
            (read(), Decision::Granted),
            (Resource::service("orders", "OrdersX.Read"), Decision::Unmatched),
            (Resource::route("/admin/a/b"), Decision::Granted),
            (Resource::route("/administrator"), Decision::Unmatched),
            (Resource::route("/admin"), Decision::Unmatched),
        ] {
            subject.decides(&[], &resource, decision).await?;
        }
        Ok(())
    }

    async fn what_is_no_rule_is_refused_and_not_kept(subject) {
        for rule in [
            Rule::grant("", "*", read()),
            Rule::grant("a", "*", Resource::service("orders", "*.Read")),
            Rule::grant("a", "*", Resource::service("or*", "Orders.Read")),
            Rule::grant("a", "x\n", read()),
        ] {
            let code = subject.one.grant(&rule).await.map_err(|error| error.code());
            ensure(code == Err(400), || format!("{rule:?} should be a 400 and is {code:?}"))?;
        }
        subject.decides(&["x"], &read(), Decision::NoRules).await
    }

    async fn a_rule_of_the_same_id_is_replaced_whole(subject) {
        subject.grant(Rule::grant("a", "x", read()).with_priority(5)).await?;
        subject.grant(Rule::deny("a", "y", read())).await?;
        subject.decides(&["x"], &read(), Decision::Unmatched).await?;
        subject.grant(Rule::grant("b", "y", read()).with_priority(1)).await?;
        subject.decides(&["y"], &read(), Decision::Granted).await
    }

    async fn rules_are_listed_whole_in_the_order_of_their_ids(subject) {
        let rules = [
            Rule::deny("A/b", "", Resource::any()).with_priority(i32::MIN),
            Rule::grant("a", "x", read()).with_priority(7),
            Rule::grant("b c", "*", Resource::route("/x/*")),
        ];
        for rule in rules.iter().rev() {
            subject.grant(rule.clone()).await?;
        }
        let listed = subject.two.list().await.map_err(|error| error.to_string())?;
        ensure(listed == rules, || format!("listed {listed:?}"))
    }
}

#[cfg(test)]
mod broken;
#[cfg(test)]
mod tests;
