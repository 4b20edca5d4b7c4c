//! Structs of every form are wired.

#![deny(warnings)]

use micro::prelude::*;
use std::sync::atomic::AtomicU64;

#[derive(serde::Deserialize)]
struct Smtp {
    host: String,
}

#[service]
struct Mailer {
    mailer: MailerClient,
    client: Client,
    #[wire(config = "smtp")]
    smtp: Smtp,
    #[wire(default)]
    sent: AtomicU64,
    #[cfg(any())]
    gone: Missing,
}

#[service]
impl Mailer {
    #[handler]
    async fn resend(&self, id: u64) -> Result<String> {
        let _ = (&self.mailer, &self.client, &self.sent, id);
        Ok(self.smtp.host.clone())
    }
}

#[service]
struct Pair<T: Default + Send + Sync + 'static>(MailerClient, #[wire(default)] T);

#[service]
struct Nothing;

fn wired<T: micro::FromService>() {}

fn main() {
    wired::<Mailer>();
    wired::<Pair<u8>>();
    wired::<Nothing>();
    wired::<MailerClient>();
    let _ = |pair: Pair<u8>| (pair.0, pair.1);
    let _ = Nothing;
}
