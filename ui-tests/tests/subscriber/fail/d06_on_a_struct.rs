use micro::prelude::*;

#[subscriber(topic = "made")]
struct Mailer; //~

fn main() {}
