//! A reader of a watch that keeps the state which the events add up to.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::clock;
use crate::registry::Event;
use crate::registry::Record;
use crate::registry::Registry;
use crate::registry::Watch;
use crate::testkit::registry::Subject;
use crate::testkit::registry::Verdict;
use crate::testkit::registry::ensure;
use crate::testkit::registry::must;

/// Follows one service or all.
pub(super) struct Follower {
    registry: Arc<dyn Registry>,
    service: Option<String>,
    watch: Watch,
    /// The single-node records by service and node.
    pub(super) state: BTreeMap<(String, String), Record>,
    /// Updates and removals seen, in order.
    pub(super) log: Vec<String>,
}

impl Follower {
    /// Opens a watch and takes its first event, which must be the state.
    pub(super) async fn start(
        registry: &Arc<dyn Registry>,
        service: Option<&str>,
        subject: &Subject,
    ) -> Result<Self, String> {
        let watch = must("watch", registry.watch(service).await)?;
        let mut follower = Self {
            registry: Arc::clone(registry),
            service: service.map(str::to_owned),
            watch,
            state: BTreeMap::new(),
            log: Vec::new(),
        };
        follower.take_reset(subject).await?;
        Ok(follower)
    }

    /// Reads until the state satisfies `wanted`.
    pub(super) async fn until(
        &mut self,
        subject: &Subject,
        what: &str,
        wanted: impl Fn(&BTreeMap<(String, String), Record>) -> bool,
    ) -> Verdict {
        let deadline = clock::after(clock::now(), subject.patience);
        while !wanted(&self.state) {
            match clock::timeout_at(deadline, self.watch.next()).await {
                Ok(Some(event)) => self.apply(event)?,
                Ok(None) => {
                    // Whoever is too slow is ended and starts again from the state.
                    let watch = self.registry.watch(self.service.as_deref()).await;
                    self.watch = must("watching again", watch)?;
                    self.take_reset(subject).await?;
                }
                Err(_elapsed) => {
                    let nodes: Vec<&String> = self.state.keys().map(|(_, node)| node).collect();
                    return Err(format!("the watch never showed {what}, but {nodes:?}"));
                }
            }
        }
        Ok(())
    }

    async fn take_reset(&mut self, subject: &Subject) -> Verdict {
        let first = clock::timeout(subject.patience, self.watch.next()).await;
        match first {
            Ok(Some(event @ Event::Reset(_))) => self.apply(event),
            other => Err(format!("the first event is not the state but {other:?}")),
        }
    }

    fn apply(&mut self, event: Event) -> Verdict {
        match event {
            Event::Reset(records) => {
                self.state.clear();
                for record in records.iter().flat_map(Record::split) {
                    self.put(record)?;
                }
                Ok(())
            }
            Event::Update(record) => {
                ensure(record.nodes.len() == 1, || {
                    format!("an update holds {} nodes", record.nodes.len())
                })?;
                self.log.extend(record.nodes.iter().map(|node| format!("+{}", node.id)));
                self.put(record)
            }
            Event::Remove { service, node } => {
                self.check_service(&service)?;
                self.log.push(format!("-{node}"));
                self.state.remove(&(service, node));
                Ok(())
            }
        }
    }

    fn put(&mut self, record: Record) -> Verdict {
        self.check_service(&record.name)?;
        let id = record.nodes.first().map(|node| node.id.clone()).unwrap_or_default();
        self.state.insert((record.name.clone(), id), record);
        Ok(())
    }

    fn check_service(&self, service: &str) -> Verdict {
        let wanted = self.service.as_deref().is_none_or(|wanted| wanted == service);
        ensure(wanted, || format!("a watch of {:?} tells of {service}", self.service))
    }
}
