//! The run: servers stay up, clients come and go, contenders take turns within each round.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::cell::{Cell, Threads};
use crate::child::Process;
use crate::contender::Contender;
use crate::machine::{self, Cores};
use crate::options::Options;
use crate::outcome::Outcome;
use crate::results::Results;
use crate::workload::{Sample, Workload};
use crate::{markdown, rows};

/// How long a server may take to announce itself.
const START: Duration = Duration::from_secs(10);

/// How much longer than its workload a client may take.
const GRACE: Duration = Duration::from_secs(30);

/// Measures everything and reports.
pub(crate) fn run(options: &Options) -> Outcome<()> {
    let started = Instant::now();
    rows::print_head(options)?;
    let bench = Bench::start(options)?;
    let mut results = Results::default();
    let mut longest = Duration::ZERO;
    for round in 0..options.rounds {
        let began = Instant::now();
        if options.limit.is_some_and(|limit| began - started + longest > limit) {
            note(&format!("out of time after {round} of {} rounds", options.rounds));
            break;
        }
        for cell in &options.cells {
            bench.measure(*cell, round, &mut results)?;
        }
        longest = longest.max(began.elapsed());
        note(&format!("round {} of {}: {:.1?}", round + 1, options.rounds, began.elapsed()));
    }
    drop(bench);
    rows::print(options, &results)?;
    if !options.quick || options.markdown.is_some() {
        let file = markdown::write(options, &results)?;
        writeln!(std::io::stdout(), "# Markdown: {}", file.display())?;
    }
    Ok(())
}

/// Progress, on standard error so that standard output has nothing but the report.
fn note(text: &str) {
    // Progress that nobody can see needs no handling.
    writeln!(std::io::stderr(), "bench: {text}").ok();
}

/// Running servers.
#[derive(Debug)]
struct Bench<'a> {
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
    fn start(options: &'a Options) -> Outcome<Self> {
        let uses = |threads| options.cells.iter().any(|cell| cell.threads == threads);
        let cores = if uses(Threads::Ct) { Some(machine::cores()?) } else { None };
        let mut servers = Vec::new();
        for (threads, name) in [(Threads::Ct, "ct"), (Threads::Mt, "mt")] {
            for contender in options.contenders.iter().filter(|_| uses(threads)) {
                let core = cores.filter(|_| threads == Threads::Ct).map(|cores| cores.server);
                let process = Process::start(&["serve", contender.name(), name], core)?;
                let address = process.line(START)?.parse()?;
                servers.push(Server { contender: *contender, threads, address, process });
            }
        }
        Ok(Self { options, cores, servers })
    }

    /// Lets every contender run the cell once, beginning with another one each round so that none
    /// always follows the same neighbour.
    fn measure(&self, cell: Cell, round: u32, results: &mut Results) -> Outcome<()> {
        let able =
            |server: &&Server| server.threads == cell.threads && server.contender.runs(&cell);
        let able: Vec<&Server> = self.servers.iter().filter(able).collect();
        let first = usize::try_from(round)?.checked_rem(able.len()).unwrap_or(0);
        for server in able.iter().cycle().skip(first).take(able.len()) {
            let sample = self.sample(server, cell).map_err(|fault| {
                format!("{cell} {} in round {}: {fault}", server.contender.name(), round + 1)
            })?;
            results.add(cell, server.contender, round, sample);
        }
        Ok(())
    }

    fn sample(&self, server: &Server, cell: Cell) -> Outcome<Sample> {
        let workload = Workload {
            address: server.address,
            server: server.process.id(),
            cell,
            warm_up: self.options.warm_up,
            measured: self.options.measured,
        };
        let core = self.cores.filter(|_| cell.threads == Threads::Ct).map(|cores| cores.client);
        let workload = serde_json::to_string(&workload)?;
        let client = Process::start(&["drive", server.contender.name(), &workload], core)?;
        let limit = self.options.warm_up + self.options.measured + GRACE;
        Ok(serde_json::from_str(&client.line(limit)?)?)
    }
}
