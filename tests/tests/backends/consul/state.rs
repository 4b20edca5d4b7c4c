//! What a stand-in of Consul keeps: services with their checks, keys, and the index of changes.

use std::collections::BTreeMap;
use std::time::Duration;

use micro::core::clock::{self, Instant};
use serde_json::{Value, json};

/// The name of the one node of the stand-in.
const NODE: &str = "foobar";
/// The address of that node.
const NODE_ADDRESS: &str = "10.1.10.12";

/// A service of the agent, as it was registered.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) definition: Value,
    check: Option<Check>,
    index: u64,
}

/// A check that passes as long as somebody says so within a time.
#[derive(Debug)]
struct Check {
    ttl: Duration,
    passing_until: Instant,
    status: String,
    removed_after: Option<Duration>,
    critical_since: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) index: u64,
    pub(super) services: BTreeMap<String, Service>,
    pub(super) keys: BTreeMap<String, (Vec<u8>, u64)>,
}

/// Reads a duration as Go writes one: `15s`, `1m5s`, `800ms`.
pub(super) fn span(text: &str) -> Option<Duration> {
    let (mut total, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += Duration::from_secs_f64(number.parse::<f64>().ok()? * seconds);
        rest = after;
    }
    (total > Duration::ZERO).then_some(total)
}

impl State {
    pub(super) fn new() -> Self {
        Self { index: 10, ..Self::default() }
    }

    fn touch(&mut self) -> u64 {
        self.index += 1;
        self.index
    }

    /// Registers a service; the answer's text where it is refused.
    pub(super) fn register(&mut self, definition: Value) -> Result<(), String> {
        let name = definition["Name"].as_str().unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err("Missing service name".to_owned());
        }
        let meta = definition["Meta"].as_object().cloned().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let fits = |(key, value): (&String, &Value)| {
            let value = value.as_str().unwrap_or_default();
            key.len() <= 128 && key.chars().all(plain) && value.len() <= 512
        };
        if meta.len() > 64 || !meta.iter().all(fits) {
            return Err("Invalid Service Meta".to_owned());
        }
        let check = match &definition["Check"] {
            Value::Null => None,
            check => {
                let ttl = check["TTL"].as_str().and_then(span).ok_or("Invalid check: no TTL")?;
                let removed = &check["DeregisterCriticalServiceAfter"];
                let status = check["Status"].as_str().unwrap_or("critical").to_owned();
                let now = clock::now();
                Some(Check {
                    ttl,
                    passing_until: now + ttl,
                    critical_since: (status == "critical").then_some(now),
                    status,
                    // No less than a minute, whatever is asked for.
                    removed_after: removed
                        .as_str()
                        .and_then(span)
                        .map(|after| after.max(Duration::from_secs(60))),
                })
            }
        };
        let id = definition["ID"].as_str().filter(|id| !id.is_empty()).unwrap_or(&name).to_owned();
        let is_same = self.services.get(&id).is_some_and(|known| {
            let status = |check: &Option<Check>| check.as_ref().map(|check| check.status.clone());
            known.definition == definition && status(&known.check) == status(&check)
        });
        // The catalog does not change by what it has.
        let index = if is_same { self.services[&id].index } else { self.touch() };
        self.services.insert(id, Service { definition, check, index });
        Ok(())
    }

    pub(super) fn deregister(&mut self, id: &str) -> bool {
        let is_known = self.services.remove(id).is_some();
        if is_known {
            self.touch();
        }
        is_known
    }

    /// Lets the check `service:ID` pass.
    pub(super) fn pass(&mut self, check: &str) -> bool {
        let Some(id) = check.strip_prefix("service:") else { return false };
        let index = self.index + 1;
        let Some(service) = self.services.get_mut(id) else { return false };
        let Some(check) = &mut service.check else { return false };
        check.passing_until = clock::now() + check.ttl;
        check.critical_since = None;
        if check.status != "passing" {
            check.status = "passing".to_owned();
            service.index = index;
            self.index = index;
        }
        true
    }

    /// Lets checks fail whose time is over; returns when the next one's is.
    pub(super) fn expire(&mut self) -> Option<Instant> {
        let now = clock::now();
        let mut index = self.index;
        for service in self.services.values_mut() {
            let Some(check) = &mut service.check else { continue };
            if check.status != "critical" && check.passing_until <= now {
                check.status = "critical".to_owned();
                check.critical_since = Some(now);
                index += 1;
                service.index = index;
            }
        }
        let before = self.services.len();
        self.services.retain(|_, service| {
            let check = service.check.as_ref();
            let since = check.and_then(|check| check.critical_since.zip(check.removed_after));
            since.is_none_or(|(since, after)| since + after > now)
        });
        self.index = index + u64::from(before != self.services.len());
        let alive = self.services.values().filter_map(|service| service.check.as_ref());
        alive.filter(|check| check.status != "critical").map(|check| check.passing_until).min()
    }

    /// The agent's own view of a service.
    pub(super) fn service(&self, id: &str) -> Option<Value> {
        let definition = &self.services.get(id)?.definition;
        Some(json!({
            "Kind": "", "ID": id, "Service": definition["Name"], "Tags": definition["Tags"],
            "Meta": definition["Meta"], "Port": definition["Port"],
            "Address": definition["Address"], "Weights": {"Passing": 1, "Warning": 1},
            "EnableTagOverride": false, "ContentHash": "4ecd29c7bc647ca8", "Datacenter": "dc1",
        }))
    }

    fn checks(&self, id: &str) -> Vec<Value> {
        let host = json!({
            "Node": NODE, "CheckID": "serfHealth", "Name": "Serf Health Status",
            "Status": "passing", "Notes": "", "Output": "Agent alive and reachable",
            "ServiceID": "", "ServiceName": "", "ServiceTags": [], "ModifyIndex": 5,
        });
        let service = self.services.get(id).and_then(|service| {
            let check = service.check.as_ref()?;
            Some(json!({
                "Node": NODE, "CheckID": format!("service:{id}"), "Status": check.status,
                "Name": "Service check", "Notes": "", "Output": "", "ServiceID": id,
                "ServiceName": service.definition["Name"],
                "ServiceTags": service.definition["Tags"], "ModifyIndex": service.index,
            }))
        });
        std::iter::once(host).chain(service).collect()
    }

    /// The answer of `/v1/health/service/NAME`.
    pub(super) fn health(&self, name: &str) -> Value {
        let named = self.services.iter().filter(|(_, known)| known.definition["Name"] == name);
        let entries = named.map(|(id, _)| {
            json!({
                "Node": {
                    "ID": "40e4a748-2192-161a-0510-9bf59fe950b5", "Node": NODE,
                    "Address": NODE_ADDRESS, "Datacenter": "dc1", "Meta": {},
                },
                "Service": self.service(id), "Checks": self.checks(id),
            })
        });
        entries.collect()
    }

    /// The answer of `/v1/health/state/any`.
    pub(super) fn all_checks(&self) -> Value {
        let host = self.checks("").into_iter();
        host.chain(self.services.keys().flat_map(|id| self.checks(id).into_iter().skip(1)))
            .collect()
    }

    pub(super) fn put(&mut self, key: &str, value: &[u8]) {
        let index = self.touch();
        self.keys.insert(key.to_owned(), (value.to_vec(), index));
    }

    pub(super) fn remove(&mut self, key: &str) {
        if self.keys.remove(key).is_some() {
            self.touch();
        }
    }
}
