//! Settings of whole services: refused at the start, refused and taken while they run.

use std::fs;
use std::path::Path;
use std::time::Duration;

use micro::prelude::*;
use micro::registry::Memory as Registry;

#[derive(Debug, Deserialize, PartialEq)]
struct Mail {
    from: String,
    limit: u16,
}

/// Writes mail.
#[service]
#[derive(Debug)]
struct Mailer {
    #[wire(config = "mail")]
    mail: Mail,
    config: Config,
}

#[service]
impl Mailer {
    /// Returns the sender as of the start, and the limit as of this moment.
    #[handler]
    async fn facts(&self) -> Result<(String, u16)> {
        Ok((self.mail.from.clone(), self.config.get("mail.limit")?))
    }
}

fn service(path: &Path) -> Service {
    let env = [("MICRO_CONFIG", path)];
    Service::new("mailer").registry(Registry::new()).env(env).wire::<Mailer>()
}

const GOOD: &str = "{\"mail\": {\n  \"from\": \"a@b\",\n  \"limit\": 1\n}}";

/// What is wrong with a file, and what the error must say of it.
const BAD: [(&str, &[&str]); 4] = [
    ("{\"mail\": {\n\n  from: 1}}", &["app.json", "line 3"]),
    (
        "{\"mail\": {\n \"from\": \"a\",\n \"limit\": \"x\"}}",
        &["app.json:3", "`mail.limit`", "u16"],
    ),
    (
        "{\"mail\": {\n \"from\": \"a\", \"limit\": 1,\n\n \"limt\": 2}}",
        &["app.json:4", "`mail.limt`", "did you mean `limit`?"],
    ),
    ("{\"mail\": {\n \"from\": \"a\"}}", &["app.json:1", "`mail.limit` is missing"]),
];

#[tokio::test]
async fn a_bad_file_does_not_start_and_says_what_and_where() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.json");
    for (text, parts) in BAD {
        fs::write(&path, text).unwrap();
        let error = service(&path).start().await.unwrap_err();
        assert!(parts.iter().all(|part| error.detail().contains(part)), "{parts:?}: {error}");
    }
    fs::remove_file(&path).unwrap();
    let error = service(&path).start().await.unwrap_err();
    assert!(error.detail().contains("app.json"), "{error}");
    // A directory stands for whatever is there and cannot be read.
    fs::create_dir(&path).unwrap();
    let error = service(&path).start().await.unwrap_err();
    assert!(error.detail().contains("app.json"), "{error}");
}

#[tokio::test]
async fn a_running_service_keeps_its_settings_through_bad_files_and_takes_good_ones() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.json");
    replace(&path, GOOD);
    let running = service(&path).start().await.unwrap();
    let mailer: MailerClient = running.client();
    assert_eq!(mailer.facts().await.unwrap(), ("a@b".to_owned(), 1));
    for (text, parts) in BAD {
        let refused = running.config().reloads().refused;
        replace(&path, text);
        until(|| running.config().reloads().refused > refused).await;
        let error = running.config().reloads().last_error.unwrap();
        assert!(parts.iter().all(|part| error.detail().contains(part)), "{parts:?}: {error}");
        assert_eq!(mailer.facts().await.unwrap(), ("a@b".to_owned(), 1));
    }
    replace(&path, &GOOD.replace("1", "2"));
    until(|| running.config().reloads().applied == 1).await;
    assert_eq!(mailer.facts().await.unwrap(), ("a@b".to_owned(), 2));
    assert_eq!(running.config().origin("mail.limit"), Some(format!("{}:3", path.display())));
    running.stop().await;
}

#[tokio::test]
async fn settings_in_the_store_override_the_file_and_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.json");
    fs::write(&path, GOOD).unwrap();
    let memory = micro::store::Memory::new();
    let table = Store::new(memory.clone()).database("mailer").unwrap().table("config").unwrap();
    table.put("mail.limit", &7).await.unwrap();
    let service = service(&path).store(memory).config_from_store();
    let running = service.require_config::<Mail>("mail").start().await.unwrap();
    let mut limits = running.config().watch::<u16>("mail.limit").unwrap();
    assert_eq!(limits.next().await, Some(7));
    table.put("mail.limit", &"x").await.unwrap();
    until(|| running.config().reloads().refused > 0).await;
    table.put("mail.limit", &8).await.unwrap();
    assert_eq!(limits.next().await, Some(8));
    table.delete("mail.limit").await.unwrap();
    assert_eq!(limits.next().await, Some(1));
    running.stop().await;
}

/// Puts a file in the place of another at once, so that nobody reads a half.
fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, text).unwrap();
    fs::rename(&fresh, path).unwrap();
}

async fn until(happened: impl Fn() -> bool) {
    let waited = async {
        while !happened() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited).await.expect("it never happened");
}
