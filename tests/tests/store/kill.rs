//! SIGKILL at seeded points under writes: what was acknowledged is there, and nothing else.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use micro::Store;
use micro::store::{File, Query};

/// The variable by which this test tells its child what to do: the path and the round.
const CHILD: &str = "MICRO_TEST_STORE_CHILD";

const WRITERS: u64 = 4;

/// Rounds that share a file; then the next begins with an empty one.
const ROUNDS_PER_FILE: u64 = 10;

#[test]
fn a_killed_process_loses_no_acknowledged_write_and_makes_no_other() {
    if let Ok(task) = std::env::var(CHILD) {
        let (path, round) = task.rsplit_once(' ').unwrap();
        return write_until_killed(Path::new(path), round.parse().unwrap());
    }
    let rounds = if std::env::var_os("MICRO_LONG").is_some() { 500 } else { 40 };
    let mut dir = tempfile::tempdir().unwrap();
    let mut known = Known::default();
    let mut acknowledged = 0;
    for round in 0..rounds {
        if round % ROUNDS_PER_FILE == 0 {
            (dir, known) = (tempfile::tempdir().unwrap(), Known::default());
        }
        let path = dir.path().join("store.redb");
        acknowledged += kill_one(&path, round, &mut known);
        known.check(&path, round);
    }
    println!("{rounds} kills, {acknowledged} acknowledged writes, none lost");
    assert!(acknowledged > rounds);
}

/// Starts a child, kills it at the point that the round seeds, and notes what it acknowledged.
fn kill_one(path: &Path, round: u64, known: &mut Known) -> u64 {
    let mut child = start(path, round);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let seed = mix(round);
    let mut acknowledged = 0;
    let mut note = |line: String, known: &mut Known| {
        // The test harness writes lines of its own.
        let Some(line) = line.strip_prefix("ack ") else { return };
        let (writer, n) = line.split_once(' ').unwrap();
        known.last.insert((round, writer.parse().unwrap()), n.parse().unwrap());
        acknowledged += 1;
    };
    for line in lines.by_ref().take(usize::try_from(seed % 60).unwrap()) {
        note(line, known);
    }
    // From here the kill falls anywhere within the next transactions.
    let until = Instant::now() + Duration::from_micros(seed / 60 % 8000);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines {
        note(line, known);
    }
    acknowledged
}

fn start(path: &Path, round: u64) -> Child {
    let name = "kill::a_killed_process_loses_no_acknowledged_write_and_makes_no_other";
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, format!("{} {round}", path.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What children have acknowledged: the last number of each writer in each round.
#[derive(Default)]
struct Known {
    last: BTreeMap<(u64, u64), u64>,
}

impl Known {
    fn check(&self, path: &Path, round: u64) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let found = runtime.block_on(read_all(path));
        for (&(round, writer), &last) in &self.last {
            for n in 0..=last {
                let name = key(round, writer, n);
                let value = found.get(&name).unwrap_or_else(|| panic!("{name} is lost"));
                assert_eq!(*value, payload(round, writer, n), "{name} is not what was written");
            }
        }
        let oldest = round - round % ROUNDS_PER_FILE;
        for name in found.keys() {
            // Of each writer one write may be there that was not acknowledged any more.
            let mut known = (oldest..=round).flat_map(|r| (0..WRITERS).map(move |w| (r, w)));
            let fits = known.any(|(r, w)| {
                let next = self.last.get(&(r, w)).map_or(0, |last| last + 1);
                name.strip_prefix(&format!("{r:04}-{w}-"))
                    .and_then(|n| n.parse::<u64>().ok())
                    .is_some_and(|n| n <= next)
            });
            assert!(fits, "{name} was never written");
        }
    }
}

async fn read_all(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let file = File::open(path).await.unwrap();
    let mut scan = Store::new(file.clone()).scan(Query::new());
    let mut found = BTreeMap::new();
    while let Some(record) = scan.next().await.unwrap() {
        found.insert(record.key, record.value.to_vec());
    }
    micro::store::Store::close(&file).await.unwrap();
    found
}

/// The child: writers that say each number once it is acknowledged.
#[allow(clippy::disallowed_methods, reason = "a kill ends the writers")]
fn write_until_killed(path: &Path, round: u64) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Arc::new(Store::new(File::open(path).await.unwrap()));
        let writers = (0..WRITERS).map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in 0.. {
                    let value = payload(round, writer, n);
                    store.write(&key(round, writer, n), value).await.unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "ack {writer} {n}").unwrap();
                    out.flush().unwrap();
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
    });
}

fn key(round: u64, writer: u64, n: u64) -> String {
    format!("{round:04}-{writer}-{n}")
}

/// Bytes that only this write has, of a length from none to many pages.
fn payload(round: u64, writer: u64, n: u64) -> Vec<u8> {
    let seed = mix((round << 32) ^ (writer << 24) ^ n);
    let length = match seed % 8 {
        0 => 0,
        1 => 20_000,
        _ => seed / 8 % 2000,
    };
    (0..length).map(|i| mix(seed ^ i).to_le_bytes()[0]).collect()
}

fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
