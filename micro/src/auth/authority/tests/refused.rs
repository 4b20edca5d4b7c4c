//! The table of all that is refused, by every way there is to call.
//!
//! A way to call more is one more [`Way`]; a credential more one more row of `rows`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use micro_macros::{handler, service, subscriber};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::field::{Field, Visit};
use tracing::span;

use super::forged::{DATABASE, Forge, authority, member, nameless, showing, token_of_another};
use crate::auth::NewAccount;
use crate::broker::{INBOX_ENDPOINT, INBOX_NODE, INBOX_SERVICE};
use crate::client::Client;
use crate::core::clock;
use crate::core::error::Result;
use crate::core::net::{Address, Stream};
use crate::core::stream::Streaming;
use crate::debug::Stats;
use crate::registry::{self, Registry};
use crate::service::{Running, Service};
use crate::store::{self, Memory};
use crate::transport::tls::tests::open;
use crate::transport::tls::{Identity, Name, Tls};

/// Events that came to the vault, whichever way.
#[derive(Clone, Debug, Default)]
struct Vault {
    told: Arc<AtomicUsize>,
}

#[service(name = "vault", crate = crate)]
impl Vault {
    #[handler]
    async fn open(&self) -> Result<u32> {
        Ok(7)
    }

    #[handler]
    async fn watch(&self) -> Result<Streaming<u32>> {
        Ok(Streaming::from_iter(1..=3))
    }

    #[subscriber(topic = "vault.told")]
    async fn told(&self, _event: u32) -> Result<()> {
        self.told.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Unary,
    Stream,
    Http,
    HttpStream,
    Route,
    /// The stream on which another process brings events to a subscriber.
    Link,
    /// The post by which a process of go-micro does.
    Post,
    Debug,
    DebugStream,
    DebugHttp,
    Metrics,
    /// The native protocol without TLS.
    Native,
    /// HTTP without TLS.
    PlainHttp,
    /// The stream of events without TLS.
    PlainLink,
    /// The post of an event without TLS.
    PlainPost,
    /// The numbers of the process without TLS.
    PlainMetrics,
}

const WAYS: [Way; 16] = [
    Way::Unary,
    Way::Stream,
    Way::Http,
    Way::HttpStream,
    Way::Route,
    Way::Link,
    Way::Post,
    Way::Debug,
    Way::DebugStream,
    Way::DebugHttp,
    Way::Metrics,
    Way::Native,
    Way::PlainHttp,
    Way::PlainLink,
    Way::PlainPost,
    Way::PlainMetrics,
];

impl Way {
    fn shows_certificates(self) -> bool {
        !matches!(
            self,
            Self::Native | Self::PlainHttp | Self::PlainLink | Self::PlainPost | Self::PlainMetrics
        )
    }
}

/// What a caller shows.
enum Shown {
    Token(String),
    Certificate(Arc<Identity>),
}

struct Rig {
    running: Running,
    nameless: Arc<Identity>,
    vault: Vault,
    /// The subscription of the vault, as the registry names it.
    node: String,
}

/// Who calls, and what is shown with a call.
struct Caller<'a> {
    address: &'a Address,
    identity: Option<&'a Arc<Identity>>,
    token: Option<&'a str>,
}

impl Rig {
    async fn call(
        &self,
        way: Way,
        shown: Option<&Shown>,
    ) -> std::result::Result<(), (u16, String)> {
        let token = match shown {
            Some(Shown::Token(token)) => Some(token.as_str()),
            _ => None,
        };
        let identity = match shown {
            Some(Shown::Certificate(identity)) => identity,
            _ => &self.nameless,
        };
        let identity = way.shows_certificates().then_some(identity);
        let caller = Caller { address: self.running.address(), identity, token };
        match way {
            Way::Http | Way::PlainHttp => caller.http("POST /vault/Vault.Open", "null").await,
            Way::HttpStream => caller.http("POST /vault/Vault.Watch", "null").await,
            Way::Route => caller.http("GET /page", "").await,
            Way::DebugHttp => caller.http("POST /vault/Debug.Health", "null").await,
            Way::Metrics | Way::PlainMetrics => caller.http("GET /metrics", "").await,
            Way::Post | Way::PlainPost => {
                let to = format!("POST /?id={}", self.node);
                // The number 7 as base64.
                let event = r#"{"Header":{"Micro-Topic":"vault.told"},"Body":"Nw=="}"#;
                caller.http(&to, event).await
            }
            _ => self
                .natively(way, &caller.client())
                .await
                .map_err(|error| (error.code(), error.detail().to_owned())),
        }
    }

    async fn natively(&self, way: Way, client: &Client) -> Result<()> {
        let vault = VaultClient::from(client.clone());
        match way {
            Way::Stream => vault.watch().await.map(drop),
            Way::Debug => client.call::<_, Stats>("vault", "Debug.Stats", &()).await.map(drop),
            Way::DebugStream => {
                let log = client.server_stream::<serde_json::Value, serde_json::Value>(
                    "vault",
                    "Debug.Log",
                    &json!({}),
                );
                match log.await {
                    // Whoever is let in learns that the log of this program is not taken.
                    Err(error) if error.code() == 501 => Ok(()),
                    outcome => outcome.map(drop),
                }
            }
            Way::Link | Way::PlainLink => {
                let copies = Streaming::<u32>::from_iter([]);
                let link = client.bidi::<_, u32>(INBOX_SERVICE, INBOX_ENDPOINT, copies);
                link.metadata(INBOX_NODE, &self.node).await?.collect(1).await.map(drop)
            }
            _ => vault.open().await.map(drop),
        }
    }
}

impl Caller<'_> {
    fn client(&self) -> Client {
        let mut builder = Client::builder().address(self.address.clone());
        if let Some(identity) = self.identity {
            builder = builder.transport(Arc::new(Tls::new(Arc::clone(identity))));
        }
        if let Some(token) = self.token {
            builder = builder.bearer(token.to_owned()).unwrap();
        }
        builder.build()
    }

    async fn http(&self, line: &str, body: &str) -> std::result::Result<(), (u16, String)> {
        let mut stream = match self.identity {
            Some(identity) => open(self.address, identity).await.unwrap(),
            None => Stream::connect(self.address, Duration::from_secs(5)).await.unwrap(),
        };
        let token = self.token.map(|token| format!("authorization: Bearer {token}\r\n"));
        let head = format!("{line} HTTP/1.1\r\nhost: localhost\r\n{}", token.unwrap_or_default());
        let length = body.len();
        let end = format!("connection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(format!("{head}{end}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
        if status == 200 {
            return Ok(());
        }
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        Err((status, body["detail"].as_str().unwrap().to_owned()))
    }
}

async fn rig(store: &Memory) -> Rig {
    let router = axum::Router::new().route("/page", axum::routing::get(|| async { "page" }));
    let settings = [
        ("MICRO_AUTH", "jwt"),
        ("MICRO_AUTH_IDENTITY", "authority?domain=test.local"),
        ("MICRO_BROKER", "http"),
    ];
    let (registry, vault) = (registry::Memory::new(), Vault::default());
    let running = Service::new("vault")
        .no_env()
        .env(settings)
        .registry(registry.clone())
        .store(store.clone())
        .server(|server| server.router(router))
        .mount(vault.clone())
        .start()
        .await
        .unwrap();
    let nameless = Arc::new(nameless(running.authority().unwrap()));
    let subscriptions = registry.lookup(INBOX_SERVICE).await.unwrap().unwrap();
    let node = subscriptions[0].nodes[0].id.clone();
    Rig { running, nameless, vault, node }
}

/// Every credential that is refused, with a part of what the log says.
async fn rows(rig: &Rig, store: &Memory) -> Vec<(&'static str, Shown, &'static str)> {
    let auth = rig.running.auth();
    let made = auth.generate(&NewAccount::new("eve")).await.unwrap();
    let good = auth.token(&made.proof()).await.unwrap().access.into_exposed();
    let database = store::Handle::new(store.clone()).database(DATABASE).unwrap();
    let forge = Forge::of(&database, &good).await;
    let cut = good.rsplit_once('.').unwrap().0.to_owned();
    auth.revoke_account("eve").await.unwrap();
    let ours = rig.running.authority().unwrap();
    let theirs = authority("test.local").await;
    let name = |namespace, service| Name::new("test.local", namespace, service).unwrap();
    let orders = name("default", "orders");
    let gone = member(ours, "gone").await;
    ours.revoke("gone").await.unwrap();
    rig.running.identity().unwrap().revoked().replace(ours.revoked());
    let over = |params: &mut rcgen::CertificateParams| {
        params.not_after = params.not_before + Duration::from_secs(1);
    };
    let servers_only = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    };
    let two_names = |params: &mut rcgen::CertificateParams| {
        let second = "spiffe://test.local/default/mail".try_into().unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI(second));
    };
    let no_name = |params: &mut rcgen::CertificateParams| params.subject_alt_names.clear();
    let token = Shown::Token;
    let shown = |identity| Shown::Certificate(Arc::new(identity));
    vec![
        ("token of another key", token(token_of_another().await), "its key is unknown"),
        ("token without its signature", token(format!("{cut}.")), "signature"),
        ("token that is over", token(forge.expired()), "over"),
        ("token of a wrong audience", token(forge.sign(|_, c| c["aud"] = json!("x"))), "audience"),
        ("token of a wrong issuer", token(forge.sign(|_, c| c["iss"] = json!("x"))), "issuer"),
        (
            "token of a wrong algorithm",
            token(forge.sign(|h, _| h["alg"] = json!("HS256"))),
            "algorithm",
        ),
        (
            "token without algorithm",
            token(forge.sign(|h, _| h["alg"] = json!("none"))),
            "algorithm",
        ),
        ("token that was revoked", token(good), "revoked"),
        (
            "certificate of another authority",
            shown(showing(ours, &theirs, &orders, |_| {})),
            "BadSignature",
        ),
        ("certificate that is over", shown(showing(ours, ours, &orders, over)), "expired"),
        (
            "certificate of another namespace",
            shown(showing(ours, ours, &name("other", "orders"), |_| {})),
            "namespace",
        ),
        ("certificate for servers", shown(showing(ours, ours, &orders, servers_only)), "refused"),
        (
            "certificate of two names",
            shown(showing(ours, ours, &orders, two_names)),
            "several names",
        ),
        ("certificate that was revoked", shown(gone), "revoked"),
        ("certificate without a name", shown(showing(ours, ours, &orders, no_name)), "no name"),
    ]
}

#[tokio::test]
async fn nobody_gets_in() {
    let log = Log::default();
    let _logged = tracing::subscriber::set_default(log.clone());
    let store = Memory::new();
    let rig = rig(&store).await;
    let rows = rows(&rig, &store).await;
    for way in WAYS {
        for (name, shown, reason) in &rows {
            log.take();
            let (code, detail) = rig.call(way, Some(shown)).await.expect_err(name);
            let said = log.take();
            if matches!(shown, Shown::Certificate(_)) && !way.shows_certificates() {
                // Without TLS nothing was shown.
                assert_eq!(code, 401, "{name} by {way:?}: {detail}");
                assert!(said.contains("not admitted"), "{name} by {way:?}: no reason in {said}");
                continue;
            }
            let told = (code, detail.as_str());
            assert_eq!(told, (401, "the credentials are not valid"), "{name} by {way:?}");
            assert!(said.contains(reason), "{name} by {way:?}: no `{reason}` in {said}");
        }
        log.take();
        let (code, detail) = rig.call(way, None).await.expect_err("nothing shown");
        let said = log.take();
        let told = (code, detail.as_str());
        assert_eq!(told, (401, "the caller has to authenticate"), "nothing by {way:?}");
        for part in ["not admitted", "decision=", "remote="] {
            assert!(said.contains(part), "nothing by {way:?}: no `{part}` in {said}");
        }
    }
    assert_eq!(rig.vault.told.load(Ordering::SeqCst), 0, "an event came from nobody");
    rig.running.stop().await;
}

#[tokio::test]
async fn who_proves_to_be_somebody_gets_in() {
    let store = Memory::new();
    let rig = rig(&store).await;
    let auth = rig.running.auth();
    let made = auth.generate(&NewAccount::new("ada")).await.unwrap();
    let token = Shown::Token(auth.token(&made.proof()).await.unwrap().access.into_exposed());
    let ours = rig.running.authority().unwrap();
    let certificate = Shown::Certificate(Arc::new(member(ours, "orders").await));
    for way in WAYS {
        rig.call(way, Some(&token)).await.unwrap();
        if way.shows_certificates() {
            rig.call(way, Some(&certificate)).await.unwrap();
        }
    }
    // Two posts by token and one by certificate.
    let told = async {
        while rig.vault.told.load(Ordering::SeqCst) < 3 {
            clock::sleep(Duration::from_millis(5)).await;
        }
    };
    clock::timeout(Duration::from_secs(20), told).await.unwrap();
    rig.running.stop().await;
}

/// Everything that is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn take(&self) -> String {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text<'a>(&'a mut String);
        impl Visit for Text<'_> {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{field}={value:?} "));
            }
        }
        event.record(&mut Text(&mut self.0.lock().unwrap()));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
