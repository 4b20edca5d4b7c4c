//! The two roles of a child process: a server, or a client that answers with one line of JSON.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::cell::Threads;
use crate::contender::Contender;
use crate::outcome::Outcome;
use crate::peer::Announce;
use crate::workload::Workload;

/// Workers of the multi-thread runtime.
pub(crate) const WORKERS: usize = 2;

/// How much longer than its workload a client may take before it gives up.
const GRACE: Duration = Duration::from_secs(20);

/// Serves until standard input closes.
pub(crate) fn serve(contender: Contender, threads: Threads) -> Outcome<()> {
    let runtime = runtime(threads)?;
    let parent = parent_gone()?;
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = contender.serve(Announce::new()) => ended,
            _ = parent => Ok(()),
        }
    });
    runtime.shutdown_background();
    ended
}

/// Runs one workload, given as JSON, and prints its sample as JSON.
pub(crate) fn drive(contender: Contender, workload: &str) -> Outcome<()> {
    let workload: Workload = serde_json::from_str(workload)?;
    let runtime = runtime(workload.cell.threads)?;
    let parent = parent_gone()?;
    let limit = workload.warm_up + workload.measured + GRACE;
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = tokio::time::timeout(limit, contender.drive(&workload)) => match ended {
                Ok(sample) => sample,
                Err(_) => Err("the calls did not come to an end".into()),
            },
            _ = parent => Err("the orchestrator is gone".into()),
        }
    });
    runtime.shutdown_background();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&ended?)?)?;
    Ok(out.flush()?)
}

fn runtime(threads: Threads) -> Outcome<Runtime> {
    let mut builder = match threads {
        Threads::Ct => Builder::new_current_thread(),
        Threads::Mt => Builder::new_multi_thread(),
    };
    if threads == Threads::Mt {
        builder.worker_threads(WORKERS);
    }
    Ok(builder.enable_all().build()?)
}

/// Resolves when standard input closes, which it does whichever way the orchestrator ends.
fn parent_gone() -> Outcome<oneshot::Receiver<()>> {
    let (gone, wait) = oneshot::channel();
    std::thread::Builder::new().name("parent".to_owned()).spawn(move || {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
        // The receiver is dropped only when the process is ending anyway.
        gone.send(()).ok();
    })?;
    Ok(wait)
}
