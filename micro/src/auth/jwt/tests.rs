//! Forged, stolen, stale and odd tokens, and the life of keys.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature;
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::key::{PublishedKey, keys};
use super::*;
use crate::debug::{self, Recorder};
use crate::store::Memory;

/// The time of tests, in seconds since 1970.
const NOW: u64 = 1_800_000_000;

fn time() -> Duration {
    Duration::from_secs(NOW)
}

fn config() -> JwtConfig {
    JwtConfig::new("https://id.example", "shop")
}

/// Signs whatever it is told to.
struct Forge {
    pair: Ed25519KeyPair,
}

impl Forge {
    fn new() -> Self {
        Self { pair: Ed25519KeyPair::generate().unwrap() }
    }

    fn published(&self, kid: &str) -> PublishedKey {
        PublishedKey::ed25519(kid, self.pair.public_key().as_ref())
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    fn sign_text(&self, header: &str, claims: &str) -> String {
        let message = message(header, claims);
        let signature = base64url::encode(self.pair.sign(message.as_bytes()).as_ref());
        format!("{message}.{signature}")
    }

    fn good(&self, kid: &str) -> String {
        self.sign(&json!({"alg": "EdDSA", "kid": kid}), &claims())
    }
}

fn message(header: &str, claims: &str) -> String {
    format!("{}.{}", base64url::encode(header.as_bytes()), base64url::encode(claims.as_bytes()))
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example", "aud": "shop", "sub": "ada",
        "iat": NOW - 10, "exp": NOW + 600, "scopes": ["staff"], "type": "user",
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn set(keys: &[PublishedKey]) -> String {
    json!({ "keys": keys }).to_string()
}

/// A source that can be changed and broken.
#[derive(Clone, Debug, Default)]
struct Changing {
    json: Arc<Mutex<Option<String>>>,
    looks: Arc<AtomicUsize>,
}

impl Changing {
    fn publish(&self, keys: &[PublishedKey]) {
        *self.json.lock().unwrap() = Some(set(keys));
    }

    fn fail(&self) {
        *self.json.lock().unwrap() = None;
    }

    fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }
}

impl KeySource for Changing {
    fn fetch(&self) -> BoxFuture<'_, Result<String>> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        let json = self.json.lock().unwrap().clone();
        let json = json.ok_or_else(|| Error::unavailable("test", "down"));
        Box::pin(std::future::ready(json))
    }
}

async fn verifier(source: impl KeySource) -> Jwt {
    let mut jwt = Jwt::verifier(config(), source, &TaskTracker::new()).await.unwrap();
    jwt.time = time;
    jwt
}

/// Makes a verifier that knows one key as `k`.
async fn with_forge() -> (Jwt, Forge) {
    let forge = Forge::new();
    (verifier(KeyText::new(set(&[forge.published("k")]))).await, forge)
}

fn reason(jwt: &Jwt, token: &str) -> Option<Reason> {
    jwt.check(token, NOW).err()
}

#[tokio::test]
async fn a_good_token_is_its_account() {
    let (jwt, forge) = with_forge().await;
    let identity = jwt.inspect(&forge.good("k")).unwrap();
    assert_eq!((identity.account.id(), identity.account.kind.as_str()), ("ada", "user"));
    assert_eq!(identity.account.issuer, "https://id.example");
    assert!(identity.account.has_any(&["staff"]));
    assert_eq!(identity.expiry, Duration::from_secs(NOW + 600));
    let oauth = with("scope", json!("read  write"));
    let identity = jwt.inspect(&forge.sign(&json!({"alg": "EdDSA", "kid": "k"}), &oauth)).unwrap();
    assert_eq!(identity.account.scopes, ["staff", "read", "write"]);
}

#[tokio::test]
async fn a01_issuer_audience_subject_and_times_are_required() {
    let (jwt, forge) = with_forge().await;
    let header = json!({"alg": "EdDSA", "kid": "k"});
    for name in ["iss", "aud", "sub", "iat", "exp"] {
        let token = forge.sign(&header, &without(name));
        assert_eq!(reason(&jwt, &token), Some(Reason::BadClaims), "{name}");
    }
    for (name, value, why) in [
        ("iss", json!("https://id.example/"), Reason::WrongIssuer),
        ("aud", json!("shop2"), Reason::WrongAudience),
        ("aud", json!([]), Reason::WrongAudience),
        ("aud", json!(["a", "b"]), Reason::WrongAudience),
        ("sub", json!(""), Reason::NoSubject),
    ] {
        let token = forge.sign(&header, &with(name, value));
        assert_eq!(reason(&jwt, &token), Some(why), "{name}");
    }
    let token = forge.sign(&header, &with("aud", json!(["other", "shop"])));
    assert_eq!(reason(&jwt, &token), None);
    let tasks = TaskTracker::new();
    for (issuer, audience) in [("", "a"), ("a", "")] {
        let config = JwtConfig::new(issuer, audience);
        assert!(Jwt::verifier(config, KeyText::new(set(&[])), &tasks).await.is_err());
    }
}

#[tokio::test]
async fn a02_a_token_is_not_good_before_its_time() {
    let (jwt, forge) = with_forge().await;
    for (nbf, why) in [(NOW + 3600, Some(Reason::NotYet)), (NOW + 31, Some(Reason::NotYet))] {
        let token = forge.sign(&json!({"alg": "EdDSA", "kid": "k"}), &with("nbf", json!(nbf)));
        assert_eq!(reason(&jwt, &token), why);
    }
    let token = forge.sign(&json!({"alg": "EdDSA", "kid": "k"}), &with("nbf", json!(NOW + 30)));
    assert_eq!(reason(&jwt, &token), None);
}

#[tokio::test]
async fn a03_clocks_may_differ_by_thirty_seconds_and_no_token_lives_longer_than_a_day() {
    let (jwt, forge) = with_forge().await;
    let day = LIFE_MAX.as_secs();
    for (iat, exp, why) in [
        (NOW - 100, NOW - 29, None),
        (NOW - 100, NOW - 30, Some(Reason::Expired)),
        (NOW + 30, NOW + 60, None),
        (NOW + 31, NOW + 60, Some(Reason::IssuedLater)),
        (NOW, NOW + day, None),
        (NOW, NOW + day + 1, Some(Reason::TooLongLived)),
        (NOW, NOW, Some(Reason::TooLongLived)),
        (NOW, u64::MAX, Some(Reason::TooLongLived)),
    ] {
        let mut claims = with("iat", json!(iat));
        claims["exp"] = json!(exp);
        let token = forge.sign(&json!({"alg": "EdDSA", "kid": "k"}), &claims);
        assert_eq!(reason(&jwt, &token), why, "{iat} {exp}");
        assert_eq!(jwt.inspect(&token).is_ok(), why.is_none());
    }
    assert_eq!(LEEWAY, Duration::from_secs(30));
}

#[tokio::test]
async fn a04_no_shared_secret_and_no_short_key_is_ever_a_key() {
    let n = |bytes: usize| base64url::encode(&vec![0xc1; bytes]);
    for key in [
        json!({"kid": "k", "kty": "oct", "k": ""}),
        json!({"kid": "k", "kty": "oct", "alg": "HS256", "k": "c2VjcmV0"}),
        json!({"kid": "k", "kty": "RSA", "n": n(255), "e": "AQAB"}),
        json!({"kid": "k", "kty": "RSA", "n": n(1025), "e": "AQAB"}),
        json!({"kid": "k", "kty": "RSA", "n": n(256), "e": "AQ"}),
        json!({"kid": "k", "kty": "RSA", "n": n(256), "e": "AQAB", "alg": "RS512"}),
        json!({"kid": "k", "kty": "RSA", "n": n(256), "e": "AQAB", "use": "enc"}),
        json!({"kid": "k", "kty": "EC", "crv": "P-384", "x": n(48), "y": n(48)}),
        json!({"kid": "k", "kty": "EC", "crv": "P-256", "x": n(31), "y": n(32)}),
        json!({"kid": "k", "kty": "OKP", "crv": "Ed25519", "x": n(33)}),
        json!({"kid": "k", "kty": "OKP", "crv": "X25519", "x": n(32)}),
        json!({"kid": "", "kty": "OKP", "crv": "Ed25519", "x": n(32)}),
    ] {
        assert!(keys(&json!({ "keys": [key] }).to_string()).unwrap().is_empty(), "{key}");
    }
    let one = Forge::new().published("k");
    assert!(keys(&set(&[one.clone(), one])).is_err(), "one key for each id");
    let many: Vec<_> = (0..=KEYS_MAX).map(|n| Forge::new().published(&n.to_string())).collect();
    assert!(keys(&set(&many)).is_err());
    assert_eq!(keys(&set(&many[..KEYS_MAX])).unwrap().len(), KEYS_MAX);
    assert!(keys(&" ".repeat(KEYS_BYTES_MAX + 1)).is_err());
    assert!(keys("[]").is_err());
}

#[tokio::test]
async fn a05_times_are_whole_numbers_and_nothing_else() {
    let (jwt, forge) = with_forge().await;
    let header = json!({"alg": "EdDSA", "kid": "k"}).to_string();
    for name in ["exp", "nbf", "iat"] {
        for value in [
            "\"1800000300\"",
            "1800000300.5",
            "1.8e9",
            "-1",
            "[1800000300]",
            "null",
            "{}",
            "true",
            "99999999999999999999",
        ] {
            let text = with(name, json!("@")).to_string().replace("\"@\"", value);
            let token = forge.sign_text(&header, &text);
            assert_eq!(reason(&jwt, &token), Some(Reason::BadClaims), "{name} {value}");
        }
    }
    let twice = claims().to_string().replacen('{', "{\"exp\":1800000300,", 1);
    assert_eq!(reason(&jwt, &forge.sign_text(&header, &twice)), Some(Reason::BadClaims));
}

#[tokio::test]
async fn a06_the_key_chooses_the_algorithm() {
    let (jwt, forge) = with_forge().await;
    for (header, why) in [
        (json!({"alg": "none", "kid": "k"}), Reason::WrongAlgorithm),
        (json!({"alg": "None", "kid": "k"}), Reason::WrongAlgorithm),
        (json!({"alg": "HS256", "kid": "k"}), Reason::WrongAlgorithm),
        (json!({"alg": "RS256", "kid": "k"}), Reason::WrongAlgorithm),
        (json!({"alg": "ES256", "kid": "k"}), Reason::WrongAlgorithm),
        (json!({"alg": "eddsa", "kid": "k"}), Reason::WrongAlgorithm),
        (json!({"alg": ["EdDSA"], "kid": "k"}), Reason::BadHeader),
        (json!({"alg": "EdDSA"}), Reason::BadHeader),
        (json!({"kid": "k"}), Reason::BadHeader),
        (json!({"alg": "EdDSA", "kid": "other"}), Reason::UnknownKey),
        (json!({"alg": "EdDSA", "kid": "k", "crit": ["exp"]}), Reason::CriticalHeader),
        (json!({"alg": "EdDSA", "kid": "k", "crit": []}), Reason::CriticalHeader),
    ] {
        assert_eq!(reason(&jwt, &forge.sign(&header, &claims())), Some(why), "{header}");
    }
    // A key that the token brings along is not looked at.
    let mine = Forge::new();
    let header = json!({"alg": "EdDSA", "kid": "k", "jwk": mine.published("k"), "jku": "x"});
    assert_eq!(reason(&jwt, &mine.sign(&header, &claims())), Some(Reason::BadSignature));
    // The public key as the secret of an HMAC, and no signature at all.
    let public =
        aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, forge.pair.public_key().as_ref());
    for alg in ["HS256", "EdDSA", "none"] {
        let text = message(&json!({"alg": alg, "kid": "k"}).to_string(), &claims().to_string());
        let tag = base64url::encode(aws_lc_rs::hmac::sign(&public, text.as_bytes()).as_ref());
        for token in [format!("{text}.{tag}"), format!("{text}.")] {
            assert!(jwt.inspect(&token).is_err(), "{alg}");
        }
    }
}

#[tokio::test]
async fn a07_only_accepted_tokens_are_remembered_and_no_part_of_one_is_enough() {
    let (jwt, forge) = with_forge().await;
    let token = forge.good("k");
    let (message, signature) = token.rsplit_once('.').unwrap();
    let stolen = format!("{message}.{}", base64url::encode(&[7; 64]));
    for _ in 0..2 {
        assert!(jwt.inspect(&stolen).is_err());
        assert_eq!(jwt.cache.len(), 0);
    }
    assert!(jwt.inspect(&token).is_ok());
    assert_eq!(jwt.cache.len(), 1);
    assert!(jwt.inspect(&stolen).is_err());
    assert!(jwt.inspect(message).is_err());
    assert!(jwt.inspect(&format!(".{message}.{signature}")).is_err());
    assert!(jwt.inspect(&format!("{token}=")).is_err());
    assert_eq!(jwt.cache.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a07_what_is_remembered_is_bounded_in_time_and_number() {
    let cache = Cache::default();
    let identity = || Identity::new(Arc::new(Account::default()), Duration::MAX);
    let (now, epoch) = (clock::now(), (1, 1));
    let digest = |n: usize| random::hash(&n.to_string());
    for n in 0..CACHE_ENTRIES_MAX * 2 + 1 {
        cache.note(digest(n), (identity(), Duration::MAX), epoch, now);
        assert!(cache.len() <= CACHE_ENTRIES_MAX);
    }
    let last = digest(CACHE_ENTRIES_MAX * 2);
    assert!(cache.find(&last, epoch, now).is_some());
    assert!(cache.find(&last, (1, 2), now).is_none(), "a revocation forgets");
    assert!(cache.find(&last, (2, 1), now).is_none(), "other keys forget");
    assert!(cache.find(&last, epoch, now + Duration::from_secs(60)).is_none());
    cache.note(last, (identity(), Duration::from_secs(5)), epoch, now);
    assert!(cache.find(&last, epoch, now + Duration::from_secs(4)).is_some());
    assert!(cache.find(&last, epoch, now + Duration::from_secs(5)).is_none());
}

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

#[tokio::test]
async fn a18_a_token_from_another_time_is_refused_however_far_away() {
    let (jwt, forge) = with_forge().await;
    for ahead in [31, 299, 301, 3600, u64::MAX - NOW - 1] {
        let mut claims = with("iat", json!(NOW + ahead));
        claims["exp"] = json!((NOW + ahead).saturating_add(60));
        let token = forge.sign(&json!({"alg": "EdDSA", "kid": "k"}), &claims);
        assert_eq!(reason(&jwt, &token), Some(Reason::IssuedLater), "{ahead}");
    }
    let mut claims = with("iat", json!(0));
    claims["exp"] = json!(1);
    let token = forge.sign(&json!({"alg": "EdDSA", "kid": "k"}), &claims);
    assert_eq!(reason(&jwt, &token), Some(Reason::Expired));
}

/// Clocks that differ are seen, and far ones are loud: by good keys alone.
#[tokio::test]
async fn a18_clocks_that_differ_are_measured_and_warned_of() {
    let (jwt, forge) = with_forge().await;
    let sign = |forge: &Forge, ahead: u64| {
        let mut claims = with("iat", json!(NOW + ahead));
        claims["exp"] = json!(NOW + ahead + 60);
        forge.sign(&json!({"alg": "EdDSA", "kid": "k"}), &claims)
    };
    assert_eq!(jwt.clock_ahead(), Some(Duration::ZERO));
    for (ahead, warned, most) in
        [(20, false, 20), (300, false, 300), (301, true, 301), (5, false, 301)]
    {
        let log = debug::Memory::new();
        let capture = debug::Capture::alone(Arc::new(log.clone()));
        let token = sign(&forge, ahead);
        let refused = tracing::subscriber::with_default(capture, || reason(&jwt, &token));
        assert_eq!(refused.is_none(), ahead <= LEEWAY.as_secs(), "{ahead}");
        let records = log.logs(&debug::LogQuery::default()).await.unwrap();
        let loud = records.iter().any(|record| {
            record.level == debug::Level::Warn && record.message.contains("set the clocks")
        });
        assert_eq!(loud, warned, "{ahead}: {records:?}");
        assert_eq!(jwt.clock_ahead(), Some(Duration::from_secs(most)), "{ahead}");
    }
    assert!(reason(&jwt, &sign(&Forge::new(), 9999)).is_some());
    assert_eq!(jwt.clock_ahead(), Some(Duration::from_secs(301)), "anybody could say that");
}

#[tokio::test]
async fn a15_every_refusal_is_the_same_to_the_caller() {
    let (jwt, forge) = with_forge().await;
    let header = json!({"alg": "EdDSA", "kid": "k"});
    let long = "x".repeat(TOKEN_BYTES_MAX + 1);
    let answers: Vec<String> = [
        "",
        "x",
        "a.b",
        "a.b.c",
        "..",
        &long,
        &forge.good("other"),
        &Forge::new().good("k"),
        &forge.sign(&header, &with("exp", json!(NOW - 100))),
        &forge.sign(&header, &with("aud", json!("x"))),
    ]
    .iter()
    .map(|token| jwt.inspect(token).unwrap_err().to_json())
    .collect();
    assert!(answers.iter().all(|answer| *answer == refused().to_json()), "{answers:?}");
}

#[tokio::test]
async fn l24_long_and_deep_tokens_are_refused() {
    let (jwt, forge) = with_forge().await;
    let header = json!({"alg": "EdDSA", "kid": "k"});
    let nested = |depth: usize| {
        let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        serde_json::from_str::<Value>(&text).unwrap()
    };
    // The object of the claims counts too.
    let deep = |depth| forge.sign(&header, &with("other", nested(depth)));
    assert_eq!(reason(&jwt, &deep(CLAIMS_DEPTH_MAX - 1)), None);
    assert_eq!(reason(&jwt, &deep(CLAIMS_DEPTH_MAX)), Some(Reason::TooDeep));
    assert_eq!(reason(&jwt, &deep(100)), Some(Reason::TooDeep));
    let wide = |bytes: usize| forge.sign(&header, &with("other", json!("x".repeat(bytes))));
    let fits = (0..TOKEN_BYTES_MAX).rev().map(wide).find(|t| t.len() <= TOKEN_BYTES_MAX).unwrap();
    assert!(jwt.inspect(&fits).is_ok());
    assert!(jwt.inspect(&wide(TOKEN_BYTES_MAX)).is_err());
}

#[test]
fn the_examples_of_the_standards_hold() {
    // RFC 8037, appendix A.4; RFC 7515, appendices A.3 and A.2.
    let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEz\
             P1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63\
             kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh\
             9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXp\
             oQ";
    let set = json!({"keys": [
        {"kid": "ed", "kty": "OKP", "crv": "Ed25519",
         "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        {"kid": "ec", "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
         "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
        {"kid": "rsa", "kty": "RSA", "n": n, "e": "AQAB"},
    ]});
    let keys = keys(&set.to_string()).unwrap();
    let jws = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    for (kid, algorithm, message, tag) in [
        (
            "ed",
            "EdDSA",
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".to_owned(),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
        (
            "ec",
            "ES256",
            format!("eyJhbGciOiJFUzI1NiJ9.{jws}"),
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        (
            "rsa",
            "RS256",
            format!("eyJhbGciOiJSUzI1NiJ9.{jws}"),
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp\
          5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMH\
          lb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w\
          9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
    ] {
        let key = &keys[kid];
        let tag = base64url::decode(tag.as_bytes()).unwrap();
        assert_eq!(key.algorithm(), algorithm);
        assert!(key.verifies(message.as_bytes(), &tag), "{kid}");
        assert!(!key.verifies(format!("{message}x").as_bytes(), &tag), "{kid}");
    }
}

#[tokio::test]
async fn tokens_of_all_three_algorithms_are_taken() {
    let rng = SystemRandom::new();
    let ec = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = ec.public_key().as_ref();
    let rsa = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let number = |bytes: &[u8]| base64url::encode(bytes);
    // PKCS#1: nine bytes of headings, then the modulus of 2048 bits.
    let der = rsa.public_key().as_ref();
    let set = json!({"keys": [
        {"kid": "ec", "kty": "EC", "crv": "P-256", "alg": "ES256",
         "x": number(&point[1..33]), "y": number(&point[33..])},
        {"kid": "rsa", "kty": "RSA", "alg": "RS256",
         "n": number(&der[9..265]), "e": "AQAB"},
    ]});
    let jwt = verifier(KeyText::new(set.to_string())).await;
    let text = message(r#"{"alg":"ES256","kid":"ec"}"#, &claims().to_string());
    let tag = ec.sign(&rng, text.as_bytes()).unwrap();
    let token = format!("{text}.{}", base64url::encode(tag.as_ref()));
    assert!(jwt.inspect(&token).is_ok());
    let text = message(r#"{"alg":"RS256","kid":"rsa"}"#, &claims().to_string());
    let mut tag = vec![0; rsa.public_modulus_len()];
    rsa.sign(&signature::RSA_PKCS1_SHA256, &rng, text.as_bytes(), &mut tag).unwrap();
    assert!(jwt.inspect(&format!("{text}.{}", base64url::encode(&tag))).is_ok());
    tag[9] ^= 1;
    assert!(jwt.inspect(&format!("{text}.{}", base64url::encode(&tag))).is_err());
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
