//! The client's side of a measurement: closed loops, one task per call in flight.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::cell::{Cell, Load, STREAMED};
use crate::cpu;
use crate::latency::{self, Latencies};
use crate::message::Message;
use crate::outcome::Outcome;
use crate::peer::{Caller, Peer};

/// Messages streamed before the measured stream.
const STREAM_WARM_UP: u64 = 50_000;

/// What a client process is asked to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Workload {
    pub(crate) address: SocketAddr,
    pub(crate) server: u32,
    pub(crate) cell: Cell,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What a client process answers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Calls, or streamed messages, within the window.
    pub(crate) calls: u64,
    /// Length of the window.
    pub(crate) seconds: f64,
    /// Processor time of client and server together within the window.
    pub(crate) cpu_seconds: f64,
    /// Cores that other processes kept busy meanwhile, on average.
    pub(crate) foreign_cores: f64,
    /// Median and 99th percentile in microseconds; streams have none.
    pub(crate) latency_us: Option<(f64, f64)>,
}

impl Sample {
    /// Calls per second.
    pub(crate) fn rate(&self) -> f64 {
        self.count() / self.seconds
    }

    /// Processor seconds of both processes for 100 000 calls.
    pub(crate) fn cpu_for_100k(&self) -> f64 {
        self.cpu_seconds * 100_000.0 / self.count()
    }

    fn count(&self) -> f64 {
        f64::from(u32::try_from(self.calls).unwrap_or(u32::MAX))
    }
}

/// Runs one workload against a running server.
pub(crate) async fn drive<P: Peer>(workload: &Workload) -> Outcome<Sample> {
    if workload.cell.load == Load::Stream {
        P::stream(workload.address, STREAM_WARM_UP).await?;
        let before = Reading::take(workload, 0)?;
        P::stream(workload.address, STREAMED).await?;
        return Ok(Reading::take(workload, STREAMED)?.since(&before));
    }
    let callers = P::connect(workload.address, workload.cell.shape).await?;
    let plan = Arc::new(Plan::new(workload.cell));
    let mut tasks = JoinSet::new();
    let mut counters = Vec::new();
    for caller in callers {
        let counter = Arc::new(Counter::default());
        counters.push(counter.clone());
        tasks.spawn(repeat(caller, plan.clone(), counter));
    }
    let mut sample = tokio::select! {
        sample = window(workload, &plan, &counters) => sample?,
        Some(ended) = tasks.join_next() => {
            ended??;
            return Err("a caller ended before its time".into());
        }
    };
    plan.stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        latencies.push(ended??);
    }
    sample.latency_us = latency::percentiles(&latencies)?;
    Ok(sample)
}

/// Lets the callers warm up, then measures between two readings.
async fn window(workload: &Workload, plan: &Plan, counters: &[Arc<Counter>]) -> Outcome<Sample> {
    let calls = || counters.iter().map(|counter| counter.0.load(Ordering::Relaxed)).sum();
    tokio::time::sleep(workload.warm_up).await;
    plan.measuring.store(true, Ordering::Relaxed);
    let before = Reading::take(workload, calls())?;
    tokio::time::sleep(workload.measured).await;
    let after = Reading::take(workload, calls())?;
    plan.measuring.store(false, Ordering::Relaxed);
    Ok(after.since(&before))
}

/// One call after the other until told to stop.
async fn repeat<C: Caller>(
    mut caller: C,
    plan: Arc<Plan>,
    counter: Arc<Counter>,
) -> Outcome<Latencies> {
    let length = plan.template.payload.len();
    let mut latencies = Latencies::new(plan.in_flight, length);
    let mut number = 0;
    while !plan.stop.load(Ordering::Relaxed) {
        let message = plan.template.with_id(number);
        let timed = latencies.wants(number) && plan.measuring.load(Ordering::Relaxed);
        let started = timed.then(Instant::now);
        let answer = caller.call(message).await?;
        if let Some(started) = started {
            latencies.record(started.elapsed());
        }
        answer.check(number, length)?;
        number += 1;
        counter.0.store(number, Ordering::Relaxed);
    }
    Ok(latencies)
}

/// What the callers share. Written twice in all, so its cache line stays shared.
#[derive(Debug)]
struct Plan {
    template: Message,
    in_flight: usize,
    stop: AtomicBool,
    measuring: AtomicBool,
}

impl Plan {
    fn new(cell: Cell) -> Self {
        Self {
            template: Message::sample(cell.load.payload()),
            in_flight: cell.shape.in_flight,
            stop: AtomicBool::new(false),
            measuring: AtomicBool::new(false),
        }
    }
}

/// Calls completed by one task, on a cache line that no other task writes.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

/// Clock, processor time and calls at one moment.
#[derive(Debug)]
struct Reading {
    at: Instant,
    cpu: Duration,
    machine: Duration,
    calls: u64,
}

impl Reading {
    fn take(workload: &Workload, calls: u64) -> Outcome<Self> {
        let cpu = cpu::used_by(workload.server)? + cpu::used_by(std::process::id())?;
        Ok(Self { at: Instant::now(), cpu, machine: cpu::used_by_all()?, calls })
    }

    fn since(&self, before: &Self) -> Sample {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        let cpu = self.cpu.saturating_sub(before.cpu);
        let foreign = self.machine.saturating_sub(before.machine).saturating_sub(cpu);
        Sample {
            calls: self.calls.saturating_sub(before.calls),
            seconds,
            cpu_seconds: cpu.as_secs_f64(),
            foreign_cores: foreign.as_secs_f64() / seconds,
            latency_us: None,
        }
    }
}
