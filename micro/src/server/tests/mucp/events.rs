//! Events as go-micro posts them, from the connection to the inbox.

use std::sync::Mutex;

use super::*;
use crate::broker::Inbox;
use crate::core::error::{Error, Result};
use crate::core::stream::{BoxSource, RawStream};

const POSTED: &str = "POST /?id=events-8dadf8ac-d592-4910-973d-b531abda8766 HTTP/1.1\r\n\
    Host: 127.0.0.1:46181\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 182\r\n\
    Content-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n\
    {\"Header\":{\"Content-Type\":\"application/json\",\"Foo-Bar\":\"baz\",\"Lower-Case\":\"v\",\
    \"Micro-Id\":\"dc154f89-0ca7-434c-a62e-d5442001af23\",\"Micro-Topic\":\"events\"},\
    \"Body\":\"eyJuYW1lIjoiZXZ0In0K\"}";

#[derive(Debug, Default)]
struct Taken(Mutex<Vec<(String, Bytes)>>);

impl Inbox for Taken {
    fn reached_at(&self, _: &str, _: bool) {}

    fn link(&self, _: &str, _: RawStream) -> Result<BoxSource> {
        Err(Error::unimplemented("test", "link"))
    }

    fn post(&self, node: &str, document: &Bytes) -> Result<()> {
        self.0.lock().unwrap().push((node.to_owned(), document.clone()));
        Ok(())
    }

    fn leave(&self) {}
}

#[tokio::test(start_paused = true)]
async fn a_recorded_event_reaches_its_node_however_it_is_cut() {
    let taken = Arc::new(Taken::default());
    let inbox: Arc<dyn Inbox> = Arc::<Taken>::clone(&taken);
    let rig = Rig::new(|builder| builder.inbox(inbox));
    let (_, document) = POSTED.split_once("\r\n\r\n").unwrap();
    for at in 1..POSTED.len() {
        let (first, second) = POSTED.as_bytes().split_at(at);
        let answer = ask(&rig, &[first, second]).await;
        let said = [("content-length".to_owned(), "0".to_owned())];
        assert_eq!((answer.status, headers(&answer)), (200, said.into()));
        let (node, got) = taken.0.lock().unwrap().pop().unwrap();
        assert_eq!(node, "events-8dadf8ac-d592-4910-973d-b531abda8766");
        assert_eq!(got, document);
    }
}
