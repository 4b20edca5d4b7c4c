//! Backends pass; broken ones are caught by name.

use super::broken::{Broken, Flaw};
use super::*;
use crate::auth::Deny;

#[tokio::test]
async fn deny_conforms() {
    let make = async || Subject { one: Arc::new(Deny), two: Arc::new(Deny) };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

async fn conforms(flaw: Flaw) -> Result<(), Failures> {
    let make = async || {
        let broken = Arc::new(Broken::new(flaw));
        Subject { one: Arc::<Broken>::clone(&broken), two: broken }
    };
    conformance(make).await
}

#[tokio::test(start_paused = true)]
async fn accounts_in_memory_conform() {
    conforms(Flaw::None).await.unwrap_or_else(|failures| panic!("{failures}"));
}

#[cfg(feature = "jwt")]
#[tokio::test(start_paused = true)]
async fn jwt_conforms() {
    use crate::auth::{Jwt, JwtConfig};
    use crate::core::shutdown::TaskTracker;
    use crate::store::{Handle, Memory};

    let make = async || {
        let database = Handle::new(Memory::new()).database("auth").unwrap();
        let open = async || {
            let config = JwtConfig::new("micro", "micro");
            let jwt = Jwt::issuer(config, &database, &TaskTracker::new()).await.unwrap();
            let jwt: Arc<dyn Auth> = Arc::new(jwt);
            jwt
        };
        Subject { one: open().await, two: open().await }
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

/// A verifier issues nothing, and is held to what is left.
#[cfg(feature = "jwt")]
#[tokio::test(start_paused = true)]
async fn a_jwt_verifier_conforms() {
    use crate::auth::{Jwt, JwtConfig, KeyText};
    use crate::core::shutdown::TaskTracker;

    // The public key of RFC 8037, appendix A.2.
    let keys = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
        "kid": "rfc", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let make = async || {
        let open = async || {
            let (config, tasks) =
                (JwtConfig::new("https://id.example", "shop"), TaskTracker::new());
            let jwt = Jwt::verifier(config, KeyText::new(keys), &tasks).await.unwrap();
            let jwt: Arc<dyn Auth> = Arc::new(jwt);
            jwt
        };
        Subject { one: open().await, two: open().await }
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

/// Every flaw must be caught, and by the claim that names it.
#[tokio::test(start_paused = true)]
async fn broken_accounts_fail() {
    for (flaw, claim) in [
        (Flaw::AcceptsAnything, "tokens_that_nobody_issued_are_refused_alike"),
        (Flaw::SaysWhy, "tokens_that_nobody_issued_are_refused_alike"),
        (Flaw::HidesWhatItDoes, "what_is_not_declared_is_unsupported"),
        (Flaw::ForgetsScopes, "a_token_is_its_account"),
        (Flaw::ReplacesAccounts, "an_id_is_given_once"),
        (Flaw::LowersIds, "an_id_is_given_once"),
        (Flaw::IgnoresSecrets, "only_the_secret_of_the_account_proves_it"),
        (Flaw::ComparesHalves, "only_the_secret_of_the_account_proves_it"),
        (Flaw::ReadsHalf, "a_changed_token_is_refused"),
        (Flaw::TakesSecrets, "secrets_and_refresh_tokens_are_no_access_tokens"),
        (Flaw::RefreshesForEver, "a_refresh_token_is_good_for_one_use"),
        (Flaw::ChecksThenUses, "of_uses_at_once_one_wins"),
        (Flaw::KeepsRefresh, "a_revoked_refresh_token_ends_alone"),
        (Flaw::KeepsAccess, "a_revoked_account_ends_with_all_its_tokens_and_no_other"),
        (Flaw::KeepsRefreshOfRevoked, "a_revoked_account_ends_with_all_its_tokens_and_no_other"),
        (Flaw::RevokesByPrefix, "a_revoked_account_ends_with_all_its_tokens_and_no_other"),
        (Flaw::TakesAnyId, "what_is_no_account_is_refused"),
        (Flaw::LivesForEver, "tokens_live_for_a_while_and_not_for_ever"),
    ] {
        let failures = conforms(flaw).await.expect_err(&format!("{flaw:?} passed"));
        let caught = failures.names().any(|name| name == claim);
        assert!(caught, "{flaw:?} was not caught by {claim} but: {failures}");
    }
}
