//! The standard output and error of a process in its log. Alone in its program, whose output it
//! takes.

#![cfg(feature = "stdio")]

use std::io::Write;

use micro::debug::{Level, LogQuery};
use micro::prelude::*;
use micro::registry;

struct Idle;

#[service(name = "idle")]
impl Idle {
    #[handler]
    async fn nothing(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_is_printed_is_logged_until_the_process_stops() {
    let service = Service::new("idle").no_env().registry(registry::Memory::new());
    let running = service.mount(Idle).capture_output().start().await.unwrap();
    let recorder = running.monitor().recorder().clone();
    writeln!(std::io::stdout(), "the till is open").unwrap();
    writeln!(std::io::stderr(), "the till \u{1b}[31m jams").unwrap();
    let again = Service::new("idle").no_env().registry(registry::Memory::new());
    let again = again.mount(Idle).capture_output().start().await;
    assert_eq!(again.unwrap_err().code(), 409, "it is taken by one at a time");
    running.stop().await;
    writeln!(std::io::stdout(), "after the end").unwrap();

    let logged = |target: &'static str| {
        let (recorder, query) = (recorder.clone(), LogQuery::default().with_target(target));
        async move { recorder.logs(&query).await.unwrap() }
    };
    let out = logged("stdout").await;
    assert!(out.iter().any(|record| record.message == "the till is open"), "{out:?}");
    assert!(!out.iter().any(|record| record.message == "after the end"), "{out:?}");
    let err = logged("stderr").await;
    let jams = err.iter().find(|record| record.message.contains("jams")).unwrap();
    assert_eq!((jams.level, jams.message.as_str()), (Level::Warn, "the till \\u{1b}[31m jams"));
}
