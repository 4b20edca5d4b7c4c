const _: () = micro::__private::macro_version::<0>("0.0.1"); //~

fn main() {}
