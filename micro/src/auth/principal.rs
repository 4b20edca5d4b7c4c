//! Who asks.

use crate::core::account::Account;

/// The asker of a decision: nobody in particular is a value of its own and cannot be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a caller is known or is not")]
pub enum Principal<'a> {
    /// Nobody has proved who it is.
    Anonymous,
    /// An account that was proved.
    Account(&'a Account),
}

impl<'a> Principal<'a> {
    /// Takes the account of a call, if it has one.
    pub fn of(account: Option<&'a Account>) -> Self {
        account.map_or(Self::Anonymous, Self::Account)
    }

    /// Returns whether a rule for `scope` applies: to everybody when it is empty, to every account
    /// when it is `*`, otherwise to accounts that have exactly this scope.
    pub fn has(&self, scope: &str) -> bool {
        match self {
            _ if scope.is_empty() => true,
            Self::Anonymous => false,
            Self::Account(account) => scope == "*" || account.has_any(&[scope]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_compared_exactly() {
        let account = Account::service("a", ["Staff".to_owned()]);
        let (known, nobody) = (Principal::of(Some(&account)), Principal::of(None));
        for (scope, account, anonymous) in [
            ("", true, true),
            ("*", true, false),
            ("Staff", true, false),
            ("staff", false, false),
            ("Staff ", false, false),
        ] {
            assert_eq!((known.has(scope), nobody.has(scope)), (account, anonymous), "{scope:?}");
        }
    }

    #[test]
    fn an_account_that_calls_a_scope_any_has_that_scope_and_not_every_one() {
        let account = Account::service("a", ["*".to_owned()]);
        assert!(!Principal::Account(&account).has("admin"));
    }
}
