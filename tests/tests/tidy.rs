//! Rules of the house that the compiler does not check.

use std::fs;
use std::path::{Path, PathBuf};

/// A module may import from modules of a lower rank only.
const RANKS: [(&str, u8); 16] = [
    ("core", 0),
    ("driver", 1),
    ("codec", 2),
    ("config", 2),
    ("debug", 2),
    ("store", 3),
    ("transport", 3),
    ("registry", 4),
    ("auth", 5),
    ("broker", 5),
    ("selector", 5),
    ("client", 6),
    ("server", 6),
    ("service", 7),
    ("gateway", 8),
    ("testkit", 8),
];

/// Files that only name what others define.
const FACADES: [&str; 3] = ["lib", "prelude", "__private"];

const FILE_LINES_MAX: usize = 500;

/// Where the crate of a vendor may be named: the files of the backends that it is for.
const VENDORS: &[(&str, &[&str])] = &[
    ("async_nats", &["broker/jetstream/", "broker/nats/", "driver/nats/", "transport/nats.rs"]),
    ("aws_lc_rs", &["auth/authority/", "auth/jwt/", "transport/tls/"]),
    ("axum", &["server/", "service/port.rs"]),
    ("bson", &["codec/bson.rs", "codec/mod.rs"]),
    ("chitchat", &["registry/gossip/"]),
    ("ciborium", &["codec/cbor/"]),
    ("ciborium_ll", &["codec/cbor/"]),
    ("clap", &["bin/micro/"]),
    ("clap_complete", &["bin/micro/"]),
    ("comfy_table", &["bin/micro/"]),
    (
        "flate2",
        &[
            "codec/grpc/",
            "registry/packed.rs",
            "server/http/coding/",
            "server/tests/compression.rs",
        ],
    ),
    ("h2", &["transport/grpc/", "transport/http/"]),
    ("hcl", &["config/format/"]),
    ("hickory_proto", &["registry/mdns/"]),
    ("hickory_resolver", &["registry/dns.rs"]),
    ("httparse", &["transport/mucp/"]),
    (
        "hyper",
        &[
            "auth/jwt/url.rs",
            "debug/otlp/",
            "driver/consul/",
            "server/",
            "service/port.rs",
            "transport/grpc/",
            "transport/http/",
            "transport/mucp/",
        ],
    ),
    (
        "hyper_util",
        &[
            "auth/jwt/url.rs",
            "debug/otlp/",
            "driver/consul/",
            "server/",
            "transport/grpc/",
            "transport/http/",
            "transport/mucp/",
        ],
    ),
    ("indicatif", &["bin/micro/"]),
    ("inventory", &["service/catalog.rs", "__private.rs"]),
    ("k8s_openapi", &["registry/kubernetes/"]),
    ("kube", &["registry/kubernetes/"]),
    ("lapin", &["broker/rabbitmq/", "driver/amqp.rs", "transport/rabbitmq.rs"]),
    ("notify", &["config/file/", "registry/local/"]),
    ("pprof", &["debug/sampler.rs"]),
    ("prost", &["codec/grpc/", "codec/proto/", "codec/wire.rs", "driver/etcd/", "server/grpc/"]),
    ("quick_xml", &["config/format/"]),
    ("quinn", &["transport/quic/"]),
    ("rcgen", &["auth/authority/"]),
    ("rdkafka", &["broker/kafka/"]),
    ("redb", &["store/file/"]),
    (
        "redis",
        &[
            "broker/redis/",
            "broker/redis_pubsub/",
            "driver/redis/",
            "service/remote/",
            "registry/redis/",
            "store/redis/",
        ],
    ),
    ("rmp_serde", &["codec/msgpack.rs", "testkit/codec/"]),
    ("rustix", &["debug/output.rs"]),
    ("rustls", &["transport/quic/config.rs", "transport/tls/"]),
    ("schemars", &["service/schema.rs"]),
    ("serde_saphyr", &["config/format/"]),
    ("tokio_postgres", &["driver/postgres/"]),
    ("socket2", &["core/net/", "driver/amqp.rs", "registry/mdns/"]),
    ("tokio_tungstenite", &["transport/websocket/"]),
    ("toml", &["config/format/"]),
    ("tonic", &["driver/etcd/"]),
    ("tonic_prost", &["driver/etcd/"]),
    ("tracing_subscriber", &["bin/micro/"]),
    ("x509_parser", &["transport/tls/"]),
    ("zookeeper_client", &["driver/zookeeper.rs", "registry/zookeeper/"]),
];

fn root() -> PathBuf {
    // The parent itself, not `tests/..`: what lies in a folder `tests` is told by its path.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rank(module: &str) -> Option<u8> {
    RANKS.iter().find(|entry| entry.0 == module).map(|entry| entry.1)
}

/// Every source file below a folder, with its text.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

/// The part of a file that is not a test.
fn product(path: &Path, text: &str) -> String {
    let name = path.file_name().unwrap().to_string_lossy();
    let in_tests = path.components().any(|c| c.as_os_str() == "tests");
    if name == "tests.rs" || in_tests {
        return String::new();
    }
    // A module of tests in a file of its own may be named anywhere, one in place stands last.
    text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn imports_go_to_lower_ranks_and_name_the_defining_module() {
    let base = root().join("micro/src");
    let mut faults = Vec::new();
    for (path, text) in sources("micro/src") {
        let relative = path.strip_prefix(&base).unwrap();
        let first = relative.components().next().unwrap().as_os_str().to_string_lossy();
        let module = first.trim_end_matches(".rs").to_owned();
        if FACADES.contains(&module.as_str()) || relative.starts_with("bin") {
            continue;
        }
        let mine = rank(&module).unwrap_or_else(|| panic!("{}: no rank", relative.display()));
        let product = product(&path, &text);
        for (n, line) in product.lines().enumerate().filter(|(_, line)| !is_comment(line)) {
            for hit in line.split("crate::").skip(1).filter(|_| !line.contains("$crate::")) {
                let name: String =
                    hit.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let allowed = name == module || rank(&name).is_some_and(|r| r < mine);
                if !allowed {
                    let line = n + 1;
                    faults.push(format!(
                        "{}:{line}: {module} may not use crate::{name}",
                        relative.display()
                    ));
                }
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn vendors_are_named_where_they_are_used_and_nowhere_else() {
    let base = root().join("micro/src");
    let mut faults = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (path, text) in sources("micro/src") {
        let relative = path.strip_prefix(&base).unwrap().to_string_lossy().into_owned();
        let places = |vendor| VENDORS.iter().find(|entry| entry.0 == vendor).unwrap().1;
        for (n, line) in product(&path, &text).lines().enumerate() {
            for (vendor, _) in VENDORS.iter().filter(|_| !is_comment(line)) {
                // What follows `::` is a module of this crate.
                let named = line.match_indices(&format!("{vendor}::")).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':'))
                });
                if !named && !line.contains(&format!("use {vendor};")) {
                    continue;
                }
                seen.insert(*vendor);
                if !places(*vendor).iter().any(|place| relative.starts_with(place)) {
                    faults.push(format!("{relative}:{}: names {vendor}", n + 1));
                }
            }
        }
    }
    assert_none(&faults);
    assert_eq!(seen.len(), VENDORS.len(), "the table names what nothing uses: {seen:?}");
}

#[test]
fn files_stay_below_their_limit() {
    let mut faults = Vec::new();
    for folder in ["micro/src", "micro-macros/src", "tests", "ui-tests", "examples"] {
        for (path, text) in sources(folder) {
            let lines = product(&path, &text).lines().count();
            if lines > FILE_LINES_MAX {
                faults.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let mut faults = Vec::new();
    for folder in ["micro/src", "micro-macros/src"] {
        for (path, text) in sources(folder) {
            if !text.starts_with("//!") {
                faults.push(format!("{}: does not start with `//!`", path.display()));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn lib_and_prelude_hold_no_functions() {
    for file in ["lib.rs", "prelude.rs"] {
        let text = fs::read_to_string(root().join("micro/src").join(file)).unwrap();
        let code = text.lines().filter(|line| !is_comment(line));
        assert!(!code.into_iter().any(|line| line.contains("fn ")), "{file} defines a function");
    }
}

#[test]
fn sources_are_ascii_and_promise_nothing_for_later() {
    let mut faults = Vec::new();
    for folder in ["micro/src", "micro-macros/src", "examples", "tests/tests", "tests/src"] {
        for (path, text) in sources(folder) {
            if path.ends_with("tidy.rs") {
                continue;
            }
            for (n, line) in text.lines().enumerate() {
                let marks = ["TODO", "FIXME", "XXX", "HACK"];
                if !line.is_ascii() || marks.iter().any(|mark| line.contains(mark)) {
                    faults.push(format!("{}:{}: {line}", path.display(), n + 1));
                }
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn every_task_has_an_owner() {
    let mut faults = Vec::new();
    for (path, text) in sources("micro/src") {
        if path.ends_with("core/shutdown.rs") {
            continue;
        }
        for (n, line) in product(&path, &text).lines().enumerate() {
            if !is_comment(line) && line.contains("tokio::spawn(") {
                faults.push(format!("{}:{}", path.display(), n + 1));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn the_clock_is_read_in_one_file() {
    let mut faults = Vec::new();
    for (path, text) in sources("micro/src") {
        if path.ends_with("core/clock.rs") {
            continue;
        }
        for (n, line) in product(&path, &text).lines().enumerate() {
            let reads = line.contains("Instant::now(") || line.contains("SystemTime::now(");
            if reads && !is_comment(line) {
                faults.push(format!("{}:{}", path.display(), n + 1));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn the_visible_root_is_what_the_architecture_says() {
    let mut names: Vec<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && name != "target")
        .collect();
    names.sort();
    let expected = [
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "examples",
        "micro",
        "micro-macros",
        "tests",
        "ui-tests",
    ];
    assert_eq!(names, expected);
}

#[test]
fn dependencies_are_sorted() {
    let mut faults = Vec::new();
    for manifest in ["Cargo.toml", "micro/Cargo.toml", "micro-macros/Cargo.toml"] {
        let text = fs::read_to_string(root().join(manifest)).unwrap();
        for section in text.split("\n[").filter(|s| s.contains("dependencies]")) {
            let names: Vec<&str> = section
                .lines()
                .skip(1)
                .filter(|line| !line.starts_with('#'))
                .filter_map(|line| line.split(['.', ' ', '=']).next().filter(|n| !n.is_empty()))
                .collect();
            if !names.is_sorted() {
                faults.push(format!("{manifest}: {names:?}"));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn every_feature_stands_in_the_readme() {
    let manifest = fs::read_to_string(root().join("micro/Cargo.toml")).unwrap();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let section = manifest.split("[features]").nth(1).unwrap().split("\n[").next().unwrap();
    let missing: Vec<String> = section
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains('='))
        .filter_map(|line| line.split('=').next())
        .map(|name| format!("`{}`", name.trim()))
        .filter(|name| !readme.contains(name.as_str()))
        .collect();
    assert_none(&missing);
}

/// Every test that an invariant names: where it says to look, and the function.
fn named_tests() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("micro/ARCHITECTURE.md")).unwrap();
    let section = text.split("## Invariants").nth(1).unwrap().split("\n## ").next().unwrap();
    let claims = section.split('`').skip(1).step_by(2).filter(|claim| claim.contains(": "));
    let each = claims.flat_map(|claim| {
        let (place, names) = claim.split_once(": ").unwrap();
        let names = names.split(',').map(|name| name.trim().to_owned());
        names.map(|name| (place.to_owned(), name)).collect::<Vec<_>>()
    });
    each.collect()
}

#[test]
fn every_invariant_names_a_test_that_is_there() {
    let folders = ["micro/src", "micro/tests", "tests/tests"];
    let all: Vec<(PathBuf, String)> = folders.into_iter().flat_map(sources).collect();
    let named = named_tests();
    assert!(named.len() >= 40, "{} tests are named", named.len());
    let mut faults = Vec::new();
    for (place, test) in named {
        // `client/retries` is a path in the crate, `e2e/events` one among the tests.
        let below = |path: &Path| {
            let path = path.with_extension("").to_string_lossy().replace('\\', "/");
            path.ends_with(&format!("/{place}")) || path.contains(&format!("/{place}/"))
        };
        let found = all.iter().any(|(path, text)| {
            below(path)
                && text.match_indices(&format!("fn {test}")).any(|(at, found)| {
                    let rest = text.get(at + found.len()..).unwrap_or_default();
                    rest.starts_with(['(', '<'])
                })
        });
        if !found {
            faults.push(format!("{place}: no test {test}"));
        }
    }
    assert_none(&faults);
}

const EXAMPLE_LINES_MAX: usize = 80;

#[test]
fn examples_are_short_and_stand_in_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let section = readme.split("\n## Examples").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut faults = Vec::new();
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let cited = [format!("`cargo run -p {name}"), format!("`examples/{name}`")];
        if !cited.iter().any(|cited| section.contains(cited.as_str())) {
            faults.push(format!("{name} is not in the table of the README"));
        }
        for (path, text) in sources(&format!("examples/{name}/src")) {
            let lines = text.lines().count();
            if lines > EXAMPLE_LINES_MAX {
                faults.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    assert_none(&faults);
}

/// Whether a text names a field of something: `.name`, and no longer name.
fn reads(text: &str, field: &str) -> bool {
    let named = format!(".{field}");
    let ends =
        |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '(');
    text.match_indices(&named).any(|(at, found)| ends(&text[at + found.len()..]))
}

#[test]
fn every_limit_is_read_where_it_limits() {
    let limits = root().join("micro/src/core/limits.rs");
    let text = fs::read_to_string(&limits).unwrap();
    // A field of the table: eight spaces, a name, a type and a default.
    let fields: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("        ") && line.ends_with(',') && line.contains(" = "))
        .filter_map(|line| line.trim().split_once(": ").map(|(name, _)| name))
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_numeric()))
        .collect();
    assert!(fields.len() > 50, "the table is not what this test takes it for: {fields:?}");
    let base = root().join("micro/src");
    let code: String = sources("micro/src")
        .iter()
        .filter(|(path, _)| *path != limits && !path.starts_with(base.join("testkit")))
        .map(|(path, text)| product(path, text))
        .collect();
    let code: String =
        code.lines().filter(|line| !is_comment(line)).flat_map(|line| [line, "\n"]).collect();
    let unread = fields.iter().filter(|field| !reads(&code, field));
    let faults: Vec<_> = unread.map(|field| format!("nothing reads the limit `{field}`")).collect();
    assert_none(&faults);
}
