//! How long keys, accounts and tokens live, and what ends them.

use super::*;
use crate::auth::jwt::key::keys;
use crate::store::Memory;

#[tokio::test(start_paused = true)]
async fn a10_keys_change_without_a_gap_and_looks_for_them_are_bounded() {
    let (old, young, source) = (Forge::new(), Forge::new(), Changing::default());
    source.publish(&[old.published("old")]);
    let jwt = verifier(source.clone()).await;
    assert_eq!(source.looks(), 1);
    // Both are published while the old one still signs.
    source.publish(&[old.published("old"), young.published("young")]);
    clock::sleep(REFRESH_INTERVAL + Duration::from_secs(1)).await;
    assert_eq!(source.looks(), 2);
    assert!(jwt.inspect(&young.good("young")).is_ok());
    assert!(jwt.inspect(&old.good("old")).is_ok());
    // Withdrawn: gone with the next look, however well remembered.
    source.publish(&[young.published("young")]);
    clock::sleep(REFRESH_INTERVAL).await;
    assert!(jwt.inspect(&old.good("old")).is_err());
    // Unknown ones are looked for, whoever names them and however often.
    let before = source.looks();
    for _ in 0..1000 {
        for n in 0..10 {
            assert!(jwt.inspect(&old.good(&n.to_string())).is_err());
        }
        clock::sleep(Duration::from_millis(300)).await;
    }
    let looks = source.looks() - before;
    assert!((1..=11).contains(&looks), "{looks} looks in five minutes");
    // One that was published a moment ago is found within the pause.
    source.publish(&[young.published("young"), old.published("third")]);
    assert!(jwt.inspect(&old.good("third")).is_err());
    clock::sleep(REFETCH_INTERVAL_MIN + Duration::from_secs(1)).await;
    assert!(jwt.inspect(&old.good("third")).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a10_keys_that_cannot_be_fetched_are_good_for_an_hour() {
    let (forge, source) = (Forge::new(), Changing::default());
    source.publish(&[forge.published("k")]);
    let jwt = verifier(source.clone()).await;
    let token = forge.good("k");
    source.fail();
    clock::sleep(STALE_MAX - Duration::from_secs(60)).await;
    assert!(jwt.inspect(&token).is_ok());
    clock::sleep(Duration::from_secs(61)).await;
    assert!(jwt.inspect(&token).is_err(), "remembered or not");
    source.publish(&[forge.published("k")]);
    clock::sleep(REFETCH_INTERVAL_MIN * 2).await;
    assert!(jwt.inspect(&token).is_ok());
    // A set that is none changes nothing.
    *source.json.lock().unwrap() = Some("{}".to_owned());
    clock::sleep(REFRESH_INTERVAL * 2).await;
    assert!(jwt.inspect(&token).is_ok());
    source.fail();
    let error = Jwt::verifier(config(), source, &TaskTracker::new()).await.unwrap_err();
    assert_eq!(error.code(), 503);
}

async fn issuer(store: &Memory, time: fn() -> Duration) -> Jwt {
    let database = store::Handle::new(store.clone()).database("auth").unwrap();
    let config = JwtConfig::new("micro", "micro");
    Jwt::issuer_in_time(config, &database, &TaskTracker::new(), time).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_new_key_signs_only_when_everybody_may_know_it_and_old_ones_go_when_nobody_needs_them() {
    let store = Memory::new();
    let first = issuer(&store, time).await;
    let made = first.generate(&NewAccount::new("ada")).await.unwrap();
    let kid = |token: &Grant| {
        let header = token.access.expose().split('.').next().unwrap().to_owned();
        let header: Value =
            serde_json::from_slice(&base64url::decode(header.as_bytes()).unwrap()).unwrap();
        header["kid"].as_str().unwrap().to_owned()
    };
    let before = first.token(&made.proof()).await.unwrap();
    first.rotate().await.unwrap();
    assert_eq!(keys(&first.published().await.unwrap()).unwrap().len(), 2);
    let early = first.token(&made.proof()).await.unwrap();
    assert_eq!(kid(&before), kid(&early));
    // The same issuer, ten minutes later.
    let later = issuer(&store, || time() + SIGNING_DELAY).await;
    let after = later.token(&made.proof()).await.unwrap();
    assert_ne!(kid(&before), kid(&after));
    assert!(later.inspect(before.access.expose()).is_ok());
    // Both sides of the change are still published a day later, and only then the old key goes.
    let day = issuer(&store, || time() + SIGNING_DELAY + LIFE_MAX).await;
    day.rotate().await.unwrap();
    assert!(keys(&day.published().await.unwrap()).unwrap().contains_key(&kid(&before)));
    let gone = issuer(&store, || time() + SIGNING_DELAY + LIFE_MAX + LEEWAY).await;
    gone.rotate().await.unwrap();
    assert!(!keys(&gone.published().await.unwrap()).unwrap().contains_key(&kid(&before)));
    assert!(keys(&gone.published().await.unwrap()).unwrap().contains_key(&kid(&after)));
}

#[tokio::test(start_paused = true)]
async fn a13_a_verifier_hears_of_revocations_and_forgets_what_it_remembered() {
    let (store, tasks) = (Memory::new(), TaskTracker::new());
    let issuer = issuer(&store, time).await;
    let database = store::Handle::new(store.clone()).database("auth").unwrap();
    let config = JwtConfig::new("micro", "micro");
    let mut verifier = Jwt::verifier_at(config, &database, &tasks).await.unwrap();
    verifier.time = time;
    let made = issuer.generate(&NewAccount::new("ada")).await.unwrap();
    let grant = issuer.token(&made.proof()).await.unwrap();
    assert!(verifier.inspect(grant.access.expose()).is_ok());
    issuer.revoke("ada").await.unwrap();
    clock::sleep(Duration::from_millis(1)).await;
    assert!(verifier.inspect(grant.access.expose()).is_err());
    assert!(issuer.inspect(grant.access.expose()).is_err());
    assert_eq!(verifier.generate(&NewAccount::new("b")).await.unwrap_err().code(), 501);
}

#[tokio::test(start_paused = true)]
async fn an_account_made_again_does_not_get_its_old_tokens_back() {
    let store = Memory::new();
    let first = issuer(&store, time).await;
    let made = first.generate(&NewAccount::new("ada")).await.unwrap();
    let grant = first.token(&made.proof()).await.unwrap();
    first.revoke("ada").await.unwrap();
    assert_eq!(first.generate(&NewAccount::new("ada")).await.unwrap_err().code(), 409);
    let later = issuer(&store, || time() + Duration::from_secs(31)).await;
    let again = later.generate(&NewAccount::new("ada")).await.unwrap();
    assert!(later.token(&made.proof()).await.is_err());
    assert!(later.token(&grant.proof()).await.is_err());
    assert!(later.inspect(grant.access.expose()).is_err());
    assert!(later.token(&again.proof()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a19_neither_secrets_nor_tokens_are_kept_or_shown() {
    let store = Memory::new();
    let jwt = issuer(&store, time).await;
    let made = jwt.generate(&NewAccount::new("ada")).await.unwrap();
    let grant = jwt.token(&made.proof()).await.unwrap();
    let database = store::Handle::new(store.clone()).database("auth").unwrap();
    let mut kept = format!("{jwt:?}");
    for table in ["accounts", "refresh", "revoked", "published", "signing"] {
        let mut scan = database.table(table).unwrap().scan(store::Query::new());
        while let Some(record) = scan.next().await.unwrap() {
            kept += &format!("{} {}", record.key, String::from_utf8_lossy(&record.value));
        }
    }
    for secret in [&made.secret, &grant.access, &grant.refresh] {
        assert!(!kept.contains(secret.expose().as_str()));
    }
    assert!(kept.contains("ada"));
}

#[tokio::test]
async fn a_stolen_refresh_token_ends_its_family_and_no_other() {
    let database = store::Handle::new(Memory::new()).database("auth").unwrap();
    let tasks = TaskTracker::new();
    let jwt = Jwt::issuer(JwtConfig::new("a", "b"), &database, &tasks).await.unwrap();
    let made = jwt.generate(&NewAccount::new("ada")).await.unwrap();
    let stolen = jwt.token(&made.proof()).await.unwrap();
    let other = jwt.token(&made.proof()).await.unwrap();
    let second = jwt.token(&stolen.proof()).await.unwrap();
    let third = jwt.token(&second.proof()).await.unwrap();
    assert_eq!(jwt.token(&stolen.proof()).await.unwrap_err().code(), 401);
    assert_eq!(jwt.token(&third.proof()).await.unwrap_err().code(), 401, "of the same family");
    jwt.token(&other.proof()).await.unwrap();
    for text in ["", ".", "x", "x.y", &".".repeat(9000)] {
        let proof = Proof::Refresh(Secret::new(text.to_owned()));
        assert_eq!(jwt.token(&proof).await.unwrap_err().code(), 401);
    }
}
