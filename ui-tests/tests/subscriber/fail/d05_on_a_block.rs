use micro::prelude::*;

struct Mailer;

#[subscriber(topic = "made")] //~
impl Mailer {}

fn main() {}
