const _: () = micro::__private::macro_version::<0>(); //~

fn main() {}
