//! Accounts, tokens and rules; the certificate authority.

use serde_json::Value;

use crate::world::{Said, World};

fn auth(world: &World, args: &[&str], input: &str) -> Said {
    let file = format!("file://{}", world.path("shop.redb").display());
    world.micro_reading(&[&["auth", "--auth", "jwt", "--store", &file][..], args].concat(), input)
}

/// Makes an account and returns its secret.
fn account(world: &World, id: &str, scope: &str) -> String {
    let made = auth(world, &["generate", id, "--scope", scope, "-m", "team=a"], "").json();
    assert_eq!(
        (&made["id"], &made["scopes"][0], &made["metadata"]["team"]),
        (&id.into(), &scope.into(), &"a".into())
    );
    made["secret"].as_str().unwrap().to_owned()
}

#[test]
fn an_account_gets_tokens_which_end_with_it() {
    let world = World::empty();
    let secret = account(&world, "ada", "staff");
    auth(&world, &["generate", "ada"], "").failed(1);
    // The secret is read from standard input, where no other process sees it.
    let grant = auth(&world, &["token", "ada"], &format!("{secret}\n")).json();
    auth(&world, &["token", "ada", "wrong"], "").failed(1);
    let token = |grant: &Value, kind: &str| grant[kind].as_str().unwrap().to_owned();
    let access = token(&grant, "access_token");
    let whose = auth(&world, &["inspect", &access], "").json();
    assert_eq!((&whose["id"], &whose["scopes"][0]), (&"ada".into(), &"staff".into()));
    let next = auth(&world, &["token", "--refresh", &token(&grant, "refresh_token")], "").json();
    assert!(next["expiry"].as_u64() > Some(0));
    auth(&world, &["remove", "ada"], "").done();
    let text = auth(&world, &["inspect", &access], "").failed(1);
    assert!(text.contains("the credentials are not valid (401,"), "{text}");
}

#[test]
fn rules_are_granted_listed_asked_and_revoked() {
    let world = World::empty();
    let secret = account(&world, "ada", "staff");
    let grant = auth(&world, &["token", "ada", &secret], "").json();
    let access = grant["access_token"].as_str().unwrap();
    let rule = ["--service", "orders", "--endpoint", "Orders.*", "--scope", "staff"];
    auth(&world, &[&["grant", "staff-orders"][..], &rule].concat(), "").done();
    let keep_out = [
        "grant",
        "no-purge",
        "--service",
        "orders",
        "--endpoint",
        "Orders.Purge",
        "--deny",
        "--priority",
        "1",
    ];
    auth(&world, &keep_out, "").done();
    let table = auth(&world, &["list", "--table"], "").done();
    let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["no-purge", "-", "denied", "service", "orders", "Orders.Purge", "1"]);
    assert_eq!(rows[2][..3], ["staff-orders", "staff", "granted"]);

    let verify = |endpoint: &str, token: &[&str]| {
        let args = [&["verify", "--service", "orders", "--endpoint", endpoint][..], token].concat();
        auth(&world, &args, "")
    };
    assert_eq!(verify("Orders.Read", &["--token", access]).json()["access"], "granted");
    assert!(verify("Orders.Purge", &["--token", access]).failed(1).contains("(403,"));
    assert!(verify("Orders.Read", &[]).failed(1).contains("(401,"));
    auth(&world, &["revoke", "staff-orders"], "").done();
    verify("Orders.Read", &["--token", access]).failed(1);
}

#[test]
fn accounts_need_to_be_configured_and_kept() {
    let world = World::empty();
    let file = format!("file://{}", world.path("shop.redb").display());
    let text = world.micro(&["auth", "list", "--store", &file]).failed(1);
    assert!(text.contains("`--auth jwt`") && text.contains("MICRO_AUTH"), "{text}");
    let text = world.micro(&["auth", "list", "--auth", "jwt"]).failed(1);
    assert!(text.contains("MICRO_STORE"), "{text}");
}

#[test]
fn an_authority_is_made_once_and_invites_by_tokens_of_its_hash() {
    let world = World::empty();
    let text = auth(&world, &["join-token", "shop"], "").failed(1);
    assert!(text.contains("authority"), "{text}");
    let made = auth(&world, &["init", "example.org", "--namespace", "prod"], "").json();
    let again = auth(&world, &["init", "example.org", "--namespace", "prod"], "").json();
    assert_eq!(made["hash"], again["hash"], "an authority that is there stays");
    let text = auth(&world, &["init", "example.com"], "").failed(1);
    assert!(text.contains("example.org"), "{text}");
    let joins = ["join-token", "shop", "--scope", "staff", "--host", "localhost", "--life", "5m"];
    let first = auth(&world, &joins, "").json();
    let second = auth(&world, &joins, "").json();
    let token = |made: &Value| made["token"].as_str().unwrap().to_owned();
    assert_ne!(token(&first), token(&second));
    let parsed = micro::auth::authority::JoinToken::parse(&token(&first)).unwrap();
    assert_eq!(parsed.hash, made["hash"].as_str().unwrap());
    auth(&world, &["expel", "shop"], "").done();
}
