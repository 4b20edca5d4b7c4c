//! What every balancing policy must do.

use std::sync::Arc;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::registry::Endpoint;
use crate::registry::Instance;
use crate::selector::Candidates;
use crate::selector::LoadTable;
use crate::selector::Outcome;
use crate::selector::OutlierLimits;
use crate::selector::Pick;
use crate::selector::Selector;

/// Picks of a check: enough to meet every node of a few many times over.
const PICKS: u64 = 2_000;

/// One demand on a policy: its name and a function that panics where a policy falls short.
type Check = (&'static str, fn(&dyn Selector));

const CHECKS: [Check; 13] = [
    ("the name is kebab-case and stays", the_name_is_kebab_case_and_stays),
    ("an empty list has no choice", an_empty_list_has_no_choice),
    ("a single node is used whatever its state", a_single_node_is_used_whatever_its_state),
    ("a single node is still ruled out", a_single_node_is_still_ruled_out),
    ("excluded nodes are never chosen", excluded_nodes_are_never_chosen),
    ("filtered nodes are never chosen", filtered_nodes_are_never_chosen),
    ("nothing is chosen when all are ruled out", nothing_is_chosen_when_all_are_ruled_out),
    ("draining nodes come last", draining_nodes_come_last),
    ("nodes without the endpoint are passed over", nodes_without_the_endpoint_are_passed_over),
    ("ejected nodes are passed over", ejected_nodes_are_passed_over),
    ("ejection is ignored in a panic", ejection_is_ignored_in_a_panic),
    ("no node is left out", no_node_is_left_out),
    ("picks from many threads are in range", picks_from_many_threads_are_in_range),
];

/// Runs the whole suite.
///
/// # Panics
///
/// Panics where the policy falls short; the text says in what.
pub fn conforms(selector: &dyn Selector) {
    for (_, check) in CHECKS {
        check(selector);
    }
}

/// Nodes to choose among.
struct Nodes {
    candidates: Candidates,
    now: Instant,
}

impl Nodes {
    fn new(instances: Vec<Instance>, limits: OutlierLimits) -> Self {
        let now = clock::now();
        let instances: Vec<_> = instances.into_iter().map(Arc::new).collect();
        Self { candidates: LoadTable::new(limits).candidates(&instances, now), now }
    }

    fn plain(count: usize) -> Self {
        Self::new((0..count).map(instance).collect(), OutlierLimits::default())
    }

    fn fail(&self, index: usize) {
        if let Some(candidate) = self.candidates.get(index) {
            candidate.load.start();
            candidate.load.finish(self.now, self.now, Outcome::Unreachable);
        }
    }

    fn request(&self) -> Pick<'static> {
        Pick::new(self.now, "Greeter.Hello")
    }

    /// Returns the nodes chosen in many picks, with a routing key and without one.
    fn chosen(&self, selector: &dyn Selector, request: &Pick<'_>) -> Vec<Arc<Instance>> {
        let mut request = *request;
        let pick = |n: u64| {
            // An odd factor walks the key over all of its range.
            request.key = n.is_multiple_of(2).then(|| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let index = selector.pick(&self.candidates, &request)?;
            let chosen = self.candidates.get(index);
            assert!(chosen.is_some(), "index {index} of {} is out of range", self.candidates.len());
            chosen.map(|candidate| Arc::clone(&candidate.instance))
        };
        (0..PICKS).filter_map(pick).collect()
    }
}

fn instance(number: usize) -> Instance {
    Instance {
        id: format!("node-{number}"),
        service: "greeter".into(),
        version: "1.0.0".into(),
        address: format!("127.0.0.1:{number}"),
        metadata: std::collections::BTreeMap::new(),
        endpoints: Arc::new([]),
        draining: false,
    }
}

fn the_name_is_kebab_case_and_stays(selector: &dyn Selector) {
    let name = selector.name();
    assert!(!name.is_empty(), "the name is empty");
    let is_kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    assert!(name.chars().all(is_kebab), "{name:?} is not kebab-case");
    assert_eq!(name, selector.name(), "the name changes");
}

fn an_empty_list_has_no_choice(selector: &dyn Selector) {
    let nodes = Nodes::plain(0);
    assert!(nodes.chosen(selector, &nodes.request()).is_empty(), "a choice among none");
}

fn a_single_node_is_used_whatever_its_state(selector: &dyn Selector) {
    for draining in [false, true] {
        let only = Instance { draining, ..instance(0) };
        let nodes = Nodes::new(vec![only], OutlierLimits::default());
        nodes.fail(0);
        let chosen = nodes.chosen(selector, &nodes.request());
        assert!(!chosen.is_empty(), "the only node is not used (draining: {draining})");
    }
}

fn a_single_node_is_still_ruled_out(selector: &dyn Selector) {
    let nodes = Nodes::plain(1);
    let excluded = [Arc::new(instance(0))];
    let mut request = nodes.request();
    request.excluded = &excluded;
    assert!(nodes.chosen(selector, &request).is_empty(), "the only node failed and is chosen");
    let filter = |_: &Instance| false;
    let mut request = nodes.request();
    request.filter = Some(&filter);
    assert!(nodes.chosen(selector, &request).is_empty(), "the only node is filtered and chosen");
}

fn excluded_nodes_are_never_chosen(selector: &dyn Selector) {
    let nodes = Nodes::plain(4);
    let excluded = [Arc::new(instance(0)), Arc::new(instance(2))];
    let mut request = nodes.request();
    request.excluded = &excluded;
    let chosen = nodes.chosen(selector, &request);
    assert!(!chosen.is_empty(), "two of four are left and none is chosen");
    let failed = chosen.iter().find(|node| excluded.iter().any(|failed| failed.id == node.id));
    assert!(failed.is_none(), "{failed:?} failed this call and is chosen again");
}

fn filtered_nodes_are_never_chosen(selector: &dyn Selector) {
    let nodes = Nodes::plain(5);
    let filter = |node: &Instance| node.id == "node-3";
    let mut request = nodes.request();
    request.filter = Some(&filter);
    let chosen = nodes.chosen(selector, &request);
    assert!(!chosen.is_empty(), "one of five passes and none is chosen");
    assert!(chosen.iter().all(|node| filter(node)), "a filtered node is chosen");
}

fn nothing_is_chosen_when_all_are_ruled_out(selector: &dyn Selector) {
    let nodes = Nodes::plain(3);
    let excluded = [Arc::new(instance(0)), Arc::new(instance(1))];
    let filter = |node: &Instance| node.id != "node-2";
    let mut request = nodes.request();
    request.excluded = &excluded;
    request.filter = Some(&filter);
    let chosen = nodes.chosen(selector, &request);
    assert!(chosen.is_empty(), "{:?} is ruled out and chosen", chosen.first());
}

fn draining_nodes_come_last(selector: &dyn Selector) {
    let draining = |number| Instance { draining: true, ..instance(number) };
    let all = vec![draining(0), instance(1), draining(2)];
    let nodes = Nodes::new(all, OutlierLimits::default());
    let chosen = nodes.chosen(selector, &nodes.request());
    assert!(!chosen.is_empty(), "one of three is not draining and none is chosen");
    assert!(chosen.iter().all(|node| !node.draining), "a draining node is chosen beside another");
    let excluded = [Arc::new(instance(1))];
    let mut request = nodes.request();
    request.excluded = &excluded;
    let chosen = nodes.chosen(selector, &request);
    assert!(!chosen.is_empty(), "only draining nodes are left and none is chosen");
}

fn nodes_without_the_endpoint_are_passed_over(selector: &dyn Selector) {
    let listing = |number, names: &[&str]| {
        let endpoint = |name: &&str| Endpoint { name: (*name).into(), ..Endpoint::default() };
        Instance { endpoints: names.iter().map(endpoint).collect(), ..instance(number) }
    };
    let both = ["Greeter.Hello", "Greeter.Bye"];
    let all = vec![listing(0, &both[1..]), listing(1, &both), listing(2, &both[1..])];
    let nodes = Nodes::new(all, OutlierLimits::default());
    let chosen = nodes.chosen(selector, &nodes.request());
    assert!(!chosen.is_empty(), "one of three has the endpoint and none is chosen");
    let lacks = chosen.iter().find(|node| node.id != "node-1");
    assert!(lacks.is_none(), "{lacks:?} lacks the endpoint and is chosen");
}

fn ejected_nodes_are_passed_over(selector: &dyn Selector) {
    let nodes = Nodes::plain(5);
    nodes.fail(2);
    let chosen = nodes.chosen(selector, &nodes.request());
    assert!(!chosen.is_empty(), "one of five is ejected and none is chosen");
    assert!(chosen.iter().all(|node| node.id != "node-2"), "an ejected node is chosen");
}

fn ejection_is_ignored_in_a_panic(selector: &dyn Selector) {
    let limits = OutlierLimits { ejected_percent_max: 100, ..OutlierLimits::default() };
    let nodes = Nodes::new((0..10).map(instance).collect(), limits);
    for index in 0..6 {
        nodes.fail(index);
    }
    let chosen = nodes.chosen(selector, &nodes.request());
    let is_ejected = |node: &Instance| {
        nodes.candidates.iter().any(|candidate| {
            candidate.instance.id == node.id && candidate.load.is_ejected(nodes.now)
        })
    };
    assert!(chosen.iter().any(|node| is_ejected(node)), "six of ten are out and none is used");
}

fn no_node_is_left_out(selector: &dyn Selector) {
    let nodes = Nodes::plain(7);
    let chosen = nodes.chosen(selector, &nodes.request());
    for candidate in &nodes.candidates {
        let id = &candidate.instance.id;
        assert!(chosen.iter().any(|node| node.id == *id), "{id} is never chosen");
    }
}

fn picks_from_many_threads_are_in_range(selector: &dyn Selector) {
    let nodes = Nodes::plain(3);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for index in 0..3 {
                    let chosen = nodes.chosen(selector, &nodes.request());
                    assert!(!chosen.is_empty(), "nothing is chosen in round {index}");
                    std::thread::yield_now();
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::panic::catch_unwind;

    use super::*;
    use crate::selector::by_name;

    #[test]
    fn every_policy_conforms() {
        for name in ["p2c", "random", "round-robin", "least-connections", "consistent-hash"] {
            conforms(&*by_name(name).expect("known"));
        }
    }

    /// A policy with one fault, written without the help that policies have.
    #[derive(Debug)]
    enum Broken {
        Nothing,
        NameShouts,
        ChoosesAmongNone,
        DropsTheLastEjected,
        TrustsASingleNode,
        ForgetsExclusions,
        ForgetsFilters,
        ChoosesThoughAllAreOut,
        PrefersNobodyOverDraining,
        TreatsDrainingAlike,
        ForgetsEndpoints,
        ForgetsEjections,
        NeverPanics,
        AlwaysTheFirst,
        OutOfRange,
    }

    impl Broken {
        fn is(&self, other: &Self) -> bool {
            std::mem::discriminant(self) == std::mem::discriminant(other)
        }

        fn hard(&self, candidates: &Candidates, request: &Pick<'_>) -> Vec<usize> {
            let lists = |i: &Instance| i.endpoints.iter().any(|e| e.name == request.endpoint);
            let any_lists = candidates.iter().any(|c| lists(&c.instance));
            let single = candidates.len() == 1 && self.is(&Self::TrustsASingleNode);
            let open = |i: &Instance| {
                let excluded = request.excluded.iter().any(|failed| failed.id == i.id);
                let filtered = request.filter.is_some_and(|filter| !filter(i));
                let lacks = any_lists && !i.endpoints.is_empty() && !lists(i);
                single
                    || (!excluded || self.is(&Self::ForgetsExclusions))
                        && (!filtered || self.is(&Self::ForgetsFilters))
                        && (!lacks || self.is(&Self::ForgetsEndpoints))
            };
            let all = candidates.iter().enumerate();
            all.filter(|(_, c)| open(&c.instance)).map(|(index, _)| index).collect()
        }

        fn soft(&self, candidates: &Candidates, now: Instant, hard: Vec<usize>) -> Vec<usize> {
            let get = |index: &usize| candidates.get(*index).expect("in range");
            let ejected = candidates.iter().filter(|c| c.load.is_ejected(now)).count();
            let panics = ejected * 2 > candidates.len() && !self.is(&Self::NeverPanics);
            let ready: Vec<_> =
                hard.iter().copied().filter(|index| !get(index).instance.draining).collect();
            let standing: Vec<_> =
                ready.iter().copied().filter(|i| !get(i).load.is_ejected(now)).collect();
            let spares_ejected = !panics && !self.is(&Self::ForgetsEjections);
            match () {
                () if self.is(&Self::TreatsDrainingAlike) => hard,
                () if self.is(&Self::DropsTheLastEjected) => standing,
                () if spares_ejected && !standing.is_empty() => standing,
                () if !ready.is_empty() || self.is(&Self::PrefersNobodyOverDraining) => ready,
                () => hard,
            }
        }
    }

    impl Selector for Broken {
        fn name(&self) -> &'static str {
            if self.is(&Self::NameShouts) { "Broken!" } else { "broken" }
        }

        fn pick(&self, candidates: &Candidates, request: &Pick<'_>) -> Option<usize> {
            if candidates.is_empty() && self.is(&Self::ChoosesAmongNone) {
                return Some(0);
            }
            let open = self.soft(candidates, request.now, self.hard(candidates, request));
            let draw = if self.is(&Self::AlwaysTheFirst) { 0 } else { fastrand::usize(..) };
            match open.len() {
                0 if self.is(&Self::ChoosesThoughAllAreOut) && candidates.len() > 1 => Some(0),
                0 => None,
                _ if self.is(&Self::OutOfRange) => Some(draw % (candidates.len() + 1)),
                count => Some(open[draw % count]),
            }
        }
    }

    /// Returns the checks that the policy fails.
    fn failed(selector: &dyn Selector) -> Vec<&'static str> {
        let fails =
            |check: fn(&dyn Selector)| catch_unwind(AssertUnwindSafe(|| check(selector))).is_err();
        CHECKS.iter().filter(|(_, check)| fails(*check)).map(|(name, _)| *name).collect()
    }

    #[test]
    fn each_broken_policy_fails_the_check_for_its_fault() {
        let nothing: &[&str] = &[];
        assert_eq!(failed(&Broken::Nothing), nothing, "the yardstick itself is sound");
        let faults = [
            (Broken::NameShouts, "the name is kebab-case and stays"),
            (Broken::ChoosesAmongNone, "an empty list has no choice"),
            (Broken::DropsTheLastEjected, "a single node is used whatever its state"),
            (Broken::TrustsASingleNode, "a single node is still ruled out"),
            (Broken::ForgetsExclusions, "excluded nodes are never chosen"),
            (Broken::ForgetsFilters, "filtered nodes are never chosen"),
            (Broken::ChoosesThoughAllAreOut, "nothing is chosen when all are ruled out"),
            (Broken::PrefersNobodyOverDraining, "draining nodes come last"),
            (Broken::TreatsDrainingAlike, "draining nodes come last"),
            (Broken::ForgetsEndpoints, "nodes without the endpoint are passed over"),
            (Broken::ForgetsEjections, "ejected nodes are passed over"),
            (Broken::NeverPanics, "ejection is ignored in a panic"),
            (Broken::AlwaysTheFirst, "no node is left out"),
            (Broken::OutOfRange, "no node is left out"),
        ];
        for (fault, check) in faults {
            let failed = failed(&fault);
            assert!(failed.contains(&check), "{fault:?} fails {failed:?}");
        }
    }
}
