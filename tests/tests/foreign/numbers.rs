//! What programs from elsewhere call by WebSocket and by JSON-RPC.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::{Failed, Trial};
use micro::prelude::*;

use crate::curl::CURL;
use crate::program::{Program, trial};

#[cfg(feature = "ws")]
pub(crate) const WEBSOCKETS: Program = Program {
    name: "python3",
    variable: "MICRO_TEST_PYTHON_BIN",
    probe: &["-c", "import websockets.asyncio.client"],
    package: "websockets (PyPI)",
};

pub(crate) const JSONRPC: Program = Program {
    name: "python3",
    variable: "MICRO_TEST_PYTHON_BIN",
    probe: &["-c", "import jsonrpcclient"],
    package: "jsonrpcclient (PyPI)",
};

#[derive(Debug, Default)]
struct Numbers {
    left: Arc<AtomicU32>,
    leaves: tokio::sync::Notify,
}

#[derive(Debug, Serialize, Deserialize)]
struct Way {
    from: i64,
    to: i64,
}

#[service(name = "numbers")]
impl Numbers {
    #[handler]
    async fn double(&self, number: u64) -> Result<u64> {
        Ok(number * 2)
    }

    #[handler]
    async fn distance(&self, way: Way) -> Result<i64> {
        Ok(way.to - way.from)
    }

    #[handler]
    async fn count(&self, to: u64) -> Result<Streaming<u64>> {
        Ok(Streaming::from_iter(1..=to))
    }

    #[handler]
    async fn sum(&self, mut numbers: Streaming<u64>) -> Result<u64> {
        let mut sum = 0;
        while let Some(number) = numbers.next().await {
            sum += number?;
        }
        Ok(sum)
    }

    #[handler]
    async fn square(&self, numbers: Streaming<u64>) -> Result<Streaming<u64>> {
        Ok(numbers.map(|number| number * number))
    }

    #[handler]
    async fn say(&self, text: String) -> Result<String> {
        Ok(text)
    }

    #[handler]
    async fn fail(&self) -> Result<u64> {
        Err(Error::conflict("numbers", "on purpose"))
    }

    #[handler]
    async fn hang(&self) -> Result<()> {
        struct Leaving<'a>(&'a Numbers);
        impl Drop for Leaving<'_> {
            fn drop(&mut self) {
                self.0.left.fetch_add(1, Ordering::SeqCst);
                self.0.leaves.notify_one();
            }
        }
        let _leaving = Leaving(self);
        std::future::pending().await
    }

    /// Tells how many callers have left, once one has.
    #[handler]
    async fn left(&self) -> Result<u32> {
        self.leaves.notified().await;
        Ok(self.left.load(Ordering::SeqCst))
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        #[cfg(feature = "ws")]
        trial("python_websockets_calls_in_every_way", WEBSOCKETS, async || {
            by_python(&WEBSOCKETS, "websockets_calls.py", "").await
        }),
        trial("jsonrpcclient_calls_by_json_rpc", JSONRPC, async || {
            by_python(&JSONRPC, "jsonrpcclient_calls.py", "http://").await
        }),
        trial("the_command_of_the_readme_calls_by_json_rpc", CURL, by_the_readme),
    ]
}

async fn by_python(python: &Program, script: &str, scheme: &str) -> Result<(), Failed> {
    let service = Service::new("numbers").no_env().registry(micro::registry::Memory::new());
    let running = service.mount(Numbers::default()).start().await?;
    let said = python.run(&[script, &format!("{scheme}{}", running.address())]).await?;
    running.stop().await;
    if said.trim() == "done" { Ok(()) } else { Err(said.into()) }
}

#[derive(Debug, Serialize, Deserialize)]
struct HelloRequest {
    name: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct HelloReply {
    message: String,
}

/// What the README calls.
struct Greeter;

#[service(name = "greeter")]
impl Greeter {
    #[handler]
    async fn hello(&self, req: HelloRequest) -> Result<HelloReply> {
        Ok(HelloReply { message: format!("Hello {}", req.name) })
    }
}

async fn by_the_readme() -> Result<(), Failed> {
    let service = Service::new("greeter").no_env().registry(micro::registry::Memory::new());
    let running = service.mount(Greeter).start().await?;
    let readme = include_str!("../../../README.md");
    let command = readme.lines().find_map(|line| line.strip_prefix("curl localhost:8080/rpc -d '"));
    let document = command.and_then(|rest| rest.strip_suffix('\'')).ok_or("no such command")?;
    let url = format!("{}/rpc", running.address());
    let said = CURL.run(&["-sS", &url, "-d", document]).await?;
    running.stop().await;
    if said.contains(r#""result":{"message":"Hello Ada"},"id":1"#) {
        Ok(())
    } else {
        Err(said.into())
    }
}
