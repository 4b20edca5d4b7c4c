//! The numbers of a process as text for Prometheus.

use std::fmt::Write;

use crate::debug::histogram::BOUNDS;
use crate::debug::stats::{EndpointStats, GaugeKind, Stats};

/// Which text format is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exposition {
    /// Prometheus text, version 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
}

impl Exposition {
    /// Chooses a format by what the reader accepts.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Returns the content type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes the numbers of a process.
pub fn expose(stats: &Stats, format: Exposition) -> String {
    let mut page = Page { text: String::new(), format };
    endpoints(&mut page, &stats.endpoints);
    process(&mut page, stats);
    runtime(&mut page, stats);
    for gauge in &stats.gauges {
        let name = format!("micro_{}", sane(&gauge.name));
        match gauge.kind {
            GaugeKind::Gauge => page.gauge(&name, &gauge.help, Some(gauge.value)),
            GaugeKind::Counter => page.counter(&name, &gauge.help, Some(gauge.value)),
        }
    }
    if format == Exposition::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

fn endpoints(page: &mut Page, endpoints: &[EndpointStats]) {
    page.head("micro_requests", "counter", "Calls that are over, by how they ended.");
    for endpoint in endpoints {
        for (outcome, count) in endpoint.outcomes.named().into_iter().filter(|named| named.1 > 0) {
            let labels = format!("{},outcome=\"{outcome}\"", labels(endpoint));
            page.sample("micro_requests_total", &labels, count);
        }
    }
    page.head("micro_requests_in_flight", "gauge", "Calls that run.");
    for endpoint in endpoints {
        page.sample("micro_requests_in_flight", &labels(endpoint), endpoint.in_flight);
    }
    page.head("micro_request_duration_seconds", "histogram", "Time of calls from arrival to end.");
    for endpoint in endpoints {
        histogram(page, endpoint);
    }
}

fn histogram(page: &mut Page, endpoint: &EndpointStats) {
    const NAME: &str = "micro_request_duration_seconds";
    let (labels, mut below) = (labels(endpoint), 0);
    let (bucket, counts) = (format!("{NAME}_bucket"), &endpoint.latency.counts);
    for (bound, count) in BOUNDS.into_iter().zip(counts.iter().chain(std::iter::repeat(&0))) {
        below += count;
        page.sample(&bucket, &format!("{labels},le=\"{}\"", seconds(bound)), below);
    }
    let count = endpoint.latency.count();
    page.sample(&bucket, &format!("{labels},le=\"+Inf\""), count);
    page.sample(&format!("{NAME}_sum"), &labels, seconds(endpoint.latency.sum_ns));
    page.sample(&format!("{NAME}_count"), &labels, count);
}

fn process(page: &mut Page, stats: &Stats) {
    let process = &stats.process;
    let cpu = process.cpu_ms.map(|ms| seconds(ms.saturating_mul(1_000_000)));
    page.counter("process_cpu_seconds", "Processor time used.", cpu);
    page.gauge("process_resident_memory_bytes", "Memory in use.", process.memory);
    page.gauge("process_open_fds", "Open file descriptors.", process.fds);
    page.gauge("process_max_fds", "File descriptors that may be open.", process.fds_max);
    page.gauge("process_threads", "Threads.", process.threads);
    let help = "When the process began, since 1970-01-01 UTC.";
    page.gauge("process_start_time_seconds", help, Some(stats.started));
}

fn runtime(page: &mut Page, stats: &Stats) {
    let Some(runtime) = &stats.runtime else { return };
    page.gauge("tokio_workers", "Worker threads of the runtime.", Some(runtime.workers));
    page.gauge("tokio_tasks", "Tasks that have not ended.", Some(runtime.tasks));
    page.gauge("tokio_queued_tasks", "Tasks in the shared queue.", Some(runtime.queued));
    let busy = Some(seconds(runtime.busy_ns));
    page.counter("tokio_busy_seconds", "Time that workers were busy.", busy);
    page.counter("tokio_parks", "How often a worker had nothing to do.", Some(runtime.parks));
}

fn labels(endpoint: &EndpointStats) -> String {
    let (service, name) = (escaped(&endpoint.service), escaped(&endpoint.endpoint));
    format!("service=\"{service}\",endpoint=\"{name}\"")
}

/// Writes nanoseconds as seconds, exactly.
fn seconds(nanos: u64) -> String {
    let (whole, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let text = format!("{whole}.{rest:09}");
    let short = text.trim_end_matches('0');
    // OpenMetrics wants bounds to look like floating point numbers.
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

/// Escapes the value of a label.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

/// Replaces what no name of a metric may hold.
fn sane(name: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    name.chars().map(kept).collect()
}

struct Page {
    text: String,
    format: Exposition,
}

impl Page {
    /// Begins a family; counters are named without `_total` here.
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let suffix = match (kind, self.format) {
            ("counter", Exposition::Prometheus) => "_total",
            _ => "",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let help =
            if self.format == Exposition::OpenMetrics { help.replace('"', "\\\"") } else { help };
        // Writing to a string cannot fail.
        let _written =
            write!(self.text, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _written = if labels.is_empty() {
            writeln!(self.text, "{name} {value}")
        } else {
            writeln!(self.text, "{name}{{{labels}}} {value}")
        };
    }

    fn gauge(&mut self, name: &str, help: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.head(name, "gauge", help);
            self.sample(name, "", value);
        }
    }

    fn counter(&mut self, name: &str, help: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.head(name, "counter", help);
            self.sample(&format!("{name}_total"), "", value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debug::histogram::Histogram;
    use crate::debug::process::ProcessStats;
    use crate::debug::runtime::RuntimeStats;
    use crate::debug::stats::{Gauge, Outcomes};
    use std::time::Duration;

    fn stats() -> Stats {
        let mut latency = Histogram::default();
        latency.extend([Duration::from_micros(40), Duration::from_millis(3)]);
        let endpoint = EndpointStats {
            service: "a\"b\\c\nd".to_owned(),
            endpoint: "Greeter.Hello".to_owned(),
            in_flight: 3,
            outcomes: Outcomes { ok: 1, late: 1, ..Outcomes::default() },
            latency,
        };
        Stats {
            process: ProcessStats { cpu_ms: Some(1234), ..ProcessStats::default() },
            runtime: Some(RuntimeStats::default()),
            endpoints: vec![endpoint],
            gauges: vec![Gauge {
                name: "odd name".to_owned(),
                help: "two\nlines".to_owned(),
                kind: GaugeKind::Counter,
                value: 7,
            }],
            ..Stats::default()
        }
    }

    #[test]
    fn a_page_of_prometheus_has_each_family_once_under_its_name() {
        let text = expose(&stats(), Exposition::Prometheus);
        for line in [
            "# TYPE micro_requests_total counter",
            "micro_requests_total{service=\"a\\\"b\\\\c\\nd\",endpoint=\"Greeter.Hello\",outcome=\"ok\"} 1",
            "# TYPE micro_request_duration_seconds histogram",
            "process_cpu_seconds_total 1.234",
            "# HELP micro_odd_name_total two\\nlines",
            "micro_odd_name_total 7",
        ] {
            assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
        }
        let mut types: Vec<_> = text.lines().filter(|l| l.starts_with("# TYPE")).collect();
        let count = types.len();
        types.sort_unstable();
        types.dedup();
        assert_eq!(types.len(), count);
        assert!(!text.contains("# EOF"));
    }

    #[test]
    fn a_page_of_openmetrics_ends_with_its_mark_and_names_counters_without_suffix() {
        let text = expose(&stats(), Exposition::OpenMetrics);
        assert!(text.contains("# TYPE micro_requests counter\n"), "{text}");
        assert!(text.contains("\nmicro_requests_total{"), "{text}");
        assert!(text.ends_with("# EOF\n") && !text.contains("\n\n"));
    }

    #[test]
    fn buckets_grow_and_the_last_one_is_the_count() {
        let text = expose(&stats(), Exposition::Prometheus);
        let values: Vec<u64> = text
            .lines()
            .filter(|line| line.starts_with("micro_request_duration_seconds_bucket"))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
            .collect();
        assert_eq!(values.len(), BOUNDS.len() + 1);
        assert!(values.is_sorted());
        assert_eq!((values[0], values.last()), (1, Some(&2)));
        assert!(text.contains("le=\"0.00005\"") && text.contains("le=\"1.0\""), "{text}");
        assert!(
            text.contains("_sum{service=\"a\\\"b\\\\c\\nd\",endpoint=\"Greeter.Hello\"} 0.00304")
        );
    }
}
