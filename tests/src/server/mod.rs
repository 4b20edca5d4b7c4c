//! Servers of vendors: each test starts a copy of its own on loopback, in a folder of its own, and
//! may kill, pause and restart it.
//!
//! A program is found by its variable, such as `MICRO_TEST_NATS_BIN`, or where its package puts it.
//! A test whose program is missing is ignored and says what to install; with
//! `MICRO_REQUIRE_SERVERS=1` it fails.

mod dnsmasq;
mod etcd;
mod family;
mod mosquitto;
mod nats;
mod postgres;
mod pubsub;
mod rabbitmq;
mod redis;
mod trial;
mod zookeeper;

use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub use self::dnsmasq::{DNSMASQ, RECORDS, dnsmasq};
pub use self::etcd::{ETCD, etcd};
pub use self::mosquitto::{MOSQUITTO, mosquitto, mosquitto_with};
pub use self::nats::{NATS, nats};
pub use self::postgres::{POSTGRES, postgres};
pub use self::pubsub::{PUBSUB, pubsub, pubsub_trial};
pub use self::rabbitmq::{RABBITMQ, rabbitmq};
pub use self::redis::{REDIS, redis};
pub use self::trial::{trial, trial_alone, trial_on};
pub use self::zookeeper::{ZOOKEEPER, zookeeper};

/// How long a server may take until it answers: no measure of speed, the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that tests start.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// What people call it.
    pub name: &'static str,
    /// The variable that says where it is.
    pub variable: &'static str,
    /// Where it is otherwise: the first of these that there is; a bare name is looked for on
    /// `PATH`.
    pub places: &'static [&'static str],
    /// The package that brings it.
    pub package: &'static str,
}

impl Program {
    /// Returns where the program is, if it is there.
    pub fn path(&self) -> Option<PathBuf> {
        if let Some(path) = std::env::var_os(self.variable) {
            return Some(path.into()).filter(|path: &PathBuf| path.exists());
        }
        self.places.iter().find_map(|place| {
            let place = Path::new(place);
            if place.is_absolute() {
                return place.exists().then(|| place.to_owned());
            }
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).map(|folder| folder.join(place)).find(|file| file.exists())
        })
    }
}

/// What a server is started with.
#[derive(Debug)]
pub struct Place<'a> {
    /// The program, as [`Program::path`] found it.
    pub program: &'a Path,
    /// A folder of its own, kept across restarts and removed in the end.
    pub folder: &'a Path,
    /// The port to listen on, on 127.0.0.1 alone; the same across restarts.
    pub port: u16,
}

/// Makes the command that starts a server, whose first word is the program.
type Recipe = Box<dyn Fn(&Place<'_>) -> Vec<OsString> + Send + Sync>;

/// A running server; it ends when it is dropped, and with the process of the test.
pub struct Server {
    name: &'static str,
    program: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    recipe: Recipe,
    child: Option<Child>,
}

impl Server {
    /// Starts a server and waits until its port takes connections.
    ///
    /// # Panics
    /// When the program is missing or does not start; what it said is shown.
    pub fn start(
        program: Program,
        recipe: impl Fn(&Place<'_>) -> Vec<OsString> + Send + Sync + 'static,
    ) -> Self {
        let path = program.path().unwrap_or_else(|| panic!("install {}", program.package));
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let (name, recipe) = (program.name, Box::new(recipe));
        let mut server = Self { name, program: path, folder, port, recipe, child: None };
        server.start_again();
        server
    }

    /// Returns the port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the folder of the server.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the server again, on the same port and with what it kept in its folder, and waits
    /// until its port takes connections.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let place = Place { program: &self.program, folder: self.folder.path(), port: self.port };
        let mut words = (self.recipe)(&place).into_iter();
        let setpriv = Path::new("/usr/bin/setpriv");
        // The kernel kills it when the test dies without unwinding.
        let mut command = if setpriv.exists() {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL"]);
            command
        } else {
            Command::new(words.next().unwrap())
        };
        let said = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("said.log"))
            .unwrap();
        command.args(words).current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(said.try_clone().unwrap()).stderr(said);
        self.child = Some(command.spawn().unwrap());
        self.wait_until_reachable();
    }

    #[allow(clippy::disallowed_methods, reason = "a test that starts a server does nothing else")]
    fn wait_until_reachable(&mut self) {
        let began = Instant::now();
        while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            let late = began.elapsed() > PATIENCE;
            assert!(!late && ended.is_none(), "{} does not start: {}", self.name, self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns what the server has printed.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("said.log")).unwrap_or_default()
    }

    /// Kills the server in the middle of whatever it does (SIGKILL), with all its processes.
    ///
    /// # Panics
    /// When it has ended by itself.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        assert!(child.try_wait().unwrap().is_none(), "{} ended: {}", self.name, self.said());
        let family = family::family(child.id());
        signal("KILL", &family);
        child.wait().unwrap();
        family::wait_for_end(&family);
    }

    /// Asks the server to end, its helpers included, and waits until it has (SIGTERM).
    ///
    /// # Panics
    /// When it has ended by itself.
    pub fn stop(&mut self) {
        self.signal("TERM");
        self.child.take().unwrap().wait().unwrap();
    }

    /// Stops the server from running until [`Server::resume`] (SIGSTOP), with all its processes: its connections
    /// stay open.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets a paused server go on (SIGCONT).
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        signal(name, &family::family(self.child.as_ref().unwrap().id()));
    }
}

/// Sends a signal to processes, the first of which has not ended.
fn signal(name: &str, ids: &[u32]) {
    let ids = ids.iter().map(u32::to_string);
    let output = Command::new("kill").args(["-s", name]).args(ids).output().unwrap();
    // Others may have ended meanwhile.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() || said.contains("No such process"), "kill -s {name}: {said}");
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            signal("KILL", &family::family(child.id()));
            let _gone = child.kill().is_err();
            let _unknown = child.wait().is_err();
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.address())
    }
}

/// Returns a port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Makes a command of its words.
pub fn words(place: &Place<'_>, arguments: &[&str]) -> Vec<OsString> {
    let program = std::iter::once(place.program.into());
    program.chain(arguments.iter().map(Into::into)).collect()
}
