//! Rules kept in a store, and watched there.

use std::collections::HashMap;
use std::sync::Arc;

use crate::auth::Decision;
use crate::auth::ERROR_ID;
use crate::auth::Principal;
use crate::auth::RULES_MAX;
use crate::auth::Resource;
use crate::auth::Rule;
use crate::auth::Rules;
use crate::auth::decide;
use crate::auth::mirror::Mirror;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::shutdown::TaskTracker;
use crate::store;
use crate::store::Record;

/// Rules under their ids in a table of a store; with a store in memory, rules of this process.
///
/// Every process that opens the same table follows it. A record there that is no rule leaves the
/// rules as they were, and is an error at [`StoredRules::open`]. While the store cannot be reached
/// the rules read last hold.
#[derive(Clone, Debug)]
pub struct StoredRules {
    mirror: Arc<Mirror<Table>>,
}

/// The rules by the service that they name, so that a call looks at few of them.
#[derive(Debug, Default)]
struct Table {
    len: usize,
    by_name: HashMap<String, Vec<Rule>>,
    /// Those that name every service.
    any: Vec<Rule>,
}

impl Table {
    fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.by_name.values().flatten().chain(&self.any)
    }

    fn decide(&self, principal: Principal<'_>, resource: &Resource) -> Decision {
        let named = self.by_name.get(&resource.name).into_iter().flatten();
        match decide(named.chain(&self.any), principal, resource) {
            Decision::NoRules if self.len > 0 => Decision::Unmatched,
            decision => decision,
        }
    }
}

impl FromIterator<Rule> for Table {
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Self {
        let mut table = Self::default();
        for rule in rules {
            table.len += 1;
            match rule.resource.name.as_str() {
                "*" => table.any.push(rule),
                name => table.by_name.entry(name.to_owned()).or_default().push(rule),
            }
        }
        table
    }
}

impl StoredRules {
    /// Reads the rules of a table of their own and follows them as a task of `tasks`.
    ///
    /// # Errors
    /// 500 when a record is no rule, 429 past [`RULES_MAX`]; what the store fails with.
    pub async fn open(table: store::Handle, tasks: &TaskTracker) -> Result<Self> {
        let mirror = Mirror::open(table, RULES_MAX, read, tasks).await?;
        Ok(Self { mirror })
    }
}

fn read(records: Vec<Record>) -> Result<Table> {
    let rule = |record: Record| {
        let rule: Rule = record.decode()?;
        let checked = rule.check();
        checked.map_err(|error| Error::internal(ERROR_ID, error.detail()))?;
        if rule.id != record.key {
            let detail = format!("the rule `{}` is kept under `{}`", rule.id, record.key);
            return Err(Error::internal(ERROR_ID, detail));
        }
        Ok(rule)
    };
    records.into_iter().map(rule).collect()
}

impl Rules for StoredRules {
    fn name(&self) -> &'static str {
        "store"
    }

    fn verify(&self, principal: Principal<'_>, resource: &Resource) -> Decision {
        self.mirror.value().decide(principal, resource)
    }

    fn grant<'a>(&'a self, rule: &'a Rule) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            rule.check()?;
            let rules = self.mirror.value().len;
            let known = self.mirror.value().iter().any(|other| other.id == rule.id);
            if rules >= RULES_MAX && !known {
                let detail = format!("there are {RULES_MAX} rules, as many as may be");
                return Err(Error::too_many_requests(ERROR_ID, detail));
            }
            self.mirror.handle().put(&rule.id, rule).await?;
            self.mirror.reload().await
        })
    }

    fn revoke<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.mirror.handle().delete(id).await?;
            self.mirror.reload().await
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Rule>>> {
        Box::pin(async {
            self.mirror.reload().await?;
            let mut rules: Vec<Rule> = self.mirror.value().iter().cloned().collect();
            rules.sort_by(|left, right| left.id.cmp(&right.id));
            Ok(rules)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::clock;
    use crate::store::Memory;
    use std::time::Duration;

    fn table(store: &Memory) -> store::Handle {
        store::Handle::new(store.clone()).table("rules").unwrap()
    }

    #[test]
    fn rules_by_name_decide_as_all_rules_do() {
        let names = ["a", "b", "*"];
        let rules: Vec<Rule> = (0..60)
            .map(|n| {
                let resource = Resource::service(names[n % 3], ["A.B", "A.*", "*"][n / 3 % 3]);
                let id = n.to_string();
                let rule = match n % 4 {
                    0 => Rule::deny(id, "", resource),
                    _ => Rule::grant(id, "", resource),
                };
                rule.with_priority(i32::try_from(n * 7 % 11).unwrap())
            })
            .collect();
        for first in 0..rules.len() {
            let some = &rules[first..];
            let table: Table = some.iter().cloned().collect();
            for (name, endpoint) in [("a", "A.B"), ("b", "A.C"), ("c", "A.B"), ("c", "X.Y")] {
                let asked = Resource::service(name, endpoint);
                let seen = table.decide(Principal::Anonymous, &asked);
                assert_eq!(seen, decide(some, Principal::Anonymous, &asked), "{first} {asked:?}");
            }
        }
        assert_eq!(
            Table::default().decide(Principal::Anonymous, &Resource::any()),
            Decision::NoRules
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nonsense_in_the_store_changes_nothing_and_ends_a_start() {
        let (store, tasks) = (Memory::new(), TaskTracker::new());
        let rules = StoredRules::open(table(&store), &tasks).await.unwrap();
        let deny = Rule::deny("d", "", Resource::any());
        rules.grant(&deny).await.unwrap();
        table(&store).put("d", &"nothing").await.unwrap();
        table(&store).put("e", &1).await.unwrap();
        clock::sleep(Duration::from_secs(60)).await;
        assert_eq!(rules.verify(Principal::Anonymous, &Resource::any()), Decision::Denied);
        assert!(rules.list().await.is_err());
        assert_eq!(StoredRules::open(table(&store), &tasks).await.unwrap_err().code(), 500);
        tasks.abort_all();
    }
}
