use micro::prelude::*;

#[service]
enum Choice { //~
    A,
}

fn main() {}
