//! A service of all kinds of calls that does as it is told.

use std::sync::Arc;

use micro::prelude::*;
use tokio::sync::watch;

/// More than a message may have.
const LARGE_BYTES: usize = 5 << 20;

/// What a handler is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum What {
    /// Answer with the text.
    Echo = 0,
    /// Fail.
    Fail = 1,
    /// Wait for ever.
    Hang = 2,
    /// Answer with more than a message may have.
    Large = 3,
}

#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
pub(crate) struct Ask {
    #[prost(enumeration = "What", tag = "1")]
    pub(crate) what: i32,
    #[prost(string, tag = "2")]
    pub(crate) text: String,
}

#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
pub(crate) struct Answer {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
}

/// Does as it is told, and counts the handlers that hang.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    pub(crate) hanging: Arc<watch::Sender<usize>>,
}

impl Default for Matrix {
    fn default() -> Self {
        Self { hanging: Arc::new(watch::Sender::new(0)) }
    }
}

/// A handler that hangs.
struct Hanging<'a>(&'a watch::Sender<usize>);

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[service(name = "matrix")]
impl Matrix {
    #[handler]
    pub(crate) async fn unary(&self, ask: Ask) -> Result<Answer> {
        self.obey(ask).await
    }

    #[handler]
    pub(crate) async fn many(&self, ask: Ask) -> Result<Streaming<Answer>> {
        Ok(Streaming::from_iter([self.obey(ask).await?]))
    }

    #[handler]
    pub(crate) async fn sum(&self, mut asks: Streaming<Ask>) -> Result<Answer> {
        let mut sum = Answer::default();
        while let Some(ask) = asks.next().await {
            sum.text.push_str(&self.obey(ask?).await?.text);
        }
        Ok(sum)
    }

    #[handler]
    pub(crate) async fn each(&self, mut asks: Streaming<Ask>) -> Result<Streaming<Answer>> {
        match asks.next().await {
            Some(first) => Ok(Streaming::from_iter([self.obey(first?).await?])),
            None => Err(Error::bad_request("matrix", "nothing was asked")),
        }
    }

    async fn obey(&self, ask: Ask) -> Result<Answer> {
        match ask.what() {
            What::Echo => Ok(Answer { text: ask.text }),
            What::Fail => Err(Error::conflict("matrix", format!("no such {}", ask.text))),
            What::Hang => {
                self.hanging.send_modify(|count| *count += 1);
                let _hanging = Hanging(&self.hanging);
                std::future::pending().await
            }
            What::Large => Ok(Answer { text: "x".repeat(LARGE_BYTES) }),
        }
    }
}
