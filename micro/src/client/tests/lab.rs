//! Nodes that answer as a test wants, over a network in which dials hang, and clients of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::client::tests::world::SERVICE;
use crate::client::{Builder, Call, Client, Stub};
use crate::codec::Format;
use crate::core::body::Body;
use crate::core::clock;
use crate::core::context::Context;
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection, Dispatch, Extra, Inbound, Outgoing, Running, Target};
use crate::core::future::BoxFuture;
use crate::core::limits::Limits;
use crate::core::net::Address;
use crate::core::shutdown::Shutdown;
use crate::registry::{self, Endpoint, Record, Registry};
use crate::transport::{Memory, Scope, Transport};

/// What a node does with its calls; it is told how many came to all nodes before.
pub(super) type Answer = Arc<dyn Fn(usize) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// Answers every call after some time.
pub(super) fn after(delay: Duration, outcome: Result<()>) -> Answer {
    Arc::new(move |_| {
        let outcome = outcome.clone();
        Box::pin(async move {
            clock::sleep(delay).await;
            outcome
        })
    })
}

pub(super) fn at_once(outcome: Result<()>) -> Answer {
    Arc::new(move |_| Box::pin(std::future::ready(outcome.clone())))
}

pub(super) fn refusal() -> Error {
    Error::too_many_requests("lab.Lab.U", "busy").with_retry(Retry::Safe)
}

/// What came with each call, by node, in the order of all calls.
type Seen = Arc<Mutex<Vec<(&'static str, Extra)>>>;

struct Node {
    name: &'static str,
    answer: Answer,
    seen: Seen,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Dispatch for Node {
    fn resolve(&self, _: &str, _: &str) -> Result<Target> {
        Ok(Target { index: 0, kind: CallKind::Unary, detached: false })
    }

    fn dispatch(&self, call: Inbound) -> Result<Running> {
        let before = {
            let mut seen = self.seen.lock().unwrap();
            seen.push((self.name, call.extra.map(|extra| *extra).unwrap_or_default()));
            seen.len() - 1
        };
        let answer = (self.answer)(before);
        let answer = async move { answer.await.map(|()| Outgoing::Message(Bytes::new())) };
        Ok(Running::new(Context::new(), Box::pin(answer)))
    }
}

/// A network that counts dials, lets some hang and delays the others.
#[derive(Clone, Debug, Default)]
pub(super) struct Net {
    memory: Memory,
    dials: Arc<Mutex<HashMap<Address, usize>>>,
    holes: Arc<Mutex<HashSet<Address>>>,
    delay: Duration,
}

impl Transport for Net {
    fn name(&self) -> &'static str {
        "net"
    }

    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>>> {
        *self.dials.lock().unwrap().entry(address.clone()).or_default() += 1;
        let hangs = self.holes.lock().unwrap().contains(address);
        Box::pin(async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            clock::sleep(self.delay).await;
            self.memory.dial(address, scope).await
        })
    }

    fn listen<'a>(
        &'a self,
        address: &'a Address,
        dispatch: Arc<dyn Dispatch>,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        self.memory.listen(address, dispatch, scope)
    }
}

/// Nodes of one service and how to call them.
#[derive(Default)]
pub(super) struct Lab {
    pub(super) net: Net,
    pub(super) registry: Arc<registry::Memory>,
    pub(super) limits: Limits,
    nodes: BTreeMap<&'static str, Shutdown>,
    seen: Seen,
}

pub(super) fn address(name: &str) -> Address {
    format!("memory:{name}").parse().unwrap()
}

impl Lab {
    pub(super) fn delaying(delay: Duration) -> Self {
        let net = Net { delay, ..Net::default() };
        Self { net, ..Self::default() }
    }

    /// Starts a node and registers it.
    pub(super) async fn node(&mut self, name: &'static str, answer: Answer) {
        let limits = Arc::new(self.limits.clone());
        let scope = Scope { limits, ..Scope::default() };
        let node = Arc::new(Node { name, answer, seen: Arc::clone(&self.seen) });
        self.net.listen(&address(name), node, &scope).await.unwrap();
        self.nodes.insert(name, scope.shutdown);
        self.register(SERVICE.name, name).await;
    }

    /// Registers a node, whether or not it listens.
    pub(super) async fn register(&self, service: &str, name: &str) {
        let node = registry::Node {
            id: name.to_owned(),
            address: address(name).to_string(),
            ..registry::Node::default()
        };
        let record = Record {
            name: service.to_owned(),
            endpoints: vec![Endpoint { name: "U".to_owned(), ..Endpoint::default() }],
            nodes: vec![node],
            ..Record::default()
        };
        self.registry.register(&record, Duration::from_secs(1_000_000)).await.unwrap();
    }

    /// Ends the connections of a node; nobody listens there any more.
    pub(super) fn stop(&self, name: &str) {
        self.nodes[name].close();
    }

    /// Lets every further dial of a node hang.
    pub(super) fn dig(&self, name: &str) {
        self.net.holes.lock().unwrap().insert(address(name));
    }

    pub(super) fn dials(&self, name: &str) -> usize {
        self.net.dials.lock().unwrap().get(&address(name)).copied().unwrap_or_default()
    }

    pub(super) fn builder(&self) -> Builder {
        let registry: Arc<dyn Registry> = Arc::<registry::Memory>::clone(&self.registry);
        Client::builder().registry(registry).transport(Arc::new(self.net.clone()))
    }

    /// Returns which nodes ran calls, in order.
    pub(super) fn order(&self) -> Vec<&'static str> {
        self.seen.lock().unwrap().iter().map(|(name, _)| *name).collect()
    }

    pub(super) fn extras(&self) -> Vec<Extra> {
        self.seen.lock().unwrap().iter().map(|(_, extra)| extra.clone()).collect()
    }

    /// Returns how many calls a node ran.
    pub(super) fn calls(&self, name: &str) -> usize {
        self.order().iter().filter(|node| **node == name).count()
    }
}

/// Returns whether the client keeps calls from a node.
pub(super) fn is_ejected(client: &Client, name: &str) -> bool {
    let target = client.endpoint(SERVICE.name, "U", CallKind::Unary).target;
    let nodes = target.nodes(&client.inner, clock::now());
    let node = nodes.candidates.iter().find(|candidate| candidate.instance.id == name);
    node.unwrap().load.is_ejected(clock::now())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the type of an encoder asks for it")]
fn encode(_: &Format, (): &(), _: &mut Vec<u8>) -> Result<()> {
    Ok(())
}

fn decode(_: &Format, _: &Body<'_>) -> Result<()> {
    Ok(())
}

/// Calls the service.
pub(super) fn call(client: &Client) -> Call<()> {
    Stub::new(client.clone(), &SERVICE).unary(0, &(), encode, decode)
}

/// Calls the service, which may run twice.
pub(super) fn idempotent(client: &Client) -> Call<()> {
    call(client).idempotent()
}

/// Lets every other task run until nothing happens without time passing.
pub(super) async fn settle() {
    clock::sleep(Duration::from_nanos(1)).await;
}
