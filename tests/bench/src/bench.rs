//! The running servers of one build of this program, and the clients that are let loose on them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cell::{Cell, Threads};
use crate::child::Process;
use crate::contender::Contender;
use crate::machine::{self, Cores};
use crate::options::Options;
use crate::outcome::Outcome;
use crate::workload::{Sample, Workload};

/// How long a server may take to announce itself.
const START: Duration = Duration::from_secs(10);

/// How much longer than its workload a client may take.
const GRACE: Duration = Duration::from_secs(30);

/// Servers that stay up while clients come and go.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    program: PathBuf,
    options: &'a Options,
    cores: Option<Cores>,
    servers: Vec<Server>,
}

#[derive(Debug)]
struct Server {
    contender: Contender,
    threads: Threads,
    address: std::net::SocketAddr,
    process: Process,
}

impl<'a> Bench<'a> {
    /// Starts one server for each contender and runtime in use.
    pub(crate) fn start(program: &Path, options: &'a Options) -> Outcome<Self> {
        let uses = |threads| options.cells.iter().any(|cell| cell.threads == threads);
        let cores = if uses(Threads::Ct) { Some(machine::cores()?) } else { None };
        let mut servers = Vec::new();
        for (threads, name) in [(Threads::Ct, "ct"), (Threads::Mt, "mt")] {
            for contender in options.contenders.iter().filter(|_| uses(threads)) {
                let core = cores.filter(|_| threads == Threads::Ct).map(|cores| cores.server);
                let process = Process::start(program, &["serve", contender.name(), name], core)?;
                let address = process.line(START)?.parse()?;
                servers.push(Server { contender: *contender, threads, address, process });
            }
        }
        Ok(Self { program: program.to_owned(), options, cores, servers })
    }

    /// Has a contender run the cell once.
    pub(crate) fn sample(&self, contender: Contender, cell: Cell) -> Outcome<Sample> {
        let name = contender.name();
        let is_asked =
            |server: &&Server| (server.contender, server.threads) == (contender, cell.threads);
        let server = self.servers.iter().find(is_asked);
        let server = server.ok_or_else(|| format!("{name} has no server for {cell}"))?;
        let workload = Workload {
            address: server.address,
            server: server.process.id(),
            cell,
            warm_up: self.options.warm_up,
            measured: self.options.measured,
        };
        let core = self.cores.filter(|_| cell.threads == Threads::Ct).map(|cores| cores.client);
        let workload = serde_json::to_string(&workload)?;
        let client = Process::start(&self.program, &["drive", name, &workload], core)?;
        let limit = self.options.warm_up + self.options.measured + GRACE;
        Ok(serde_json::from_str(&client.line(limit)?)?)
    }
}
