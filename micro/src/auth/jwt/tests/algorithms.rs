//! Which keys there are, and what each of them signs.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature;
use aws_lc_rs::signature::EcdsaKeyPair;

use super::*;
use crate::auth::jwt::key::keys;

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
