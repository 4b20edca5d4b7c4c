use micro::prelude::*;

#[service] //~
unsafe extern "C" {}

fn main() {}
