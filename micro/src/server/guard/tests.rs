//! Who is admitted, for every mixture of accounts, rules, tokens, places and endpoints.

use super::*;
use crate::auth::{Deny, Rule, Rules, decide};
use crate::core::descriptor::EndpointSpec;
use crate::core::future::BoxFuture;
use crate::core::metadata::Metadata;
use crate::core::proven::Proven;
use crate::server::testing::{Two, spec};

#[derive(Debug)]
struct Fixed(Vec<Rule>);

impl Rules for Fixed {
    fn name(&self) -> &'static str {
        "fixed"
    }

    fn verify(&self, principal: Principal<'_>, resource: &Resource) -> Decision {
        decide(&self.0, principal, resource)
    }

    fn grant<'a>(&'a self, _: &'a Rule) -> BoxFuture<'a, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn revoke<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Rule>>> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }
}

fn ask(auth: &Handle, header: &str, off_host: bool, spec: Option<EndpointSpec>, path: &str) -> u16 {
    let spec: Option<&'static EndpointSpec> = spec.map(|spec| &*Box::leak(Box::new(spec)));
    let mut headers = Metadata::new();
    if !header.is_empty() {
        headers.insert(AUTHORIZATION, header).unwrap();
    }
    let access = Access {
        endpoint: spec.map_or("", |_| "shop.Orders.Read"),
        spec,
        method: "GET",
        path,
        headers: &headers,
        remote: "",
        off_host,
        proven: &Proven::Nobody,
    };
    let rule = crate::server::policy::Rule::Asked(Arc::new(Guard::new(auth.clone())));
    rule.admit(&access).map_or_else(|error| error.code(), |_| 200)
}

fn call(auth: &Handle, header: &str, off_host: bool) -> u16 {
    ask(auth, header, off_host, Some(spec("Orders.Read")), "")
}

#[test]
fn a09_every_mixture_of_accounts_rules_and_tokens_is_decided() {
    let rules = || Fixed(vec![Rule::grant("r", "staff", Resource::service("shop", "Orders.*"))]);
    let (deny, two) = (Handle::new(Deny), Handle::new(Two::default()));
    for (auth, header, off_host, local) in [
        (&deny, "", 401, 200),
        (&deny, "Bearer staff", 401, 401),
        (&deny.clone().with_rules(rules()), "", 401, 401),
        (&deny.clone().with_rules(rules()), "Bearer staff", 401, 401),
        (&two, "", 401, 200),
        (&two, "Bearer staff", 200, 200),
        (&two, "Bearer plain", 200, 200),
        (&two, "Bearer other", 401, 401),
        (&two.clone().with_rules(rules()), "", 401, 401),
        (&two.clone().with_rules(rules()), "Bearer staff", 200, 200),
        (&two.clone().with_rules(rules()), "Bearer plain", 403, 403),
        (&two.clone().with_rules(rules()), "Bearer other", 401, 401),
        (&two.clone().with_rules(Fixed(Vec::new())), "", 401, 200),
        (&two.clone().with_rules(Fixed(Vec::new())), "Bearer plain", 200, 200),
    ] {
        let seen = (call(auth, header, true), call(auth, header, false));
        assert_eq!(seen, (off_host, local), "{auth:?} {header:?}");
    }
}

#[test]
fn a12_public_is_what_the_handler_says_and_not_a_name() {
    let auth =
        Handle::new(Two::default()).with_rules(Fixed(vec![Rule::deny("d", "", Resource::any())]));
    let public = EndpointSpec { public: true, ..spec("Orders.Read") };
    assert_eq!(ask(&auth, "", true, Some(public), ""), 200);
    assert_eq!(ask(&auth, "Bearer plain", true, Some(public), ""), 200);
    assert_eq!(ask(&auth, "Bearer other", true, Some(public), ""), 401);
    assert_eq!(call(&auth, "", true), 401);
    assert_eq!(call(&auth, "Bearer plain", true), 403);
}

#[test]
fn scopes_of_handlers_hold_wherever_the_caller_is_and_whatever_rules_grant() {
    let scoped = EndpointSpec { scopes: Some(&["staff"]), ..spec("Orders.Read") };
    let open =
        Handle::new(Two::default()).with_rules(Fixed(vec![Rule::grant("g", "", Resource::any())]));
    for auth in [Handle::new(Two::default()), open] {
        for (header, code) in [("", 401), ("Bearer plain", 403), ("Bearer staff", 200)] {
            for off_host in [true, false] {
                assert_eq!(ask(&auth, header, off_host, Some(scoped), ""), code, "{header}");
            }
        }
    }
}

#[test]
fn a15_whatever_is_wrong_with_credentials_the_answer_is_one() {
    let guard = Guard::new(Handle::new(Two::default()));
    let answers: Vec<String> = ["Bearer other", "Bearer", "Bearer a b", "Bearer x, Bearer staff"]
        .iter()
        .map(|header| {
            let mut headers = Metadata::new();
            headers.insert(AUTHORIZATION, *header).unwrap();
            let (endpoint, method, path, remote) = ("", "GET", "/", "");
            let off_host = true;
            let access = Access {
                endpoint,
                spec: None,
                method,
                path,
                headers: &headers,
                remote,
                off_host,
                proven: &Proven::Nobody,
            };
            guard.admit(&access).unwrap_err().to_json()
        })
        .collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
}

#[test]
fn schemes_of_others_are_left_to_the_users_own_routes() {
    let auth = Handle::new(Two::default());
    assert_eq!(ask(&auth, "Basic dTpw", false, None, "/page"), 200);
    assert_eq!(ask(&auth, "Basic dTpw", true, None, "/page"), 401);
}

#[test]
fn a11_paths_are_compared_in_one_form() {
    let rules = vec![
        Rule::grant("all", "*", Resource::route("/*")),
        Rule::grant("open", "", Resource::route("/open/*")),
        Rule::deny("admin", "*", Resource::route("/admin/*")),
    ];
    let auth = Handle::new(Two::default()).with_rules(Fixed(rules));
    for (path, anonymous, plain) in [
        ("/page", 401, 200),
        ("/open/x", 200, 200),
        ("/admin/x", 401, 403),
        ("//admin//x", 401, 403),
        ("/%61dmin/x", 401, 403),
        ("/open/../admin/x", 401, 403),
        ("/open/%2e%2e/admin/x", 401, 403),
        ("/open%2fx", 401, 403),
        ("/open/..%5cadmin", 401, 403),
    ] {
        let seen = |header| ask(&auth, header, true, None, path);
        assert_eq!((seen(""), seen("Bearer plain")), (anonymous, plain), "{path}");
    }
}
