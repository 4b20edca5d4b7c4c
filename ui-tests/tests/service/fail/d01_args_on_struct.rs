use micro::prelude::*;

#[service(name = "g")] //~
struct G;

fn main() {}
