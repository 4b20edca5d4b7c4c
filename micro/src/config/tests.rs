//! The rules for settings, each under its id, and what becomes of changes.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::config::{Config, Env, File, Flat, Memory, Source};
use crate::core::clock;
use crate::core::shutdown::TaskTracker;

#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Smtp {
    host: String,
    port: u16,
}

fn smtp(host: &str, port: u16) -> Smtp {
    Smtp { host: host.into(), port }
}

fn memory(document: serde_json::Value) -> (Memory, Vec<Arc<dyn Source>>) {
    let memory = Memory::new("memory", document);
    (memory.clone(), vec![Arc::new(memory)])
}

#[tokio::test]
async fn cf1_precedence_is_printed_with_the_origin_of_each_value() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.json");
    fs::write(&path, "{\"smtp\": {\n\"host\": \"file\",\n\"port\": 1,\n\"to\": [\"a\"]}}").unwrap();
    let mut flags = Flat::new("flags");
    flags.set("smtp.port", "3", "--port");
    let defaults =
        json!({"smtp": {"host": "default", "retries": 2}, "db": {"keys": {"a": "hunter2"}}});
    let env = [
        ("P_SMTP__PORT", "2"),
        ("P_DB__PASSWORD", "hunter2"),
        ("P_MICRO__BROKER", "nats://u:hunter2@h:4222"),
    ];
    let sources: Vec<Arc<dyn Source>> = vec![
        Arc::new(Memory::new("defaults", defaults)),
        Arc::new(File::new(&path)),
        Arc::new(Env::of("P_", env)),
        Arc::new(flags),
    ];
    let config = Config::load(&sources).await.unwrap();
    let listed: Vec<_> = config.settings().iter().map(ToString::to_string).collect();
    let file = path.display();
    let wanted = [
        "db.keys.a = ***  # defaults".to_owned(),
        "db.password = ***  # P_DB__PASSWORD".into(),
        "micro.broker = nats://u:***@h:4222  # P_MICRO__BROKER".into(),
        format!("smtp.host = \"file\"  # {file}:2"),
        "smtp.port = 3  # --port".into(),
        "smtp.retries = 2  # defaults".into(),
        format!("smtp.to[0] = \"a\"  # {file}:4"),
    ];
    assert_eq!(listed, wanted);
    assert_eq!(config.sources(), ["defaults", &file.to_string(), "environment", "flags"]);
}

#[tokio::test]
async fn cf2_a_change_is_checked_whole_taken_at_once_and_told_once() {
    let (memory, sources) = memory(json!({"smtp": {"host": "a", "port": 1}, "log": "info"}));
    let config = Config::load(&sources).await.unwrap();
    let mut watched = config.watch::<Smtp>("smtp").unwrap();
    let mut log = config.watch::<String>("log").unwrap();
    assert_eq!(watched.next().await, Some(smtp("a", 1)));
    assert_eq!(log.next().await.as_deref(), Some("info"));

    // The log level is fine, but it comes with a port that is not.
    memory.set(json!({"smtp": {"host": "b", "port": "many"}, "log": "debug"}));
    let error = config.reload().await.unwrap_err();
    assert!(error.detail().contains("`smtp.port`") && error.detail().contains("u16"), "{error}");
    assert_eq!(config.get::<String>("log").unwrap(), "info");
    assert_eq!(config.get::<Smtp>("smtp").unwrap(), smtp("a", 1));

    memory.set(json!({"smtp": {"host": "b", "port": 2}, "log": "info"}));
    assert!(config.reload().await.unwrap());
    assert!(!config.reload().await.unwrap());
    assert_eq!(watched.next().await, Some(smtp("b", 2)));
    let reloads = config.reloads();
    assert_eq!((reloads.applied, reloads.refused), (1, 1));
    assert!(reloads.last_error.is_none());
    let untold = clock::timeout(Duration::from_millis(5), log.next()).await.is_err();
    assert!(untold, "what did not change is not told");
    drop(config);
    assert_eq!(watched.next().await, None);
}

#[tokio::test]
async fn cf3_unknown_keys_are_errors_at_the_start_and_later() {
    let (memory, sources) = memory(json!({"smtp": {"host": "a", "port": 1}}));
    let config = Config::load(&sources).await.unwrap();
    config.require::<Smtp>("smtp").unwrap();
    memory.set(json!({"smtp": {"host": "a", "port": 1, "prot": 2}}));
    let error = config.reload().await.unwrap_err();
    assert!(error.detail().contains("did you mean `port`?"), "{error}");
    memory.set(json!({"other": 1}));
    let error = config.reload().await.unwrap_err();
    assert!(error.detail().contains("`smtp` is not set"), "{error}");
}

#[tokio::test]
async fn cf4_variables_are_typed_and_durations_need_units() {
    #[derive(Debug, Deserialize)]
    struct Section {
        wait: Duration,
        count: u8,
        on: bool,
        names: Vec<String>,
    }
    let set = |wait: &'static str| {
        let env = [("P_S__WAIT", wait), ("P_S__COUNT", "7"), ("P_S__ON", "true")];
        let env = env.into_iter().chain([("P_S__NAMES", "a, b"), ("p_s__count", "9")]);
        Arc::new(Env::of("P_", env)) as Arc<dyn Source>
    };
    let config = Config::load(&[set("1m")]).await.unwrap();
    let section: Section = config.get("s").unwrap();
    assert_eq!((section.wait, section.count, section.on), (Duration::from_secs(60), 7, true));
    assert_eq!(section.names, ["a", "b"]);
    let config = Config::load(&[set("60")]).await.unwrap();
    let error = config.get::<Section>("s").unwrap_err();
    assert!(error.detail().contains("unit") && error.detail().contains("P_S__WAIT"), "{error}");
}

#[tokio::test]
async fn cf5_nothing_in_a_value_is_expanded() {
    let dir = tempfile::tempdir().unwrap();
    let literal = "${HOME} $HOME %HOME% {{a}} $(id) `id` @a";
    let path = dir.path().join("app.json");
    fs::write(&path, json!({ "a": literal }).to_string()).unwrap();
    let sources: [Arc<dyn Source>; 2] =
        [Arc::new(File::new(path)), Arc::new(Env::of("P_", [("P_B", literal)]))];
    let config = Config::load(&sources).await.unwrap();
    assert_eq!(config.get::<String>("a").unwrap(), literal);
    assert_eq!(config.get::<String>("b").unwrap(), literal);
}

/// A file under edits: broken, wrong, emptied, gone and back.
#[tokio::test]
async fn a_bad_file_keeps_the_values_before_it_and_a_good_one_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.json");
    let document = |port: u16| json!({"smtp": {"host": "a", "port": port}}).to_string();
    fs::write(&path, document(1)).unwrap();
    let config = Config::load(&[Arc::new(File::new(&path))]).await.unwrap();
    let mut watched = config.watch::<Smtp>("smtp").unwrap();
    assert_eq!(watched.next().await, Some(smtp("a", 1)));
    let tasks = TaskTracker::new();
    config.follow(&tasks).await;

    let wrong = r#"{"smtp": {"host": "a", "port": -1}}"#;
    let unknown = r#"{"smtp": {"host": "a", "port": 1, "x": 1}}"#;
    for (text, part) in [
        ("{\n\"smtp\": ", "line 2"),
        ("", "EOF"),
        (wrong, "app.json:1"),
        (unknown, "unknown key"),
        (r#"{"smtp": {"host": "a"}}"#, "`smtp.port` is missing in `smtp` from"),
    ] {
        let refused = config.reloads().refused;
        fs::write(&path, text).unwrap();
        until(|| config.reloads().refused > refused).await;
        let error = config.reloads().last_error.unwrap();
        assert!(error.detail().contains(part), "{error}");
        assert!(error.detail().contains("app.json"), "{error}");
        assert_eq!(config.get::<Smtp>("smtp").unwrap(), smtp("a", 1));
    }
    fs::remove_file(&path).unwrap();
    until(|| {
        let error = config.reloads().last_error;
        error.is_some_and(|error| error.detail().contains("No such file"))
    })
    .await;

    // As an editor saves: beside it, then over it.
    fs::write(dir.path().join(".app.json.swp"), document(2)).unwrap();
    fs::rename(dir.path().join(".app.json.swp"), &path).unwrap();
    let next = clock::timeout(Duration::from_secs(10), watched.next()).await.unwrap();
    assert_eq!(next, Some(smtp("a", 2)));
    assert_eq!(config.reloads().applied, 1);
    tasks.abort_all();
}

#[tokio::test]
async fn a_source_that_fails_does_not_hold_up_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.json");
    fs::write(&path, r#"{"a": 1}"#).unwrap();
    let (memory, mut sources) = memory(json!({"b": 1}));
    sources.push(Arc::new(File::new(&path)));
    let config = Config::load(&sources).await.unwrap();
    fs::remove_file(&path).unwrap();
    memory.set(json!({"b": 2}));
    assert!(config.reload().await.is_err());
    assert_eq!((config.get::<u8>("a").unwrap(), config.get::<u8>("b").unwrap()), (1, 2));
}

#[tokio::test]
async fn a_change_before_the_watch_began_is_found() {
    let (memory, sources) = memory(json!({"a": 1}));
    let config = Config::load(&sources).await.unwrap();
    memory.set(json!({"a": 2}));
    let tasks = TaskTracker::new();
    config.follow(&tasks).await;
    let mut values = config.watch::<u8>("a").unwrap();
    while values.next().await != Some(2) {}
    memory.set(json!({"a": 3}));
    assert_eq!(values.next().await, Some(3));
    tasks.abort_all();
}

#[tokio::test]
async fn settings_are_followed_as_a_stream() {
    use futures_util::StreamExt;
    let (memory, sources) = memory(json!({"a": 1}));
    let config = Config::load(&sources).await.unwrap();
    let values = config.watch::<u8>("a").unwrap();
    memory.set(json!({"a": 2}));
    config.reload().await.unwrap();
    drop(config);
    assert_eq!(values.collect::<Vec<_>>().await, [2]);
}

/// Waits for what happens on its own.
async fn until(happened: impl Fn() -> bool) {
    let waited = async {
        while !happened() {
            clock::sleep(Duration::from_millis(5)).await;
        }
    };
    clock::timeout(Duration::from_secs(10), waited).await.expect("it never happened");
}
