use micro::prelude::*;

#[service]
struct Mailer {
    #[wire(default, config = "smtp")] //~
    smtp: String,
}

fn main() {
    let _ = Mailer { smtp: String::new() }.smtp;
}
