//! One connection to the stand-in.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use micro::core::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::command::{Command, Fault, take};
use super::disk::Message;
use super::{Counting, Shared};

#[derive(Debug, PartialEq, Eq)]
enum State {
    Init,
    Subscribed,
    Closing,
}

struct Client {
    shared: Arc<Shared>,
    number: u64,
    state: State,
    is_identified: bool,
    heartbeat: Option<Duration>,
    msg_timeout: Duration,
    /// Topic and channel.
    place: (String, String),
    ready: u32,
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.state != State::Init {
            self.shared.disk().leave(&self.place.0, &self.place.1);
            self.shared.change();
        }
    }
}

/// Serves a connection until it ends.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream, number: u64) {
    let options = shared.options.clone();
    let mut client = Client {
        number,
        state: State::Init,
        is_identified: false,
        heartbeat: Some(options.heartbeat),
        msg_timeout: options.forced_msg_timeout.unwrap_or(options.msg_timeout),
        place: (String::new(), String::new()),
        ready: 0,
        shared,
    };
    // However it ended.
    let _ended = client.run(stream).await;
}

impl Client {
    async fn run(&mut self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut magic = [0; 4];
        stream.read_exact(&mut magic).await?;
        if magic != *b"  V2" {
            stream.write_all(&frame(1, b"E_BAD_PROTOCOL")).await?;
            return stream.shutdown().await;
        }
        let (mut reader, mut writer) = stream.into_split();
        let (mut buffer, mut unanswered) = (Vec::new(), 0);
        let mut changes = self.shared.changes.subscribe();
        let mut beat = clock::now();
        loop {
            self.shared.thaw().await;
            changes.mark_unchanged();
            writer.write_all(&self.deliver()).await?;
            let pause = self.heartbeat.unwrap_or(Duration::MAX);
            tokio::select! {
                read = reader.read_buf(&mut buffer) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    self.shared.thaw().await;
                    let said = self.hear(&mut buffer, &mut unanswered);
                    writer.write_all(&said.0).await?;
                    if said.1 {
                        return writer.shutdown().await;
                    }
                }
                _ = changes.changed() => {}
                () = clock::sleep_until(clock::after(beat, pause)) => {
                    beat = clock::now();
                    if unanswered >= 2 {
                        self.shared.dropped.fetch_add(1, SeqCst);
                        return Ok(());
                    }
                    unanswered += 1;
                    writer.write_all(&frame(0, b"_heartbeat_")).await?;
                }
            }
        }
    }

    /// Does what has come; returns the answers, and whether the connection ends.
    fn hear(&mut self, buffer: &mut Vec<u8>, unanswered: &mut u32) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        loop {
            let taken = take(buffer, &self.shared.options);
            let done = match taken {
                Ok(None) => return (out, false),
                Ok(Some(command)) => {
                    *unanswered = 0;
                    self.act(command)
                }
                Err(fault) => Err(fault),
            };
            match done {
                Ok(answer) => {
                    out.extend(answer.map(|answer| frame(0, &answer)).unwrap_or_default())
                }
                Err(fault) => {
                    let Fault(code, why) = &fault;
                    self.shared.count(code);
                    out.extend(frame(1, format!("{code} {why}").as_bytes()));
                    if fault.is_fatal() {
                        return (out, true);
                    }
                }
            }
        }
    }

    fn act(&mut self, command: Command) -> Result<Option<Vec<u8>>, Fault> {
        let ok = || Ok(Some(b"OK".to_vec()));
        let (topic, channel) = self.place.clone();
        match command {
            Command::Identify(wishes) => self.identify(&wishes).map(Some),
            Command::Sub(topic, channel) => {
                self.needs(&[State::Init])?;
                if self.heartbeat.is_none() {
                    return Err(Fault::new("E_INVALID", "cannot SUB with heartbeats disabled"));
                }
                self.shared.count("SUB");
                self.shared.disk().join(&topic, &channel);
                (self.state, self.place) = (State::Subscribed, (topic, channel));
                ok()
            }
            Command::Pub(topic, bodies, defer) => {
                self.shared.count(if bodies.len() == 1 { "PUB" } else { "MPUB" });
                if self.shared.is_mute.load(SeqCst) {
                    return Ok(None);
                }
                self.shared.disk().publish(&topic, bodies, defer);
                self.shared.change();
                ok()
            }
            Command::Rdy(count) => {
                self.needs(&[State::Subscribed, State::Closing])?;
                self.ready = count;
                Ok(None)
            }
            Command::Fin(id) => {
                self.needs(&[State::Subscribed, State::Closing])?;
                self.shared.count("FIN");
                let done = self.shared.disk().finish(&topic, &channel, self.number, id);
                done.map(|_| None).ok_or_else(|| Fault::new("E_FIN_FAILED", "not in flight"))
            }
            Command::Req(id, pause) => {
                self.needs(&[State::Subscribed, State::Closing])?;
                self.shared.count("REQ");
                let again = (id, pause);
                let done = self.shared.disk().requeue(&topic, &channel, self.number, again);
                self.shared.change();
                if done { Ok(None) } else { Err(Fault::new("E_REQ_FAILED", "not in flight")) }
            }
            Command::Touch(id) => {
                self.needs(&[State::Subscribed, State::Closing])?;
                self.shared.count("TOUCH");
                let (place, most) =
                    ((&*topic, &*channel, self.number), self.shared.options.max_msg_timeout);
                let done = self.shared.disk().touch(place, id, self.msg_timeout, most);
                if done { Ok(None) } else { Err(Fault::new("E_TOUCH_FAILED", "not in flight")) }
            }
            Command::Cls => {
                self.needs(&[State::Subscribed])?;
                self.shared.count("CLS");
                (self.state, self.ready) = (State::Closing, 0);
                Ok(Some(b"CLOSE_WAIT".to_vec()))
            }
            Command::Nop => Ok(None),
        }
    }

    fn needs(&self, states: &[State]) -> Result<(), Fault> {
        if states.contains(&self.state) {
            return Ok(());
        }
        Err(Fault::new("E_INVALID", "cannot do that in the current state"))
    }

    fn identify(&mut self, wishes: &serde_json::Value) -> Result<Vec<u8>, Fault> {
        self.needs(&[State::Init])?;
        if std::mem::replace(&mut self.is_identified, true) {
            return Err(Fault::new("E_INVALID", "cannot IDENTIFY twice"));
        }
        let options = &self.shared.options;
        let number = |name: &str| match &wishes[name] {
            serde_json::Value::Null => Ok(0),
            other => other.as_i64().ok_or_else(|| Fault::new("E_BAD_BODY", name)),
        };
        let millis = |name: &str, least: i64, most: Duration| match number(name)? {
            0 => Ok(None),
            -1 => Ok(Some(None)),
            wish if wish >= least && u128::try_from(wish).unwrap() <= most.as_millis() => {
                Ok(Some(Some(Duration::from_millis(u64::try_from(wish).unwrap()))))
            }
            _ => Err(Fault::new("E_BAD_BODY", format!("{name} out of range"))),
        };
        if let Some(heartbeat) = millis("heartbeat_interval", 1000, Duration::from_secs(60))? {
            self.heartbeat = heartbeat.map(|wish| options.forced_heartbeat.unwrap_or(wish));
        }
        millis("output_buffer_timeout", 1, Duration::from_secs(1))?;
        if let Some(Some(timeout)) = millis("msg_timeout", 1, options.max_msg_timeout)? {
            self.msg_timeout = options.forced_msg_timeout.unwrap_or(timeout);
        }
        if wishes["feature_negotiation"] != true {
            return Ok(b"OK".to_vec());
        }
        let settings = serde_json::json!({
            "max_rdy_count": options.max_rdy_count,
            "version": "1.3.0",
            "max_msg_timeout": options.max_msg_timeout.as_millis(),
            "msg_timeout": self.msg_timeout.as_millis(),
            "tls_v1": false, "deflate": false, "deflate_level": 0, "max_deflate_level": 6,
            "snappy": false, "sample_rate": 0, "auth_required": options.auth_required,
            "output_buffer_size": 16384, "output_buffer_timeout": 250,
        });
        Ok(settings.to_string().into_bytes())
    }

    /// Takes what the client is ready for.
    fn deliver(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.state != State::Subscribed {
            return out;
        }
        let (topic, channel) = &self.place;
        let mut disk = self.shared.disk();
        loop {
            let is_ready = match self.shared.options.counting {
                Counting::Down => self.ready > 0,
                Counting::InFlight => {
                    let has = disk.in_flight(topic, channel, self.number);
                    has < usize::try_from(self.ready).unwrap()
                }
            };
            let taken = is_ready.then(|| disk.take(topic, channel, self.number, self.msg_timeout));
            let Some(Some(message)) = taken else { return out };
            if self.shared.options.counting == Counting::Down {
                self.ready -= 1;
            }
            out.extend(delivery(&message));
        }
    }
}

pub(crate) fn frame(kind: u32, data: &[u8]) -> Vec<u8> {
    let size = u32::try_from(4 + data.len()).unwrap();
    [&size.to_be_bytes(), &kind.to_be_bytes(), data].concat()
}

fn delivery(message: &Message) -> Vec<u8> {
    let (taken, attempts) = (message.taken.to_be_bytes(), message.attempts.to_be_bytes());
    frame(2, &[&taken[..], &attempts, &message.id, &message.body].concat())
}
