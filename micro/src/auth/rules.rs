//! Rules kept in a store, and watched there.

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
    mirror: Arc<Mirror<Vec<Rule>>>,
}

impl StoredRules {
    /// Reads the rules of a table of their own and follows them as a task of `tasks`.
    ///
    /// # Errors
    /// 500 when a record is no rule, 429 past [`RULES_MAX`]; what the store fails with.
    pub async fn open(table: store::Handle, tasks: &TaskTracker) -> Result<Self> {
        let mirror = Mirror::open(table, RULES_MAX, rules, tasks).await?;
        Ok(Self { mirror })
    }
}

fn rules(records: Vec<Record>) -> Result<Vec<Rule>> {
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
        decide(self.mirror.value().iter(), principal, resource)
    }

    fn grant<'a>(&'a self, rule: &'a Rule) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            rule.check()?;
            let rules = self.mirror.value().len();
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
            let mut rules = Vec::clone(&self.mirror.value());
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
