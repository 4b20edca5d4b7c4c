//! The mounted services: every endpoint with what runs it, found by name once.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::core::clock::Instant;
use crate::core::context::{Callee, Context};
use crate::core::descriptor::{EndpointSpec, ServiceDescriptor};
use crate::core::error::{Error, Result};
use crate::core::exchange::{Ended, Outgoing, Release, Slot, Target};
use crate::core::future::BoxFuture;
use crate::core::limits::Limits;
use crate::core::nearest::nearest;
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::core::trace::Trace;
use crate::debug::{Calls, Monitor, Outcome, SpanKind};
use crate::server::gate::{Gate, Refused};
use crate::server::serve::{Incoming, Serve};

/// A mounted service without its type.
trait Mounted: Send + Sync {
    fn call(
        &self,
        index: usize,
        context: Context,
        incoming: Incoming,
    ) -> BoxFuture<'static, Result<Outgoing>>;
}

struct Mount<S>(Arc<S>);

impl<S: Serve> Mounted for Mount<S> {
    fn call(
        &self,
        index: usize,
        context: Context,
        incoming: Incoming,
    ) -> BoxFuture<'static, Result<Outgoing>> {
        match S::ENDPOINTS.get(index) {
            Some(endpoint) => (endpoint.call)(Arc::clone(&self.0), context, incoming),
            None => Box::pin(std::future::ready(Err(unlisted(S::DESCRIPTOR)))),
        }
    }
}

fn unlisted(service: &ServiceDescriptor) -> Error {
    let detail = format!("`{}` declares endpoints that it does not implement", service.type_name);
    Error::internal(service.name, detail)
}

/// One endpoint of the process.
pub(super) struct Entry {
    pub(super) spec: &'static EndpointSpec,
    /// What its calls know of it.
    pub(super) callee: Arc<Callee>,
    /// What errors name: `service.Type.Method`.
    pub(super) id: String,
    /// Where HTTP finds it: `/service/Type.Method`.
    pub(super) path: String,
    /// The service that it is of.
    pub(super) descriptor: &'static ServiceDescriptor,
    /// Whether the call runs to its end when the caller goes away.
    detached: bool,
    index: usize,
    mounted: Arc<dyn Mounted>,
    process: Arc<Gate>,
    own: Option<Gate>,
    /// Whether it shows the inside of the process: such calls are no work of it.
    pub(super) internal: bool,
    pub(super) calls: Arc<Calls>,
    monitor: Monitor,
}

impl Entry {
    /// Makes the future of one call.
    pub(super) fn call(
        &self,
        context: Context,
        incoming: Incoming,
    ) -> BoxFuture<'static, Result<Outgoing>> {
        self.mounted.call(self.index, context, incoming)
    }

    /// Counts a call that no handler sees.
    #[cold]
    pub(super) fn refused(&self, error: Error) -> Error {
        self.calls.refuse();
        error
    }

    /// Takes a slot, if there is one, for a call that arrived at `now`.
    pub(super) fn enter(
        self: &Arc<Self>,
        now: Instant,
        trace: Option<&Trace>,
    ) -> Result<Slot, Refused> {
        if let Some(own) = &self.own {
            own.enter()?;
        }
        let own = Entered(self.own.as_ref());
        self.process.enter()?;
        own.stay();
        Ok(self.slot(now, trace))
    }

    /// Waits for a slot. Cancel safe: a slot that nobody gets is given back.
    pub(super) async fn wait(
        self: &Arc<Self>,
        until: Instant,
        (now, trace): (Instant, Option<&Trace>),
    ) -> Result<Slot, Refused> {
        if let Some(own) = &self.own {
            own.wait(until).await?;
        }
        let own = Entered(self.own.as_ref());
        self.process.wait(until).await?;
        own.stay();
        Ok(self.slot(now, trace))
    }
}

impl Entry {
    fn slot(self: &Arc<Self>, now: Instant, trace: Option<&Trace>) -> Slot {
        self.calls.begin();
        let owner: Arc<dyn Release> = Arc::<Self>::clone(self);
        Slot::new(owner, now, trace)
    }
}

impl Release for Entry {
    fn release(&self) {
        self.process.leave();
        if let Some(own) = &self.own {
            own.leave();
        }
    }

    fn tally(&self, ended: &Ended) {
        let (began, at) = (ended.began, ended.at);
        self.calls.end(Outcome::of(ended.code), at.saturating_duration_since(began));
        if let Some(trace) = &ended.trace {
            self.monitor.record(**trace, (&self.id, SpanKind::Server, ended.code), began, at);
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entry").field(&self.id).finish()
    }
}

/// A place behind an endpoint's own gate, given back unless the call goes on.
struct Entered<'a>(Option<&'a Gate>);

impl Entered<'_> {
    fn stay(mut self) {
        self.0 = None;
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Some(gate) = self.0 {
            gate.leave();
        }
    }
}

/// A service on its way into a [`Table`].
struct Mounting {
    /// The name that it is called by.
    name: Arc<str>,
    descriptor: &'static ServiceDescriptor,
    mounted: Arc<dyn Mounted>,
    internal: bool,
    /// What bounds its calls, where that is neither the process nor what shows its inside.
    gate: Option<Arc<Gate>>,
}

/// Services on their way into a [`Table`].
#[derive(Default)]
pub(super) struct Mounts {
    services: Vec<Mounting>,
    /// Whether every endpoint is detached, whatever it declares.
    detached: bool,
}

impl Mounts {
    /// Adds a service.
    pub(super) fn add<S: Serve>(&mut self, service: Arc<S>) {
        self.services.push(Mounting {
            name: S::DESCRIPTOR.name.into(),
            descriptor: S::DESCRIPTOR,
            mounted: Arc::new(Mount(service)),
            internal: false,
            gate: None,
        });
    }

    /// Adds a service that shows the inside of the process, under names of other services.
    ///
    /// Where one of those has an endpoint of the same name, that one is served.
    pub(super) fn add_internal<S: Serve>(&mut self, names: &[&str], service: Arc<S>) {
        self.add_gated(names, service, None);
    }

    /// Adds a service as [`Self::add_internal`] does, bounded by a gate of its own.
    pub(super) fn add_gated<S: Serve>(
        &mut self,
        names: &[&str],
        service: Arc<S>,
        gate: Option<&Arc<Gate>>,
    ) {
        let mounted: Arc<dyn Mounted> = Arc::new(Mount(service));
        self.services.extend(names.iter().map(|name| Mounting {
            name: (*name).into(),
            descriptor: S::DESCRIPTOR,
            mounted: Arc::clone(&mounted),
            internal: true,
            gate: gate.cloned(),
        }));
    }

    /// Says whether every endpoint is detached, whatever it declares.
    pub(super) fn detach_all(&mut self, detached: bool) {
        self.detached = detached;
    }

    /// Lists what was added.
    pub(super) fn descriptors(&self) -> Vec<&'static ServiceDescriptor> {
        let own = self.services.iter().filter(|service| !service.internal);
        own.map(|service| service.descriptor).collect()
    }
}

impl fmt::Debug for Mounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.services.iter().map(|service| service.descriptor.type_name))
            .finish()
    }
}

/// What all endpoints of a process share.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) gate: Arc<Gate>,
    pub(super) shutdown: Shutdown,
    /// Owns the tasks that handlers spawn.
    pub(super) tasks: TaskTracker,
    pub(super) monitor: Monitor,
}

/// Every endpoint of the process; never changes once it is made.
#[derive(Debug)]
pub(super) struct Table {
    entries: Vec<Arc<Entry>>,
    paths: HashMap<String, Target>,
    /// What exists, for people: all of it, and what is public.
    listing: [String; 2],
}

impl Table {
    /// Makes the table.
    ///
    /// # Errors
    /// 409 when two services have an endpoint of one name.
    pub(super) fn new(mut mounts: Mounts, process: &Process, limits: &Limits) -> Result<Self> {
        let mut table = Self {
            entries: Vec::new(),
            paths: HashMap::new(),
            listing: [const { String::new() }; 2],
        };
        // Questions about the process are answered when it is full, and hold up no stop.
        let apart = Arc::new(Gate::new(limits.debug.answers_max, 0));
        mounts.services.sort_by_key(|service| service.internal);
        for service in &mounts.services {
            for (index, spec) in service.descriptor.endpoints.iter().enumerate() {
                let entry = entry(service, (index, spec), process, limits);
                let (taken, internal) = (table.find(&entry.path).is_some(), service.internal);
                if internal && taken {
                    continue;
                }
                let shared = if internal { &apart } else { &process.gate };
                let gate = service.gate.as_ref().unwrap_or(shared);
                table.insert(Entry {
                    process: Arc::clone(gate),
                    detached: entry.detached || (mounts.detached && !internal),
                    ..entry
                })?;
            }
        }
        table.listing = [table.list(|_| true), table.list(|entry| entry.spec.public)];
        Ok(table)
    }

    fn insert(&mut self, entry: Entry) -> Result<()> {
        if let Some(other) = self.entries.iter().find(|other| other.path == entry.path) {
            let detail = format!(
                "`{}` and `{}` both have an endpoint {}; rename one or give its service another name",
                other.descriptor.type_name, entry.descriptor.type_name, entry.id,
            );
            return Err(Error::conflict("micro.server", detail));
        }
        let index = u32::try_from(self.entries.len())
            .map_err(|e| Error::internal("micro.server", "too many endpoints").with_source(e))?;
        let target = Target { index, kind: entry.spec.kind, detached: entry.detached };
        self.paths.insert(entry.path.clone(), target);
        self.entries.push(Arc::new(entry));
        Ok(())
    }

    fn list(&self, shown: impl Fn(&Entry) -> bool) -> String {
        let shown = self.entries.iter().filter(|entry| !entry.internal && shown(entry));
        shown.map(|entry| name(entry)).collect::<Vec<_>>().join(", ")
    }

    /// Lists the endpoints that a caller may learn of: all, or only the public ones.
    pub(super) fn shown(&self, all: bool) -> impl Iterator<Item = &Entry> {
        let entries = self.entries.iter().map(AsRef::as_ref);
        entries.filter(move |entry| !entry.internal && (all || entry.spec.public))
    }

    /// Returns an endpoint by its place.
    pub(super) fn entry(&self, target: Target) -> Option<&Arc<Entry>> {
        self.entries.get(usize::try_from(target.index).ok()?)
    }

    /// Lists the endpoints with their places.
    #[cfg(feature = "grpc")]
    pub(super) fn each(&self) -> impl Iterator<Item = (Target, &Entry)> {
        self.entries.iter().filter_map(|entry| Some((self.find(&entry.path)?, &**entry)))
    }

    /// Finds an endpoint by its path over HTTP.
    pub(super) fn find(&self, path: &str) -> Option<Target> {
        self.paths.get(path).copied()
    }

    /// Finds an endpoint by `service.Type.Method`, or by `Type.Method` where a single service has
    /// it; returns its path as well.
    pub(super) fn named(&self, name: &str) -> Option<(Target, String)> {
        let (rest, method) = name.rsplit_once('.')?;
        let path = match rest.rsplit_once('.') {
            Some((service, type_name)) => format!("/{service}/{type_name}.{method}"),
            None => self.sole(name)?.path.clone(),
        };
        Some((self.find(&path)?, path))
    }

    /// Returns the endpoint of a name that a single service has.
    fn sole(&self, endpoint: &str) -> Option<&Entry> {
        let mut same = self.entries.iter().filter(|entry| entry.spec.name == endpoint);
        let sole = same.next().filter(|_| same.next().is_none())?;
        Some(sole)
    }

    /// Finds an endpoint by its own name, if there is one service that has it.
    #[cfg(feature = "mucp")]
    pub(super) fn only(&self, endpoint: &str) -> Option<Target> {
        let only = self.sole(endpoint).filter(|entry| !entry.internal)?;
        self.find(&only.path)
    }

    /// Tells whether an endpoint belongs to a type of this name.
    #[cfg(feature = "mucp")]
    pub(super) fn has_type(&self, name: &str) -> bool {
        let kind = |entry: &Entry| entry.spec.name.split_once('.').map(|(kind, _)| kind);
        self.entries.iter().any(|entry| !entry.internal && kind(entry) == Some(name))
    }

    /// Makes the 404 for a name or path; lists all endpoints, or only the public ones.
    pub(super) fn missing(&self, asked: &str, all: bool) -> Error {
        let asked = asked.trim_start_matches('/');
        let mut detail = format!("there is no endpoint {}", asked.escape_debug());
        let shown = self.entries.iter().filter(|entry| all || entry.spec.public);
        if let Some(nearest) = nearest(asked, shown.map(|entry| name(entry))) {
            detail.push_str("; did you mean ");
            detail.push_str(nearest);
            detail.push('?');
        }
        let [everything, public] = &self.listing;
        let listing = if all { everything } else { public };
        if !listing.is_empty() {
            detail.push_str("; there is ");
            detail.push_str(listing);
        }
        Error::not_found("micro.server", detail)
    }
}

/// Makes an endpoint of a service.
fn entry(
    service: &Mounting,
    (index, spec): (usize, &'static EndpointSpec),
    process: &Process,
    limits: &Limits,
) -> Entry {
    let name = &service.name;
    let callee = Callee {
        spec: Some(spec),
        service: Some(Arc::clone(name)),
        shutdown: process.shutdown.clone(),
        tasks: process.tasks.clone(),
    };
    let per_endpoint = limits.call.in_flight_per_endpoint_max.filter(|_| !service.internal);
    Entry {
        spec,
        callee: Arc::new(callee),
        id: format!("{name}.{}", spec.name),
        path: format!("/{name}/{}", spec.name),
        detached: spec.detached,
        descriptor: service.descriptor,
        index,
        mounted: Arc::clone(&service.mounted),
        process: Arc::clone(&process.gate),
        own: per_endpoint.map(|max| Gate::new(max, 0)),
        internal: service.internal,
        calls: process.monitor.calls(name, spec.name),
        monitor: process.monitor.clone(),
    }
}

/// Names an endpoint for people: `service/Type.Method`.
fn name(entry: &Entry) -> &str {
    entry.path.trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::Sample;

    fn process() -> Process {
        let gate = Arc::new(Gate::new(10, 10));
        Process {
            gate,
            shutdown: Shutdown::new(),
            tasks: TaskTracker::new(),
            monitor: Monitor::default(),
        }
    }

    fn table() -> Table {
        let mut mounts = Mounts::default();
        mounts.add(Arc::new(Sample::default()));
        Table::new(mounts, &process(), &Limits::default()).unwrap()
    }

    #[test]
    fn a_duplicate_endpoint_names_both_types() {
        let mut mounts = Mounts::default();
        mounts.add(Arc::new(Sample::default()));
        mounts.add(Arc::new(Sample::default()));
        let error = Table::new(mounts, &process(), &Limits::default()).unwrap_err();
        assert_eq!(error.code(), 409);
        assert!(error.detail().contains("`Sample` and `Sample`"), "{error}");
        assert!(error.detail().contains("sample.Sample.Echo"), "{error}");
    }

    #[test]
    fn a_wrong_name_gets_the_nearest_and_the_list() {
        let error = table().missing("/sample/sample.ecko", true);
        assert_eq!(error.code(), 404);
        assert!(error.detail().contains("did you mean sample/Sample.Echo?"), "{error}");
        assert!(error.detail().contains("sample/Sample.Count"), "{error}");
    }

    #[test]
    fn strangers_learn_only_what_is_public() {
        let error = table().missing("/sample/Sample.Open", false);
        assert!(error.detail().contains("sample/Sample.Public"), "{error}");
        assert!(!error.detail().contains("Sample.Echo"), "{error}");
    }

    #[test]
    fn a_slot_is_given_back_once() {
        let process = process();
        let mut mounts = Mounts::default();
        mounts.add(Arc::new(Sample::default()));
        let mut limits = Limits::default();
        limits.call.in_flight_per_endpoint_max = Some(1);
        let table = Table::new(mounts, &process, &limits).unwrap();
        let entry = table.entry(table.find("/sample/Sample.Echo").unwrap()).unwrap();
        let now = crate::core::clock::now();
        let slot = entry.enter(now, None).unwrap();
        assert_eq!(entry.enter(now, None).unwrap_err(), Refused::Full);
        assert_eq!(process.gate.len(), 1);
        drop(slot);
        assert_eq!(process.gate.len(), 0);
        assert!(entry.enter(now, None).is_ok());
    }
    #[test]
    fn an_endpoint_is_entered_as_often_as_its_limit_says() {
        for tries in [3, 4, 30] {
            let process = process();
            let mut mounts = Mounts::default();
            mounts.add(Arc::new(Sample::default()));
            let mut limits = Limits::default();
            limits.call.in_flight_per_endpoint_max = Some(3);
            let table = Table::new(mounts, &process, &limits).unwrap();
            let entry = table.entry(table.find("/sample/Sample.Echo").unwrap()).unwrap();
            let now = crate::core::clock::now();
            let slots: Vec<_> = (0..tries).map(|_| entry.enter(now, None)).collect();
            assert_eq!(slots.iter().filter(|slot| slot.is_ok()).count(), 3, "{tries}");
        }
    }
}
