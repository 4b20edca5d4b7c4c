//! Which endpoint a path of gRPC means.

use std::collections::{HashMap, HashSet};

use crate::core::exchange::Target;
use crate::server::table::Table;

/// The paths of every endpoint, made once.
///
/// `/{service}.{Type}/{Method}` is looked up exactly. Where what stands before the last dot is no
/// mounted service, it is the package of somebody's `.proto` file: the endpoint `Type.Method` is
/// meant, if one service has it.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    exact: HashMap<String, Target>,
    /// By `Type/Method`.
    named: HashMap<String, Named>,
    services: HashSet<String>,
}

#[derive(Debug)]
struct Named {
    target: Target,
    /// The services that have an endpoint of the name.
    services: Vec<String>,
}

/// Why a path means no endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// There is none of the name.
    Unknown,
    /// These services have one each.
    Ambiguous(Vec<String>),
}

impl Paths {
    /// Makes the paths of a table's endpoints.
    pub(crate) fn of(table: &Table) -> Self {
        let mut paths = Self::default();
        for (target, entry) in table.each() {
            let service = entry.callee.service.as_deref().unwrap_or_default();
            let Some((name, method)) = entry.spec.name.rsplit_once('.') else { continue };
            paths.exact.insert(format!("/{service}.{name}/{method}"), target);
            // The inside of the process is there under the name of every service.
            if entry.internal {
                continue;
            }
            paths.services.insert(service.to_owned());
            let named = paths.named.entry(format!("{name}/{method}"));
            let named = named.or_insert_with(|| Named { target, services: Vec::new() });
            named.services.push(service.to_owned());
        }
        paths
    }

    /// Finds the endpoint of a path.
    pub(super) fn find(&self, path: &str) -> Result<Target, Missing> {
        if let Some(target) = self.exact.get(path) {
            return Ok(*target);
        }
        let path = path.strip_prefix('/').unwrap_or(path);
        let (full, method) = path.split_once('/').ok_or(Missing::Unknown)?;
        let (package, name) = full.rsplit_once('.').unwrap_or(("", full));
        if self.services.contains(package) {
            return Err(Missing::Unknown);
        }
        let named = self.named.get(&format!("{name}/{method}")).ok_or(Missing::Unknown)?;
        match named.services.as_slice() {
            [_] => Ok(named.target),
            many => Err(Missing::Ambiguous(many.to_vec())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::descriptor::CallKind;

    fn paths(endpoints: &[(&str, &str)]) -> Paths {
        let mut paths = Paths::default();
        for (index, (service, endpoint)) in (0u32..).zip(endpoints) {
            let target = Target::new(index, CallKind::Unary);
            let (name, method) = endpoint.split_once('.').unwrap();
            paths.exact.insert(format!("/{service}.{name}/{method}"), target);
            paths.services.insert((*service).to_owned());
            let named = paths.named.entry(format!("{name}/{method}"));
            let named = named.or_insert_with(|| Named { target, services: Vec::new() });
            named.services.push((*service).to_owned());
        }
        paths
    }

    #[test]
    fn the_service_before_the_last_dot_wins_and_a_package_is_passed_over() {
        let paths = paths(&[
            ("greeter", "Greeter.Hello"),
            ("go.micro.srv.shop", "Orders.Read"),
            ("a", "Both.Do"),
            ("b", "Both.Do"),
        ]);
        let both = || Missing::Ambiguous(vec!["a".to_owned(), "b".to_owned()]);
        for (path, expected) in [
            ("/greeter.Greeter/Hello", Ok(0)),
            ("/pkg.Greeter/Hello", Ok(0)),
            ("/com.example.v1.Greeter/Hello", Ok(0)),
            ("/Greeter/Hello", Ok(0)),
            ("/go.micro.srv.shop.Orders/Read", Ok(1)),
            ("/shop.v1.Orders/Read", Ok(1)),
            ("/a.Both/Do", Ok(2)),
            ("/b.Both/Do", Ok(3)),
            ("/pkg.Both/Do", Err(both())),
            // `b` is a service, and has no such endpoint.
            ("/b.Greeter/Hello", Err(Missing::Unknown)),
            ("/greeter.Greeter/hello", Err(Missing::Unknown)),
            ("/greeter/Greeter.Hello", Err(Missing::Unknown)),
            ("/", Err(Missing::Unknown)),
            ("", Err(Missing::Unknown)),
        ] {
            let found = paths.find(path).map(|target| target.index);
            assert_eq!(found, expected, "{path}");
        }
    }
}
