//! The client is as visible as the most visible handler, and messages may stay private.

#![deny(warnings)]

use micro::prelude::*;

mod inner {
    use micro::prelude::*;

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Hidden;

    pub struct Open;

    #[service]
    impl Open {
        #[handler]
        async fn hidden(&self, hidden: Hidden) -> Result<Hidden> {
            Ok(hidden)
        }

        #[handler]
        pub async fn shown(&self) -> Result<()> {
            Ok(())
        }
    }

    pub struct Near;

    #[service]
    impl Near {
        #[handler]
        pub(super) async fn shown(&self) -> Result<()> {
            Ok(())
        }
    }
}

pub fn call(client: &inner::OpenClient) -> Call<()> {
    client.shown()
}

fn near(client: &inner::NearClient) -> Call<()> {
    client.shown()
}

fn main() {
    let _ = (call, near, inner::Open, inner::Near);
}
