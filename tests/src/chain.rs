//! Three services that call each other in a row, to follow what calls inherit.

use std::time::{Duration, Instant};

use micro::prelude::*;

/// A pause at each hop, longer than any rounding of deadlines.
const PAUSE: Duration = Duration::from_millis(20);

/// Tells when a hop ended.
struct Ended {
    hop: &'static str,
    deadline: Instant,
}

impl Ended {
    fn new(hop: &'static str) -> Self {
        Self { hop, deadline: Instant::now() + left() }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let late = Instant::now().saturating_duration_since(self.deadline);
        eprintln!("{} ended {} ms late", self.hop, late.as_millis());
    }
}

/// Returns the time that the running call has left.
fn left() -> Duration {
    Context::current().remaining().unwrap_or(Duration::MAX / 4)
}

fn left_micros() -> u64 {
    u64::try_from(left().as_micros()).unwrap_or(u64::MAX)
}

/// The first hop.
#[service]
pub struct Front {
    middle: MiddleClient,
}

/// Calls the middle.
#[service(name = "front")]
impl Front {
    /// Returns the microseconds that each hop had left, its own first; hangs at the end if asked.
    #[handler]
    pub async fn enter(&self, hang: bool) -> Result<Vec<u64>> {
        let (_ended, mine) = (Ended::new("front"), left_micros());
        tokio::time::sleep(PAUSE).await;
        let mut all = self.middle.enter(hang).await?;
        all.insert(0, mine);
        Ok(all)
    }
}

/// The second hop.
#[service]
pub struct Middle {
    back: BackClient,
}

/// Calls the back.
#[service(name = "middle")]
impl Middle {
    /// Returns the microseconds that this hop and the next had left.
    #[handler]
    pub async fn enter(&self, hang: bool) -> Result<Vec<u64>> {
        let (_ended, mine) = (Ended::new("middle"), left_micros());
        tokio::time::sleep(PAUSE).await;
        Ok(vec![mine, self.back.enter(hang).await?])
    }
}

/// The last hop.
#[derive(Debug, Default)]
pub struct Back;

/// Calls nobody.
#[service(name = "back")]
impl Back {
    /// Returns the microseconds that were left, or hangs.
    #[handler]
    pub async fn enter(&self, hang: bool) -> Result<u64> {
        let (_ended, mine) = (Ended::new("back"), left_micros());
        if hang {
            eprintln!("back hangs");
            std::future::pending::<()>().await;
        }
        Ok(mine)
    }
}
