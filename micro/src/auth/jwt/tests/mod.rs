//! Tokens, keys and accounts, each against a key that signs whatever it is told to.

mod algorithms;
mod lives;
mod tokens;

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::key::PublishedKey;
use super::*;

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
