//! Credentials that are wrong in one way each.

use std::time::Duration;

use aws_lc_rs::signature::Ed25519KeyPair;
use serde_json::{Value, json};

use crate::auth::authority::sign;
use crate::auth::authority::{self, Authority, AuthorityConfig, Invitation, JoinToken, Request};
use crate::auth::jwt::base64url;
use crate::auth::{Jwt, JwtConfig, NewAccount};
use crate::core::clock;
use crate::core::shutdown::TaskTracker;
use crate::store::{Handle, Memory, Query};
use crate::transport::tls::{Identity, Name};

pub(super) const DATABASE: &str = "micro.auth";

/// Makes an authority in a store of its own.
pub(super) async fn authority(domain: &str) -> Authority {
    let database = Handle::new(Memory::new()).database(DATABASE).unwrap();
    authority::init(&database, &AuthorityConfig::new(domain)).await.unwrap();
    Authority::open(&database, &TaskTracker::new()).await.unwrap()
}

/// Joins as a service.
pub(super) async fn member(authority: &Authority, service: &str) -> Identity {
    let token = authority.join_token(&Invitation::new(service)).await.unwrap();
    let token = JoinToken::parse(token.expose()).unwrap();
    let request = Request::new().unwrap();
    let signed = authority.join(&token.secret, &request.text()).await.unwrap();
    let (certificate, root) = signed.certificates().unwrap();
    let identity = Identity::new(signed.name().unwrap(), &root, 4).unwrap();
    identity.install(&certificate, &request.key).unwrap();
    identity
}

/// Knows the authority and shows nothing.
pub(super) fn nameless(authority: &Authority) -> Identity {
    let name = authority.root.name("nobody").unwrap();
    Identity::new(name, &authority.root.certificate, 4).unwrap()
}

/// Shows to the members of `authority` what `signer` signs for a name, with some of it changed.
pub(super) fn showing(
    authority: &Authority,
    signer: &Authority,
    name: &Name,
    change: impl FnOnce(&mut rcgen::CertificateParams),
) -> Identity {
    let request = Request::new().unwrap();
    let key = sign::requested(&request.text()).unwrap();
    let life = Duration::from_secs(600);
    let mut params = sign::member(name, &sign_facts(), life).unwrap();
    change(&mut params);
    let certificate = params.signed_by(&key, &sign::issuer(&signer.root).unwrap()).unwrap();
    let identity = nameless(authority);
    identity.show(certificate.der(), &request.key);
    identity
}

fn sign_facts() -> authority::members::Facts {
    authority::members::Facts::default()
}

/// Signs tokens with the key of an issuer.
pub(super) struct Forge {
    pair: Ed25519KeyPair,
    good: String,
}

impl Forge {
    /// Takes the key out of the store of an issuer, and a good token to change.
    pub(super) async fn of(database: &Handle, good: &str) -> Self {
        let page = database.table("signing").unwrap().list(&Query::new()).await.unwrap();
        let kept: Value = page.records[0].decode().unwrap();
        let der = base64url::decode(kept["pkcs8"].as_str().unwrap().as_bytes()).unwrap();
        Self { pair: Ed25519KeyPair::from_pkcs8(&der).unwrap(), good: good.to_owned() }
    }

    fn part(&self, n: usize) -> Value {
        let text = self.good.split('.').nth(n).unwrap();
        serde_json::from_slice(&base64url::decode(text.as_bytes()).unwrap()).unwrap()
    }

    /// Signs the good token with some of it changed.
    pub(super) fn sign(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let (mut header, mut claims) = (self.part(0), self.part(1));
        change(&mut header, &mut claims);
        let text = |value: &Value| base64url::encode(value.to_string().as_bytes());
        let message = format!("{}.{}", text(&header), text(&claims));
        let signature = self.pair.sign(message.as_bytes());
        format!("{message}.{}", base64url::encode(signature.as_ref()))
    }

    pub(super) fn expired(&self) -> String {
        let now = clock::unix_now().as_secs();
        self.sign(|_, claims| {
            claims["iat"] = json!(now - 7200);
            claims["exp"] = json!(now - 3600);
        })
    }
}

/// Makes a token of an issuer of the same name with another key.
pub(super) async fn token_of_another() -> String {
    let database = Handle::new(Memory::new()).database(DATABASE).unwrap();
    let tasks = TaskTracker::new();
    let jwt = Jwt::issuer(JwtConfig::new("micro", "micro"), &database, &tasks).await.unwrap();
    let auth = crate::auth::Handle::new(jwt);
    let made = auth.generate(&NewAccount::new("ada")).await.unwrap();
    auth.token(&made.proof()).await.unwrap().access.into_exposed()
}
