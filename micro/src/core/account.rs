//! Who calls.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The authenticated caller of a call, with go-micro's fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Account {
    /// Unique among the accounts of the issuer.
    pub id: String,
    /// `user` or `service`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Who vouches for the account.
    #[serde(default)]
    pub issuer: String,
    /// What the account may do, such as `orders:write`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Facts about the account.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

impl Account {
    /// Makes an account of type `service` with the given id and scopes.
    pub fn service(id: impl Into<String>, scopes: impl IntoIterator<Item = String>) -> Self {
        Self {
            id: id.into(),
            kind: "service".to_owned(),
            scopes: scopes.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Returns the id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns whether the account holds one of `scopes`; an empty list asks for none.
    pub fn has_any(&self, scopes: &[&str]) -> bool {
        scopes.is_empty() || scopes.iter().any(|s| self.scopes.iter().any(|mine| mine == s))
    }
}
