//! A registry on a board that everybody reads and writes, and looks at now and then.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use micro::core::clock::{self, Instant};
use micro::core::future::BoxFuture;
use micro::core::limits::RegistryLimits;
use micro::prelude::*;
use micro::registry::{Capabilities, Event, Record, Registry, Watch, check, own_node};
use micro::testkit::registry::{Subject, conformance};
use tokio::sync::mpsc;

/// How often a watch looks.
const PERIOD: Duration = Duration::from_millis(50);

/// Changes that a watch holds for its reader.
const EVENTS_MAX: usize = 1024;

/// Each node as its owner wrote it, and until when, by service and id.
type Notes = BTreeMap<(String, String), (Record, Instant)>;

#[derive(Clone, Default)]
struct Board {
    notes: Arc<Mutex<Notes>>,
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Board")
    }
}

impl Board {
    /// The notes that are still good.
    fn notes(&self) -> MutexGuard<'_, Notes> {
        let mut notes = self.notes.lock().unwrap();
        let now = clock::now();
        notes.retain(|_, (_, until)| *until > now);
        notes
    }

    /// What a watch of a service sees, by service and id.
    fn seen(&self, service: Option<&str>) -> BTreeMap<(String, String), Record> {
        let notes = self.notes();
        let wanted = notes.iter().filter(|((name, _), _)| service.is_none_or(|only| only == name));
        wanted.map(|(key, (record, _))| (key.clone(), record.clone())).collect()
    }
}

impl Registry for Board {
    fn name(&self) -> &'static str {
        "board"
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = micro::registry::Memory::new().capabilities();
        can.propagation = PERIOD;
        can
    }

    fn register<'a>(&'a self, record: &'a Record, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let node = check(record, ttl, &RegistryLimits::default())?;
            let key = (record.name.clone(), node.id.clone());
            self.notes().insert(key, (record.clone(), clock::after(clock::now(), ttl)));
            Ok(())
        })
    }

    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let node = own_node(record)?;
            let key = (record.name.clone(), node.id.clone());
            let mut notes = self.notes();
            // A twin at another address stays.
            if notes.get(&key).is_some_and(|(known, _)| known.nodes[0].address == node.address) {
                notes.remove(&key);
            }
            Ok(())
        })
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        Box::pin(async move {
            let records = Record::merge(self.seen(Some(service)).into_values());
            Ok((!records.is_empty()).then_some(records))
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async move {
            let mut names: Vec<_> = self.notes().keys().map(|(name, _)| name.clone()).collect();
            names.dedup();
            Ok(names)
        })
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        let (board, service) = (self.clone(), service.map(str::to_owned));
        Box::pin(async move {
            let (sender, events) = mpsc::channel(EVENTS_MAX);
            let mut known = board.seen(service.as_deref());
            let all = Record::merge(known.values().cloned());
            sender.try_send(Event::Reset(all)).unwrap();
            let driver = async move {
                loop {
                    clock::sleep(PERIOD).await;
                    let seen = board.seen(service.as_deref());
                    let gone = known.keys().filter(|key| !seen.contains_key(*key));
                    let gone = gone.cloned().map(|(service, node)| Event::Remove { service, node });
                    let came = seen.iter().filter(|(key, record)| known.get(*key) != Some(*record));
                    let came = came.map(|(_, record)| Event::Update(record.clone()));
                    for event in gone.chain(came).collect::<Vec<_>>() {
                        // Nobody may fall behind: a watch that is full ends.
                        if sender.try_send(event).is_err() {
                            return;
                        }
                    }
                    known = seen;
                }
            };
            Ok(Watch::driven(events, (), driver))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_from_outside_conforms() {
    let make = async || {
        let board = Board::default();
        Subject::new(Arc::new(board.clone()), Arc::new(board))
    };
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

struct Greeter;

#[service(name = "greeter")]
impl Greeter {
    #[handler]
    async fn hello(&self) -> Result<String> {
        Ok("hello".to_owned())
    }
}

#[tokio::test]
async fn services_are_found_on_it() {
    let board = Board::default();
    let service = Service::new("greeter").no_env().registry(board.clone());
    let served = service.mount(Greeter).start().await.unwrap();
    let other = Service::new("caller").no_env().registry(board).start().await.unwrap();
    let greeter: GreeterClient = other.client();
    assert_eq!(greeter.hello().await.unwrap(), "hello");
    served.stop().await;
    other.stop().await;
}
