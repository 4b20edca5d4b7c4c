//! Settings: a file, where each value is from, an edit that is taken and one that is refused.
//!
//! `cargo run -p config`; with `-- --keep` it goes on, and you edit the file.
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use std::path::Path;

use micro::config::File;
use micro::prelude::*;

#[derive(Deserialize)]
struct Smtp {
    host: String,
    port: u16,
    /// Never printed: what looks like a secret is masked in every listing.
    #[expect(dead_code, reason = "nobody sends mail here")]
    password: String,
}

/// Writes the file as an editor would.
fn edit(path: &Path, host: &str, port: &str) -> Result<()> {
    let text = format!(
        "{{ \"smtp\": {{\n  \"host\": \"{host}\",\n  \"port\": {port},\n  \"password\": \"hunter2\"\n}} }}\n"
    );
    std::fs::write(path, text).or_error("config.example")
}

#[tokio::main]
async fn main() -> Result<()> {
    let directory = tempfile::tempdir().or_error("config.example")?;
    let path = directory.path().join("shop.json");
    edit(&path, "mail.example.org", "2525")?;
    let service = Service::new("config").config(File::new(&path));
    // Without the section, or with one that does not fit, there is no start.
    let service = service.require_config::<Smtp>("smtp");
    service
        .flag("keep", "go on after the edits, so that you can make some")
        .after_start(move |running| follow(running, path))
        .run()
        .await
}

async fn follow(running: Running, path: std::path::PathBuf) -> Result<()> {
    let config = running.config();
    for setting in config.settings().iter().filter(|setting| setting.key.starts_with("smtp")) {
        println!("{setting}");
    }
    let mut values = config.watch::<Smtp>("smtp")?;
    show(values.next().await);

    edit(&path, "mail.example.org", "\"many\"")?;
    if let Err(error) = config.reload().await {
        println!("refused: {}", error.detail());
    }
    edit(&path, "post.example.org", "587")?;
    show(values.next().await);

    if config.find("keep")?.unwrap_or(false) {
        println!("edit {}", path.display());
        while let Some(smtp) = values.next().await {
            show(Some(smtp));
        }
    }
    running.shut_down();
    Ok(())
}

fn show(smtp: Option<Smtp>) {
    if let Some(Smtp { host, port, .. }) = smtp {
        println!("mail goes to {host}:{port}");
    }
}
