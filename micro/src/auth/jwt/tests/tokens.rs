//! Forged, stolen, stale and odd tokens.

use super::*;
use crate::debug::{self, Recorder};

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
