//! The services that a client calls, by name.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::client::recent::Recent;
use crate::client::target::Target;
use crate::core::clock::Instant;
use crate::core::descriptor::CallKind;
use crate::core::exchange::Route;

/// Services that are followed although no generated client of them is alive; beyond it those named
/// longest ago are found anew.
const TARGETS_MAX: usize = 1024;

/// Endpoints called by names from run time that get a number of their own; further ones are
/// spelled out in each call.
const DYNAMIC_ROUTES_MAX: usize = 1024;

/// Bytes of both names of an endpoint that gets a number.
const ROUTE_BYTES_MAX: usize = 1024;

/// Whom the client calls.
///
/// Generated clients keep their targets alive. Those of calls by name, and of generated clients
/// that are gone, are kept for a while, so that neither a name nor a client for each call costs
/// what is known of the nodes. A target that nobody keeps ends its watch.
#[derive(Debug)]
pub(super) struct Targets {
    known: HashMap<String, Weak<Target>>,
    recent: Recent<String, Arc<Target>>,
    /// The endpoints of generated clients: as many as the program names.
    named: HashMap<(&'static str, &'static str), Arc<Route>>,
    dynamic: HashMap<(String, String, CallKind), Arc<Route>>,
}

impl Targets {
    /// Keeps targets for `idle` after they were named last.
    pub(super) fn new(idle: Duration) -> Self {
        let recent = Recent::new(TARGETS_MAX, idle);
        Self { known: HashMap::new(), recent, named: HashMap::new(), dynamic: HashMap::new() }
    }

    /// Finds a target, or makes it.
    pub(super) fn find(&mut self, service: &str, make: impl FnOnce() -> Target) -> Arc<Target> {
        if let Some(target) = self.known.get(service).and_then(Weak::upgrade) {
            return target;
        }
        self.known.retain(|_, target| target.strong_count() > 0);
        let target = Arc::new(make());
        self.known.insert(service.to_owned(), Arc::downgrade(&target));
        target
    }

    /// Keeps a target that was named; what falls out is to be dropped without a lock.
    #[must_use]
    pub(super) fn keep(&mut self, target: &Arc<Target>, now: Instant) -> Vec<Arc<Target>> {
        let service = target.view.service();
        let fallen = self.recent.sweep(now);
        match self.recent.get(service, now) {
            Some(kept) if Arc::ptr_eq(&kept, target) => fallen,
            _ => {
                let more = self.recent.insert(service.to_owned(), Arc::clone(target), now);
                fallen.into_iter().chain(more).collect()
            }
        }
    }

    /// Names an endpoint of a generated client, the same for all clients of the service.
    pub(super) fn named(
        &mut self,
        service: &'static str,
        endpoint: &'static str,
        kind: CallKind,
    ) -> Arc<Route> {
        let new = || Route::new(service, endpoint, kind);
        let route = self.named.entry((service, endpoint)).or_insert_with(new);
        // Two contracts may disagree about one name.
        if route.kind() == kind { Arc::clone(route) } else { new() }
    }

    /// Names an endpoint that a call names at run time.
    pub(super) fn dynamic(&mut self, service: &str, endpoint: &str, kind: CallKind) -> Arc<Route> {
        let key = (service.to_owned(), endpoint.to_owned(), kind);
        if let Some(route) = self.dynamic.get(&key) {
            return Arc::clone(route);
        }
        let long = service.len() + endpoint.len() > ROUTE_BYTES_MAX;
        if long || self.dynamic.len() >= DYNAMIC_ROUTES_MAX {
            return Route::unnumbered(service, endpoint, kind);
        }
        let route = Route::new(service, endpoint, kind);
        self.dynamic.insert(key, Arc::clone(&route));
        route
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_named_again_is_the_same_and_endless_names_get_no_number() {
        let mut targets = Targets::new(Duration::from_secs(1));
        let first = targets.dynamic("shop", "Orders.Read", CallKind::Unary);
        assert!(Arc::ptr_eq(&first, &targets.dynamic("shop", "Orders.Read", CallKind::Unary)));
        for n in 0..2 * DYNAMIC_ROUTES_MAX {
            targets.dynamic("shop", &n.to_string(), CallKind::Unary);
        }
        assert_eq!(targets.dynamic.len(), DYNAMIC_ROUTES_MAX);
        assert_eq!(targets.dynamic("shop", "One.More", CallKind::Unary).symbol(), u32::MAX);
        assert!(Arc::ptr_eq(&first, &targets.dynamic("shop", "Orders.Read", CallKind::Unary)));
    }
}
