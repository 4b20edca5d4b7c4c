//! Watches of slices: the list, then each change, and the list again where changes were missed.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::registry::kubernetes::failed;
use crate::registry::kubernetes::slice::{Slice, joined};
use crate::registry::table::Table;

/// A watch is asked for again after this: a connection that is dead unnoticed ends soon after.
const WATCH_TIMEOUT_SECONDS: u32 = 60;
/// The code of a point that is forgotten.
const GONE: u16 = 410;
/// The longest first pause after a failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_BASE: Duration = Duration::from_millis(50);
/// The longest pause after a failure: a server that returns is asked within it.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Returns whether the server has forgotten the point from which a watch was to go on.
///
/// Only what is told within a watch has the stream list again by itself.
fn is_gone(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == GONE,
        _ => false,
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<Event<EndpointSlice>, watcher::Error>> + Send>>;

/// The slices of one service or all, as the server tells of them.
pub(super) struct Follower {
    slices_of: Api<EndpointSlice>,
    config: watcher::Config,
    events: Events,
    port: Option<String>,
    nodes_max: usize,
    slices: BTreeMap<String, Slice>,
    /// A list that has not come whole.
    listing: BTreeMap<String, Slice>,
    is_listing: bool,
}

impl Follower {
    pub(super) fn new(
        api: Api<EndpointSlice>,
        labels: &str,
        port: Option<String>,
        nodes_max: usize,
    ) -> Self {
        let config = watcher::Config::default().labels(labels).timeout(WATCH_TIMEOUT_SECONDS);
        let events = Box::pin(kube::runtime::watcher(api.clone(), config.clone()));
        let (slices, listing) = (BTreeMap::new(), BTreeMap::new());
        let (slices_of, is_listing) = (api, false);
        Self { slices_of, config, events, port, nodes_max, slices, listing, is_listing }
    }

    /// Waits for the next event; returns whether the slices are whole after it.
    pub(super) async fn step(&mut self) -> Result<bool> {
        match self.events.next().await {
            Some(Ok(Event::Init)) => {
                self.listing.clear();
                self.is_listing = true;
            }
            Some(Ok(Event::InitApply(slice))) => {
                if let Some(read) = Slice::read(&slice, self.port.as_deref()) {
                    self.listing.insert(slice.name_any(), read);
                }
            }
            Some(Ok(Event::InitDone)) => {
                self.slices = std::mem::take(&mut self.listing);
                self.is_listing = false;
            }
            Some(Ok(Event::Apply(slice))) => {
                match Slice::read(&slice, self.port.as_deref()) {
                    Some(read) => self.slices.insert(slice.name_any(), read),
                    None => self.slices.remove(&slice.name_any()),
                };
            }
            Some(Ok(Event::Delete(slice))) => {
                self.slices.remove(&slice.name_any());
            }
            Some(Err(error)) => {
                if is_gone(&error) {
                    let (api, config) = (self.slices_of.clone(), self.config.clone());
                    self.events = Box::pin(kube::runtime::watcher(api, config));
                }
                return Err(failed(&error).with_source(error));
            }
            None => return Err(Error::internal("micro.registry", "a watch of kubernetes ended")),
        }
        Ok(!self.is_listing)
    }

    /// Makes a table hold the nodes of the slices.
    pub(super) fn show(&self, table: &Table) {
        table.replace(&joined(self.slices.values(), self.nodes_max));
    }

    /// Keeps a table as the server says, forever.
    pub(super) async fn follow(mut self, table: Arc<Table>) {
        let mut backoff = Backoff::new(PAUSE_BASE, PAUSE_MAX);
        loop {
            match self.step().await {
                Ok(is_whole) => {
                    backoff.reset();
                    if is_whole {
                        self.show(&table);
                    }
                }
                Err(error) => {
                    // The stream begins anew with a list where it cannot go on.
                    tracing::debug!(%error, "watch of kubernetes goes on");
                    clock::sleep(backoff.next_delay()).await;
                }
            }
        }
    }
}
