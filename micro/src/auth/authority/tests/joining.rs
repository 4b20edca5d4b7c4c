//! Joining, renewing and being put out.

use std::sync::Arc;
use std::time::Duration;

use micro_macros::{handler, service, subscriber};
use tokio::sync::mpsc;

use super::forged::{authority, member, nameless, showing};
use crate::auth::authority::{Invitation, JoinToken, Request, Signed};
use crate::broker::Topic;
use crate::client::Client;
use crate::core::account::Account;
use crate::core::clock;
use crate::core::context::Context;
use crate::core::error::Result;
use crate::core::proven::Proven;
use crate::core::secret::Secret;
use crate::registry;
use crate::service::{Running, Service};
use crate::store::Memory;
use crate::transport::tls::{Identity, Name, Pinned, Tls};

async fn signed(authority: &super::super::Authority, token: &Secret<String>) -> Result<Signed> {
    let token = JoinToken::parse(token.expose())?;
    authority.join(&token.secret, &Request::new()?.text()).await
}

fn account(name: &Name) -> Account {
    let mut account = Account::service(name.to_string(), []);
    account.issuer = name.issuer();
    account
}

#[tokio::test]
async fn a_join_token_is_good_once_and_for_one_service() {
    let authority = authority("test.local").await;
    let invitation = Invitation::new("orders").with_scope("stock:read").with_host("orders.local");
    let token = authority.join_token(&invitation).await.unwrap();
    let parsed = JoinToken::parse(token.expose()).unwrap();
    assert_eq!(parsed.hash, authority.hash());
    // What is no request, or is not signed by its key, does not use the token up.
    for request in ["", "AAAA", &"A".repeat(20_000)] {
        let error = authority.join(&parsed.secret, request).await.unwrap_err();
        assert_eq!((error.code(), error.detail()), (401, "the credentials are not valid"));
    }
    let request = Request::new().unwrap().text();
    let signed_once = authority.join(&parsed.secret, &request).await.unwrap();
    assert_eq!(signed_once.name().unwrap().to_string(), "spiffe://test.local/default/orders");
    // The answer may be lost: the same request is signed again, and no other.
    let again = authority.join(&parsed.secret, &request).await.unwrap();
    assert_eq!(again.name().unwrap(), signed_once.name().unwrap());
    let error = signed(&authority, &token).await.unwrap_err();
    assert_eq!((error.code(), error.detail()), (401, "the credentials are not valid"));
    authority.revoke("orders").await.unwrap();
    assert_eq!(authority.join(&parsed.secret, &request).await.unwrap_err().code(), 401);
}

#[tokio::test]
async fn a_join_token_that_is_unknown_over_or_of_before_a_revocation_gets_nothing() {
    let authority = authority("test.local").await;
    let late = Invitation::new("orders").with_life(Duration::ZERO);
    let late = authority.join_token(&late).await.unwrap();
    let early = authority.join_token(&Invitation::new("mail")).await.unwrap();
    authority.revoke("mail").await.unwrap();
    let unknown = Secret::new(format!("micro-join.abc.{}", authority.hash()));
    for token in [late, early, unknown] {
        let error = signed(&authority, &token).await.unwrap_err();
        assert_eq!((error.code(), error.detail()), (401, "the credentials are not valid"));
    }
}

#[tokio::test]
async fn nobody_is_invited_as_the_authority_or_under_a_name_that_is_none() {
    let authority = authority("test.local").await;
    for invitation in [
        Invitation::new("authority"),
        Invitation::new(""),
        Invitation::new("Orders"),
        Invitation::new("a/b"),
        Invitation::new("orders").with_scope("a\nb"),
        Invitation::new("orders").with_host("a b"),
        Invitation::new("orders").with_scope("x".repeat(5000)),
    ] {
        assert_eq!(authority.join_token(&invitation).await.unwrap_err().code(), 400);
    }
}

#[tokio::test]
async fn a_member_renews_until_it_is_revoked_and_nobody_else_does() {
    let authority = authority("test.local").await;
    let orders = member(&authority, "orders").await;
    let request = Request::new().unwrap().text();
    let again = authority.renew(&account(orders.name()), &request).await.unwrap();
    assert_eq!(again.name().unwrap(), *orders.name());
    let of_token = Account::service(orders.name().to_string(), []);
    let stranger = account(&Name::new("test.local", "default", "stranger").unwrap());
    let far = account(&Name::new("test.local", "other", "orders").unwrap());
    for account in [of_token, stranger, far, Account::service("orders", [])] {
        assert_eq!(authority.renew(&account, &request).await.unwrap_err().code(), 401);
    }
    authority.revoke("orders").await.unwrap();
    assert_eq!(authority.renew(&account(orders.name()), &request).await.unwrap_err().code(), 401);
    orders.revoked().replace(authority.revoked());
    let proven = orders.shown(|shown| shown.account().is_ok());
    assert_eq!(proven, Some(false), "what it holds is void, too");
}

fn process(name: &str, registry: &registry::Memory, settings: &[(&str, &str)]) -> Service {
    let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Service::new(name).no_env().registry(registry.clone()).env(settings)
}

const AUTHORITY: (&str, &str) = ("MICRO_AUTH_IDENTITY", "authority?domain=test.local");

async fn invite(authority: &Running, service: &str) -> String {
    let authority = authority.authority().unwrap();
    authority.join_token(&Invitation::new(service)).await.unwrap().into_exposed()
}

#[tokio::test]
async fn a_process_joins_by_its_token_and_is_known_by_its_certificate() {
    let registry = registry::Memory::new();
    let authority = process("ca", &registry, &[AUTHORITY]).start().await.unwrap();
    let token = invite(&authority, "orders").await;
    let member = [("MICRO_AUTH_IDENTITY", "member"), ("MICRO_AUTH_JOIN", &token)];
    let store = Memory::new();
    let orders = process("orders", &registry, &member).store(store.clone()).start().await.unwrap();
    let name = orders.identity().unwrap().name().to_string();
    assert_eq!(name, "spiffe://test.local/default/orders");
    orders.stop().await;
    // Started again with its store it needs no other token, and the used one does no harm.
    let orders = process("orders", &registry, &member).store(store.clone()).start().await.unwrap();
    assert_eq!(orders.identity().unwrap().name().to_string(), name);
    orders.stop().await;
    // Without the store the token is worth nothing any more.
    let error = process("orders", &registry, &member).start().await.unwrap_err();
    assert_eq!(error.code(), 401, "{error}");
    authority.stop().await;
}

#[tokio::test]
async fn without_a_join_token_or_with_that_of_another_authority_there_is_no_start() {
    let registry = registry::Memory::new();
    let authority = process("ca", &registry, &[AUTHORITY]).start().await.unwrap();
    let at = format!("member://{}", authority.address());
    let error = process("a", &registry, &[("MICRO_AUTH_IDENTITY", &at)]).start().await.unwrap_err();
    assert!(error.detail().contains("micro.auth_join"), "{error}");
    let other = super::forged::authority("test.local").await;
    let token = other.join_token(&Invitation::new("a")).await.unwrap().into_exposed();
    let token = JoinToken::parse(&token).unwrap();
    // The wait for an authority that is away is that of a start; one dial says as much.
    let pinned = Client::builder()
        .address(authority.address().clone())
        .transport(Arc::new(Pinned::new(&token.hash).unwrap()))
        .build();
    let body = serde_json::json!({"secret": "x", "request": "x"});
    let error =
        pinned.call::<_, serde_json::Value>("authority", "Desk.Join", &body).await.unwrap_err();
    assert_eq!(error.code(), 503, "{error}");
    authority.stop().await;
}

#[tokio::test]
async fn a16_a_node_of_another_name_or_authority_is_not_called() {
    let authority = authority("test.local").await;
    let stranger = super::forged::authority("test.local").await;
    let near = authority.root.name("orders").unwrap();
    let far = Name::new("test.local", "other", "orders").unwrap();
    let me = Arc::new(member(&authority, "me").await);
    for (server, reason) in [
        (showing(&authority, &stranger, &near, |_| {}), "of another authority"),
        (showing(&authority, &authority, &far, |_| {}), "of another namespace"),
        (showing(&authority, &authority, &near, over), "over"),
    ] {
        let server = crate::server::Server::builder().identity(Arc::new(server)).build().unwrap();
        let at = server.listen(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let tls = Arc::new(Tls::new(Arc::clone(&me)));
        let client = Client::builder().address(at).transport(tls).build();
        let error = client.call::<_, serde_json::Value>("x", "X.Y", &()).await.unwrap_err();
        assert_eq!(error.code(), 503, "{reason}: {error}");
    }
}

fn over(params: &mut rcgen::CertificateParams) {
    params.not_after = params.not_before + Duration::from_secs(1);
}

#[tokio::test]
async fn another_certificate_is_seen_by_the_next_handshake_and_ends_none() {
    let registry = registry::Memory::new();
    let running = process("ca", &registry, &[AUTHORITY]).start().await.unwrap();
    let authority = running.authority().unwrap();
    let me = member(authority, "me").await;
    let before = me.shown(|shown| shown.issued()).unwrap();
    let client = Client::builder()
        .address(running.address().clone())
        .transport(Arc::new(Tls::new(Arc::new(member(authority, "caller").await))))
        .build();
    let revoked = || client.call::<_, serde_json::Value>("authority", "Desk.Revoked", &());
    revoked().await.unwrap();
    authority.certify(running.identity().unwrap()).unwrap();
    revoked().await.unwrap();
    let other = Client::builder()
        .address(running.address().clone())
        .transport(Arc::new(Tls::new(Arc::new(me))))
        .build();
    other.call::<_, serde_json::Value>("authority", "Desk.Revoked", &()).await.unwrap();
    assert!(before <= running.identity().unwrap().shown(|shown| shown.issued()).unwrap());
    running.stop().await;
}

#[tokio::test]
async fn a_certificate_of_the_wrong_name_or_key_is_not_taken_up() {
    let authority = authority("test.local").await;
    let identity = nameless(&authority);
    let token = authority.join_token(&Invitation::new("orders")).await.unwrap();
    let token = JoinToken::parse(token.expose()).unwrap();
    let request = Request::new().unwrap();
    let signed = authority.join(&token.secret, &request.text()).await.unwrap();
    let (certificate, root) = signed.certificates().unwrap();
    assert_eq!(identity.install(&certificate, &request.key).unwrap_err().code(), 412);
    let orders = Identity::new(signed.name().unwrap(), &root, 1).unwrap();
    let other = Request::new().unwrap();
    assert_eq!(orders.install(&certificate, &other.key).unwrap_err().code(), 412);
    assert_eq!(orders.install(&root, &request.key).unwrap_err().code(), 412);
    assert!(orders.shown(|_| ()).is_none() && matches!(Proven::default(), Proven::Nobody));
    orders.install(&certificate, &request.key).unwrap();
}

#[derive(Debug)]
struct Who;

#[service(name = "who", crate = crate)]
impl Who {
    #[handler]
    async fn calls(&self, ctx: &Context) -> Result<String> {
        Ok(ctx.account()?.id().to_owned())
    }
}

#[tokio::test]
async fn a_member_renews_by_its_certificate_and_outlives_the_first_one() {
    let registry = registry::Memory::new();
    let short = ("MICRO_AUTH_IDENTITY", "authority?domain=test.local&life=3s");
    let authority = process("ca", &registry, &[short]).start().await.unwrap();
    let token = invite(&authority, "who").await;
    let at = format!("member://{}", authority.address());
    let settings = [("MICRO_AUTH_IDENTITY", at.as_str()), ("MICRO_AUTH_JOIN", &token)];
    let member = process("who", &registry, &settings).mount(Who).start().await.unwrap();
    let until = |running: &Running| running.identity().unwrap().shown(|shown| shown.until());
    let first = until(&member).unwrap();
    // The first certificates of both are over then; connections and calls go on.
    while clock::unix_now() < first + Duration::from_millis(500) {
        let caller: WhoClient = authority.client();
        assert_eq!(caller.calls().await.unwrap(), "spiffe://test.local/default/authority");
        clock::sleep(Duration::from_millis(100)).await;
    }
    assert!(until(&member).unwrap() > first, "renewed");
    let fresh: WhoClient = member.client();
    assert_eq!(fresh.calls().await.unwrap(), "spiffe://test.local/default/who");
    member.stop().await;
    authority.stop().await;
}

#[tokio::test]
async fn a_member_serves_what_its_token_says_and_nothing_else_is_called_there() {
    let registry = registry::Memory::new();
    let authority = process("ca", &registry, &[AUTHORITY]).start().await.unwrap();
    let join = async |invitation: Invitation| {
        let held = authority.authority().unwrap();
        let token = held.join_token(&invitation).await.unwrap().into_exposed();
        let settings = [("MICRO_AUTH_IDENTITY", "member"), ("MICRO_AUTH_JOIN", token.as_str())];
        process("desk", &registry, &settings).mount(Who).start().await
    };
    let error = join(Invitation::new("desk")).await.unwrap_err();
    assert_eq!(error.code(), 412);
    assert!(error.detail().contains("--serves who"), "{error}");
    let caller: WhoClient = authority.client();
    for invitation in [
        Invitation::new("who"),
        Invitation::new("desk").serving("mail").serving("who"),
        Invitation::new("desk").serving("*"),
    ] {
        let member = join(invitation).await.unwrap();
        assert_eq!(caller.calls().await.unwrap(), "spiffe://test.local/default/authority");
        member.stop().await;
    }
    authority.stop().await;
}

/// Serves at an address as the holder of a certificate, whatever that says.
async fn posing(identity: Identity) -> crate::core::net::Address {
    let mut server = crate::server::Server::builder().identity(Arc::new(identity));
    server = server.mount(Who);
    let server = server.build().unwrap();
    server.listen(&"127.0.0.1:0".parse().unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_member_that_poses_as_another_service_is_not_called() {
    let authority = authority("test.local").await;
    let me = Arc::new(member(&authority, "me").await);
    let call = async |at| {
        let tls = Arc::new(Tls::new(Arc::clone(&me)));
        let client = Client::builder().address(at).transport(tls).build();
        WhoClient::from(client).calls().await
    };
    let good = posing(member(&authority, "who").await).await;
    assert!(call(good).await.is_ok());
    let error = call(posing(member(&authority, "orders").await).await).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (403, crate::core::error::Retry::Safe), "{error}");
    assert!(error.detail().contains("does not let it serve `who`"), "{error}");
}

#[tokio::test]
async fn a_node_whose_certificate_was_revoked_meanwhile_is_called_no_more() {
    let authority = authority("test.local").await;
    let me = Arc::new(member(&authority, "me").await);
    let at = posing(member(&authority, "who").await).await;
    let tls = Arc::new(Tls::new(Arc::clone(&me)));
    let client: WhoClient = Client::builder().address(at).transport(tls).build().into();
    client.calls().await.unwrap();
    authority.revoke("who").await.unwrap();
    me.revoked().replace(authority.revoked());
    let error = client.calls().await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, crate::core::error::Retry::Safe), "{error}");
}

const TOLD: Topic<u32> = Topic::new("told");

struct Ear {
    heard: mpsc::Sender<u32>,
}

#[service(name = "ear", crate = crate)]
impl Ear {
    #[subscriber(topic = TOLD)]
    async fn on_told(&self, number: u32) -> Result<()> {
        self.heard.try_send(number).unwrap();
        Ok(())
    }
}

#[tokio::test]
async fn events_reach_another_process_by_the_certificates_of_both() {
    let registry = registry::Memory::new();
    let http = ("MICRO_BROKER", "http");
    let authority = process("ca", &registry, &[AUTHORITY, http]).start().await.unwrap();
    let token = invite(&authority, "ear").await;
    let settings = [("MICRO_AUTH_IDENTITY", "member"), ("MICRO_AUTH_JOIN", &token), http];
    let (heard, mut numbers) = mpsc::channel(1);
    let ear = process("ear", &registry, &settings).mount(Ear { heard }).start().await.unwrap();
    authority.broker().publish(&TOLD, &7).await.unwrap();
    assert_eq!(numbers.recv().await, Some(7));
    ear.stop().await;
    authority.stop().await;
}
