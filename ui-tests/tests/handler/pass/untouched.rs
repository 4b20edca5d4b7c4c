//! The method is the user's: callable, attributes kept, parameters mutable, body as written.

#![deny(warnings)]

use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter {
    /// Says hello.
    #[handler]
    #[inline]
    #[must_use]
    pub async fn hello(&self, mut name: String) -> Result<String> {
        name.push('!');
        Ok(name)
    }

    /// Is no endpoint.
    pub fn helper(&self) -> u8 {
        Self::LIMIT
    }

    const LIMIT: u8 = 3;
}

fn main() {
    let greeter = Greeter;
    let _ = greeter.hello("Ada".to_owned());
    assert_eq!(greeter.helper(), 3);
}
