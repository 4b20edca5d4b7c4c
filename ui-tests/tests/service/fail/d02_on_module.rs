use micro::prelude::*;

#[service]
mod inner {} //~

fn main() {}
