//! Registration: every series of every metric is made once, at the start, and handed out as a handle.
//!
//! A counter's handle is one atomic of our own; its value is copied into the Prometheus recorder when somebody
//! scrapes. The recorder's own handles do a second atomic add for idle series, which the beat path need not pay for.

use std::fmt::Write;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metrics::atomics::AtomicU64;
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Level, Recorder, SharedString};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::labels::Label;
use super::metric::{Kind, Metric, Spec};

/// The handles of a metric with one label.
#[derive(Debug)]
pub(super) struct ByOne<H, A> {
    handles: Box<[H]>,
    label: PhantomData<fn(A)>,
}

impl<H, A: Label> ByOne<H, A> {
    pub(super) fn of(&self, a: A) -> &H {
        &self.handles[a.index()]
    }
}

/// The handles of a metric with two labels.
#[derive(Debug)]
pub(super) struct ByTwo<H, A, B> {
    handles: Box<[H]>,
    labels: PhantomData<fn(A, B)>,
}

impl<H, A: Label, B: Label> ByTwo<H, A, B> {
    pub(super) fn of(&self, a: A, b: B) -> &H {
        &self.handles[a.index() * B::VALUES.len() + b.index()]
    }
}

/// A histogram of durations.
#[derive(Clone, Debug)]
pub struct Latency(Histogram);

impl Latency {
    /// Records one duration.
    pub fn observe(&self, took: Duration) {
        self.0.record(took.as_secs_f64());
    }
}

/// A counter of time, kept in milliseconds so that nothing is lost to rounding, and shown in seconds.
#[derive(Debug)]
pub(super) struct TimeCounter(Arc<AtomicU64>);

impl TimeCounter {
    pub(super) fn add_ms(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }

    pub(super) fn at_least_ms(&self, ms: u64) {
        self.0.fetch_max(ms, Ordering::Relaxed);
    }
}

/// Makes handles and renders what they counted.
pub(super) struct Registry {
    recorder: PrometheusRecorder,
    /// Our counters, each with the recorder's counter that it is copied to.
    counters: Vec<(Arc<AtomicU64>, Counter)>,
    /// Counters of time: the recorder's are whole numbers, these are rendered here.
    times: Vec<(Metric, Vec<Arc<AtomicU64>>)>,
    pending: Arc<AtomicU64>,
}

impl Registry {
    pub(super) fn new() -> Self {
        let mut builder = PrometheusBuilder::new();
        for metric in Metric::ALL {
            if let Spec { name, kind: Kind::Histogram(bounds), .. } = metric.spec() {
                builder = builder
                    .set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)
                    .expect("every histogram has buckets");
            }
        }
        let recorder = builder.build_recorder();
        for metric in Metric::ALL {
            let Spec { name, kind, unit, help, .. } = metric.spec();
            let (name, help) = (KeyName::from_const_str(name), SharedString::const_str(help));
            match kind {
                Kind::Counter => recorder.describe_counter(name, Some(unit), help),
                Kind::Gauge => recorder.describe_gauge(name, Some(unit), help),
                Kind::Histogram(_) => recorder.describe_histogram(name, Some(unit), help),
            }
        }
        Self { recorder, counters: Vec::new(), times: Vec::new(), pending: Arc::default() }
    }

    pub(super) fn counter(&mut self, metric: Metric) -> Counter {
        self.counters(metric, &[]).remove(0)
    }

    pub(super) fn counters_by<A: Label>(&mut self, metric: Metric) -> ByOne<Counter, A> {
        ByOne { handles: self.counters(metric, &[A::NAME]).into(), label: PhantomData }
    }

    pub(super) fn counters_by_two<A: Label, B: Label>(&mut self, metric: Metric) -> ByTwo<Counter, A, B> {
        ByTwo { handles: self.counters(metric, &[A::NAME, B::NAME]).into(), labels: PhantomData }
    }

    pub(super) fn time(&mut self, metric: Metric) -> TimeCounter {
        self.times(metric, &[]).remove(0)
    }

    pub(super) fn times_by<A: Label>(&mut self, metric: Metric) -> ByOne<TimeCounter, A> {
        ByOne { handles: self.times(metric, &[A::NAME]).into(), label: PhantomData }
    }

    pub(super) fn gauge(&mut self, metric: Metric) -> Gauge {
        self.gauges(metric, &[]).remove(0)
    }

    pub(super) fn gauges_by<A: Label>(&mut self, metric: Metric) -> ByOne<Gauge, A> {
        ByOne { handles: self.gauges(metric, &[A::NAME]).into(), label: PhantomData }
    }

    pub(super) fn histogram(&mut self, metric: Metric) -> Histogram {
        self.histograms(metric, &[]).remove(0)
    }

    pub(super) fn latencies_by<A: Label>(&mut self, metric: Metric) -> ByOne<Latency, A> {
        let handles = self.histograms(metric, &[A::NAME]).into_iter().map(Latency).collect();
        ByOne { handles, label: PhantomData }
    }

    pub(super) fn latencies_by_two<A: Label, B: Label>(&mut self, metric: Metric) -> ByTwo<Latency, A, B> {
        let handles = self.histograms(metric, &[A::NAME, B::NAME]).into_iter().map(Latency).collect();
        ByTwo { handles, labels: PhantomData }
    }

    /// Everything in the Prometheus text format.
    pub(super) fn render(&self) -> String {
        for (ours, theirs) in &self.counters {
            theirs.absolute(ours.load(Ordering::Relaxed));
        }
        let mut text = self.recorder.handle().render();
        for (metric, cells) in &self.times {
            let Spec { name, kind, help, .. } = metric.spec();
            let mut lines = String::new();
            for (labels, cell) in series(*metric).into_iter().zip(cells) {
                let ms = cell.load(Ordering::Relaxed);
                let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
                let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
                writeln!(lines, "{name}{labels} {}.{:03}", ms / 1000, ms % 1000).expect("a String takes any text");
            }
            write!(text, "# HELP {name} {help}\n# TYPE {name} {}\n{lines}\n", kind.name())
                .expect("a String takes any text");
        }
        text
    }

    fn counters(&mut self, metric: Metric, labels: &[&str]) -> Vec<Counter> {
        check(metric, labels, |kind| kind == Kind::Counter);
        let metadata = metrics::Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
        let register = |key: Key| {
            let cell = Arc::new(AtomicU64::new(0));
            self.counters.push((Arc::clone(&cell), self.recorder.register_counter(&key, &metadata)));
            Counter::from_arc(cell)
        };
        keys(metric).map(register).collect()
    }

    fn times(&mut self, metric: Metric, labels: &[&str]) -> Vec<TimeCounter> {
        check(metric, labels, |kind| kind == Kind::Counter);
        let cells: Vec<_> = series(metric).iter().map(|_| Arc::new(AtomicU64::new(0))).collect();
        self.times.push((metric, cells.clone()));
        cells.into_iter().map(TimeCounter).collect()
    }

    fn gauges(&mut self, metric: Metric, labels: &[&str]) -> Vec<Gauge> {
        check(metric, labels, |kind| kind == Kind::Gauge);
        let metadata = metrics::Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
        keys(metric).map(|key| self.recorder.register_gauge(&key, &metadata)).collect()
    }

    fn histograms(&mut self, metric: Metric, labels: &[&str]) -> Vec<Histogram> {
        check(metric, labels, |kind| matches!(kind, Kind::Histogram(_)));
        let metadata = metrics::Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
        let register = |key: Key| {
            Histogram::from_arc(Arc::new(Bounded {
                samples: self.recorder.register_histogram(&key, &metadata),
                pending: Arc::clone(&self.pending),
                recorder: self.recorder.handle(),
            }))
        };
        keys(metric).map(register).collect()
    }
}

/// A histogram of the recorder, which keeps every sample until somebody scrapes: here they are folded into buckets
/// before there are too many, so that memory is bounded when nobody does.
struct Bounded {
    samples: Histogram,
    /// Samples that came since the start, in all histograms together.
    pending: Arc<AtomicU64>,
    recorder: PrometheusHandle,
}

impl Bounded {
    /// How many samples may wait, at 24 bytes each.
    const LIMIT: u64 = 1 << 16;
}

impl HistogramFn for Bounded {
    fn record(&self, value: f64) {
        self.samples.record(value);
        if self.pending.fetch_add(1, Ordering::Relaxed) % Self::LIMIT == Self::LIMIT - 1 {
            self.recorder.run_upkeep();
        }
    }
}

/// A mistake in the wiring of a metric shows at the start of every test.
fn check(metric: Metric, labels: &[&str], right_kind: impl Fn(Kind) -> bool) {
    let spec = metric.spec();
    assert!(right_kind(spec.kind), "{} is of another type", spec.name);
    assert!(spec.labels.iter().map(|label| label.name).eq(labels.iter().copied()), "{} has other labels", spec.name);
}

fn keys(metric: Metric) -> impl Iterator<Item = Key> {
    let name = metric.spec().name;
    series(metric).into_iter().map(move |labels| {
        let labels: Vec<_> = labels.into_iter().map(|(label, value)| metrics::Label::new(label, value)).collect();
        Key::from_parts(name, labels)
    })
}

/// Every combination of the metric's label values; the last label changes fastest.
pub(super) fn series(metric: Metric) -> Vec<Vec<(&'static str, &'static str)>> {
    metric.spec().labels.iter().fold(vec![Vec::new()], |combinations, label| {
        let with_each_value = |combination: &Vec<(&'static str, &'static str)>| {
            let combination = combination.clone();
            let with = move |value: &&'static str| [combination.as_slice(), &[(label.name, *value)]].concat();
            label.values.iter().map(with).collect::<Vec<_>>()
        };
        combinations.iter().flat_map(with_each_value).collect()
    })
}
