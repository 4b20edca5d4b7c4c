//! The links to the subscriptions of other processes, and the connections below them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;

use crate::broker::inbox::INBOX_ENDPOINT;
use crate::broker::inbox::INBOX_NODE;
use crate::broker::inbox::INBOX_SERVICE;
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::error::Retry;
use crate::core::exchange::Connection;
use crate::core::exchange::Exchange;
use crate::core::exchange::Extra;
use crate::core::exchange::Head;
use crate::core::exchange::Route;
use crate::core::net::Address;
use crate::core::stream::BoxSource;
use crate::registry::Instance;
use crate::transport::Scope;
use crate::transport::Transport;

use super::ERROR_ID;
use super::Headers;
use super::Inner;
use super::link::Link;

/// How long a node that could not be reached comes after the other members of its group.
const SHUNNED: Duration = Duration::from_secs(2);

/// The connection to one address, dialed by one at a time.
type Place = Arc<tokio::sync::Mutex<Option<Arc<dyn Connection>>>>;

/// Everything that is sent to other processes of this crate.
pub(super) struct Links {
    transport: Arc<dyn Transport>,
    scope: Scope,
    headers: Option<Headers>,
    route: Arc<Route>,
    by_node: Mutex<HashMap<String, Arc<Link>>>,
    /// By address; those that nobody waits for and that are closed go when another is dialed.
    connections: Mutex<HashMap<String, Place>>,
    /// Nodes that could not be reached, and until when they are asked last.
    shunned: Mutex<HashMap<String, Instant>>,
}

impl Links {
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        scope: Scope,
        headers: Option<Headers>,
    ) -> Self {
        let route = Route::new(INBOX_SERVICE, INBOX_ENDPOINT, CallKind::Bidi);
        Self {
            transport,
            scope,
            headers,
            route,
            by_node: Mutex::default(),
            connections: Mutex::default(),
            shunned: Mutex::default(),
        }
    }

    /// Returns the link to a node, a fresh one if there is none that takes copies.
    pub(super) fn to(&self, inner: &Inner, instance: &Instance) -> Arc<Link> {
        let mut links = lock(&self.by_node);
        if let Some(link) = links.get(&instance.id) {
            if link.is_open() {
                return Arc::clone(link);
            }
            link.retire();
        }
        let (node, address) = (instance.id.clone(), instance.address.clone());
        let (link, copies) = Link::new(node, address, inner.window());
        links.insert(instance.id.clone(), Arc::clone(&link));
        let running = Arc::clone(&link).run(inner.this.clone(), copies);
        self.scope.tasks.spawn("broker.link", running).detach();
        link
    }

    /// Returns how many copies of this process a node has not settled.
    pub(super) fn load(&self, node: &str) -> usize {
        lock(&self.by_node).get(node).map_or(0, |link| link.load())
    }

    /// Has a node asked after the others of its group for a while.
    pub(super) fn shun(&self, node: &str) {
        let now = clock::now();
        let mut shunned = lock(&self.shunned);
        shunned.retain(|_, until| *until > now);
        shunned.insert(node.to_owned(), clock::after(now, SHUNNED));
    }

    /// Returns whether a node is to be asked last.
    pub(super) fn is_shunned(&self, node: &str) -> bool {
        lock(&self.shunned).get(node).is_some_and(|until| *until > clock::now())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.by_node).len()
    }

    /// Forgets a link, unless another one has taken its place.
    pub(super) fn forget(&self, link: &Link) {
        let mut links = lock(&self.by_node);
        if links.get(&link.node).is_some_and(|known| std::ptr::eq(&raw const **known, link)) {
            links.remove(&link.node);
        }
    }

    /// Sends nothing more to anyone.
    pub(super) fn retire_all(&self) {
        let all = std::mem::take(&mut *lock(&self.by_node));
        all.values().for_each(|link| link.retire());
    }

    /// Returns an open connection to an address; all who need one wait for one dial.
    ///
    /// # Errors
    ///
    /// `Retry::Safe`: nothing was sent.
    pub(super) async fn connection(&self, address: &str) -> Result<Arc<dyn Connection>> {
        let place = self.place(address);
        let mut place = place.lock().await;
        if let Some(connection) = place.as_ref().filter(|connection| connection.is_open()) {
            return Ok(Arc::clone(connection));
        }
        let parsed: Address = address.parse()?;
        let limit = self.scope.limits.connection.dial_timeout;
        let dialed = clock::timeout(limit, self.transport.dial(&parsed, &self.scope)).await;
        let connection = dialed.unwrap_or_else(|_elapsed| {
            let text = format!("cannot reach {address}: no answer within {limit:?}");
            Err(Error::unavailable(ERROR_ID, text).with_retry(Retry::Safe))
        })?;
        *place = Some(Arc::clone(&connection));
        Ok(connection)
    }

    fn place(&self, address: &str) -> Place {
        let mut places = lock(&self.connections);
        if let Some(place) = places.get(address) {
            return Arc::clone(place);
        }
        // One that is locked is being dialed.
        places.retain(|_, place| {
            let is_open =
                |it: &Option<Arc<dyn Connection>>| it.as_ref().is_some_and(|it| it.is_open());
            place.try_lock().map_or(true, |it| is_open(&it))
        });
        let place = Place::default();
        places.insert(address.to_owned(), Arc::clone(&place));
        place
    }

    /// Starts the exchange of a link.
    pub(super) async fn exchange(
        &self,
        connection: Arc<dyn Connection>,
        node: &str,
        copies: BoxSource,
    ) -> Result<Exchange> {
        if connection.is_full() {
            connection.ready().await?;
        }
        let mut extra = Extra::default();
        extra.metadata.insert(INBOX_NODE, node)?;
        if let Some(headers) = &self.headers {
            extra.headers = headers().await?;
        }
        let mut head = Head::new(&self.route, clock::now(), ContentType::MsgPack);
        head.extra = Some(Box::new(extra));
        connection.start(&head, &Bytes::new(), Some(copies))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the maps whole, so a poisoned lock is still sound.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
