//! Demands on a node, to be given to one call.
//!
//! A filter is a closure over an [`Instance`], so that those below combine with each other and with
//! closures of one's own.
//!
//! ```
//! # use micro::selector::filter;
//! let blue_here = filter::and(filter::zone("eu-1"), filter::label("color", "blue"));
//! let not_old = filter::not(filter::version("1.0.0"));
//! let either = filter::or(blue_here, not_old);
//! # let _ = either;
//! ```

use crate::registry::Instance;

/// Passes nodes whose metadata has `key` with exactly this `value`.
pub fn label(
    key: impl Into<String>,
    value: impl Into<String>,
) -> impl Fn(&Instance) -> bool + Clone + Send + Sync + 'static {
    let (key, value) = (key.into(), value.into());
    move |node| node.metadata.get(&key).is_some_and(|found| *found == value)
}

/// Passes nodes whose metadata has `zone` with exactly this value.
pub fn zone(zone: impl Into<String>) -> impl Fn(&Instance) -> bool + Clone + Send + Sync + 'static {
    label("zone", zone)
}

/// Passes nodes that run exactly this version of the service.
pub fn version(
    version: impl Into<String>,
) -> impl Fn(&Instance) -> bool + Clone + Send + Sync + 'static {
    let version = version.into();
    move |node| *node.version == *version
}

/// Passes nodes that list this endpoint, such as `Greeter.Hello`, and nodes that list none at all.
pub fn endpoint(
    name: impl Into<String>,
) -> impl Fn(&Instance) -> bool + Clone + Send + Sync + 'static {
    let name = name.into();
    move |node| node.endpoints.is_empty() || node.endpoints.iter().any(|e| e.name == name)
}

/// Passes the node with this id.
pub fn node(id: impl Into<String>) -> impl Fn(&Instance) -> bool + Clone + Send + Sync + 'static {
    let id = id.into();
    move |node| node.id == id
}

/// Passes nodes that both filters pass.
pub fn and(
    a: impl Fn(&Instance) -> bool + Clone + Send + Sync + 'static,
    b: impl Fn(&Instance) -> bool + Clone + Send + Sync + 'static,
) -> impl Fn(&Instance) -> bool + Clone + Send + Sync + 'static {
    move |node| a(node) && b(node)
}

/// Passes nodes that at least one of the filters passes.
pub fn or(
    a: impl Fn(&Instance) -> bool + Clone + Send + Sync + 'static,
    b: impl Fn(&Instance) -> bool + Clone + Send + Sync + 'static,
) -> impl Fn(&Instance) -> bool + Clone + Send + Sync + 'static {
    move |node| a(node) || b(node)
}

/// Passes nodes that the filter does not pass.
pub fn not(
    filter: impl Fn(&Instance) -> bool + Clone + Send + Sync + 'static,
) -> impl Fn(&Instance) -> bool + Clone + Send + Sync + 'static {
    move |node| !filter(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::Pick;
    use crate::selector::Random;
    use crate::selector::fixture::Nodes;
    use crate::selector::fixture::instance;
    use crate::selector::fixture::with_endpoints;

    fn blue() -> Instance {
        let mut node = with_endpoints("blue-1", &["Greeter.Hello"]);
        node.version = "2.0.0".into();
        node.metadata.insert("color".into(), "blue".into());
        node.metadata.insert("zone".into(), "eu-1".into());
        node
    }

    #[test]
    fn each_filter_asks_for_exactly_what_it_says() {
        let node = blue();
        assert!(label("color", "blue")(&node) && !label("color", "blu")(&node));
        assert!(!label("size", "blue")(&node));
        assert!(zone("eu-1")(&node) && !zone("eu-2")(&node));
        assert!(version("2.0.0")(&node) && !version("2.0")(&node));
        assert!(endpoint("Greeter.Hello")(&node) && !endpoint("Greeter.Bye")(&node));
        assert!(endpoint("Greeter.Bye")(&instance("lists nothing")));
        assert!(super::node("blue-1")(&node) && !super::node("blue-2")(&node));
    }

    #[test]
    fn filters_combine() {
        let (yes, no) = (zone("eu-1"), zone("eu-2"));
        let node = blue();
        assert!(and(yes.clone(), yes.clone())(&node) && !and(yes.clone(), no.clone())(&node));
        assert!(or(no.clone(), yes.clone())(&node) && !or(no.clone(), no.clone())(&node));
        assert!(not(no)(&node) && !not(yes)(&node));
    }

    #[test]
    fn a_filter_rules_out_nodes_and_possibly_all() {
        let nodes = Nodes::of(vec![instance("a").into(), blue().into(), instance("c").into()]);
        let (here, nowhere) = (zone("eu-1"), zone("mars"));
        let mut request = Pick::new(nodes.now(), "Greeter.Hello");
        request.filter = Some(&here);
        assert_eq!(nodes.tally_for(&Random::new(), 100, &request), [0, 100, 0]);
        request.filter = Some(&nowhere);
        assert_eq!(nodes.tally_for(&Random::new(), 100, &request), [0, 0, 0]);
    }
}
