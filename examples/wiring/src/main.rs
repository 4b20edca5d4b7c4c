//! A struct whose fields the running service fills: clients, settings, values of its own.
//!
//! `cargo run -p wiring -- --set mail.from=shop@example.org`
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use std::sync::atomic::{AtomicU64, Ordering};

use micro::prelude::*;

#[derive(Debug)]
struct Names;

/// Knows customers.
#[service]
impl Names {
    /// Names a customer.
    #[handler(idempotent)]
    async fn of(&self, id: u64) -> Result<String> {
        Ok(format!("customer {id}"))
    }
}

#[derive(Debug, Deserialize)]
struct Mail {
    from: String,
    #[serde(default)]
    dry_run: bool,
}

/// Writes receipts.
#[service]
struct Mailer {
    names: NamesClient,
    #[wire(config = "mail")]
    mail: Mail,
    #[wire(default)]
    sent: AtomicU64,
}

#[service]
impl Mailer {
    /// Writes a receipt and returns how many were written.
    #[handler]
    async fn receipt(&self, customer: u64) -> Result<u64> {
        let name = self.names.of(customer).await?;
        println!("from {} to {name} (dry run: {})", self.mail.from, self.mail.dry_run);
        Ok(self.sent.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    // A missing `mail.from` ends the start with an error that names the field and the key.
    let service = Service::new("shop").mount(Names).wire::<Mailer>();
    service.flag("once", "write one receipt and end").after_start(write).run().await
}

async fn write(running: Running) -> Result<()> {
    let mailer: MailerClient = running.client();
    println!("receipts: {}", mailer.receipt(7).await?);
    if running.config().find("once")?.unwrap_or(false) {
        running.shut_down();
    }
    Ok(())
}
