//! Registration: every series of every metric is made once, at the start, and handed out as a handle.
//!
//! Counters and histograms count in [`Cells`]; a gauge is one number. Nobody but a scrape reads them.

use std::fmt::{Display, Write};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::cells::Cells;
use super::labels::Label;
use super::metric::{Kind, Metric, Spec, Unit};

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
        self.at(a, b.index())
    }

    /// The same, by the second label's index.
    pub(super) fn at(&self, a: A, b: usize) -> &H {
        &self.handles[a.index() * B::VALUES.len() + b]
    }
}

/// Goes up. Counting touches nothing that another thread touches.
#[derive(Clone, Debug)]
pub struct Counter {
    cells: Arc<Cells>,
    cell: usize,
}

impl Counter {
    /// Counts so many.
    pub fn increment(&self, by: u64) {
        self.cells.add(self.cell, by);
    }

    /// Takes over a count that somebody else keeps. It never goes back.
    pub fn absolute(&self, count: u64) {
        self.cells.raise(self.cell, count);
    }
}

/// Goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// It is this now.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// It is so much more.
    pub fn increment(&self, by: f64) {
        let more = |bits| Some((f64::from_bits(bits) + by).to_bits());
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// It is so much less.
    pub fn decrement(&self, by: f64) {
        self.increment(-by);
    }

    fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// A distribution of whole numbers: of things, or of nanoseconds, which are shown in seconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    cells: Arc<Cells>,
    /// The first of its cells: one for each bucket, one beyond the last, one for the sum.
    first: usize,
    bounds: &'static [f64],
    scale: f64,
}

impl Histogram {
    /// Records one value.
    pub fn record(&self, value: u64) {
        let shown = value as f64 / self.scale;
        let bucket = self.bounds.partition_point(|bound| *bound < shown);
        self.cells.add(self.first + bucket, 1);
        self.cells.add(self.first + self.bounds.len() + 1, value);
    }
}

/// A histogram of durations.
#[derive(Clone, Debug)]
pub struct Latency(Histogram);

impl Latency {
    /// Records one duration.
    pub fn observe(&self, took: Duration) {
        self.0.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// A counter of time, kept in milliseconds so that nothing is lost to rounding, and shown in seconds.
#[derive(Debug)]
pub(super) struct TimeCounter(Counter);

impl TimeCounter {
    pub(super) fn add_ms(&self, ms: u64) {
        self.0.increment(ms);
    }

    pub(super) fn at_least_ms(&self, ms: u64) {
        self.0.absolute(ms);
    }
}

/// The series of a metric, in the order of [`series`].
enum Family {
    Counters(Vec<Counter>),
    Times(Vec<Counter>),
    Gauges(Vec<Gauge>),
    Histograms(Vec<Histogram>),
}

/// Makes handles and renders what they counted.
pub(super) struct Registry {
    cells: Arc<Cells>,
    /// Cells that are given out.
    taken: usize,
    families: Vec<(Metric, Family)>,
}

impl Registry {
    pub(super) fn new() -> Self {
        let cells = Metric::ALL.iter().map(|metric| series(*metric).len() * cells_of(metric.spec().kind)).sum();
        Self { cells: Arc::new(Cells::new(cells)), taken: 0, families: Vec::new() }
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

    pub(super) fn gauges_by_two<A: Label, B: Label>(&mut self, metric: Metric) -> ByTwo<Gauge, A, B> {
        ByTwo { handles: self.gauges(metric, &[A::NAME, B::NAME]).into(), labels: PhantomData }
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
        let mut text = String::with_capacity(1 << 16);
        let sums = self.cells.sums();
        for (metric, family) in &self.families {
            let Spec { name, kind, help, .. } = metric.spec();
            line(&mut text, format_args!("# HELP {name} {help}"));
            line(&mut text, format_args!("# TYPE {name} {}", kind.name()));
            let labels = series(*metric).into_iter().map(|labels| {
                let labels = labels.iter().map(|(label, value)| format!("{label}=\"{value}\""));
                labels.collect::<Vec<_>>().join(",")
            });
            for (n, labels) in labels.enumerate() {
                match family {
                    Family::Counters(counters) => sample(&mut text, name, &labels, sums[counters[n].cell]),
                    Family::Times(counters) => {
                        let ms = sums[counters[n].cell];
                        sample(&mut text, name, &labels, format_args!("{}.{:03}", ms / 1000, ms % 1000));
                    }
                    Family::Gauges(gauges) => sample(&mut text, name, &labels, gauges[n].value()),
                    Family::Histograms(histograms) => distribution(&mut text, name, &labels, &histograms[n], &sums),
                }
            }
        }
        text
    }

    fn counters(&mut self, metric: Metric, labels: &[&str]) -> Vec<Counter> {
        check(metric, labels, |kind| kind == Kind::Counter);
        let counters: Vec<_> = self.cells_for(metric).map(|(cells, cell)| Counter { cells, cell }).collect();
        self.families.push((metric, Family::Counters(counters.clone())));
        counters
    }

    fn times(&mut self, metric: Metric, labels: &[&str]) -> Vec<TimeCounter> {
        check(metric, labels, |kind| kind == Kind::Counter);
        let counters: Vec<_> = self.cells_for(metric).map(|(cells, cell)| Counter { cells, cell }).collect();
        self.families.push((metric, Family::Times(counters.clone())));
        counters.into_iter().map(TimeCounter).collect()
    }

    fn gauges(&mut self, metric: Metric, labels: &[&str]) -> Vec<Gauge> {
        check(metric, labels, |kind| kind == Kind::Gauge);
        let gauges: Vec<_> = series(metric).iter().map(|_| Gauge::default()).collect();
        self.families.push((metric, Family::Gauges(gauges.clone())));
        gauges
    }

    fn histograms(&mut self, metric: Metric, labels: &[&str]) -> Vec<Histogram> {
        check(metric, labels, |kind| matches!(kind, Kind::Histogram(_)));
        let Spec { kind: Kind::Histogram(bounds), unit, .. } = metric.spec() else { return Vec::new() };
        let scale = if unit == Unit::Seconds { 1e9 } else { 1.0 };
        let histograms: Vec<_> =
            self.cells_for(metric).map(|(cells, first)| Histogram { cells, first, bounds, scale }).collect();
        self.families.push((metric, Family::Histograms(histograms.clone())));
        histograms
    }

    /// For each series of a metric the first of its cells.
    fn cells_for(&mut self, metric: Metric) -> impl Iterator<Item = (Arc<Cells>, usize)> {
        let (each, first) = (cells_of(metric.spec().kind), self.taken);
        let count = series(metric).len();
        self.taken += each * count;
        let cells = Arc::clone(&self.cells);
        (0..count).map(move |n| (Arc::clone(&cells), first + n * each))
    }
}

/// How many cells a series takes.
const fn cells_of(kind: Kind) -> usize {
    match kind {
        Kind::Counter => 1,
        Kind::Gauge => 0,
        Kind::Histogram(bounds) => bounds.len() + 2,
    }
}

fn distribution(text: &mut String, name: &str, labels: &str, histogram: &Histogram, sums: &[u64]) {
    let comma = if labels.is_empty() { "" } else { "," };
    let (sums, mut count) = (&sums[histogram.first..], 0);
    let bounds = histogram.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
    for (bound, in_bucket) in bounds.zip(sums) {
        count += in_bucket;
        sample(text, &format!("{name}_bucket"), &format!("{labels}{comma}le=\"{bound}\""), count);
    }
    sample(text, &format!("{name}_sum"), labels, sums[histogram.bounds.len() + 1] as f64 / histogram.scale);
    sample(text, &format!("{name}_count"), labels, count);
}

fn sample(text: &mut String, name: &str, labels: &str, value: impl Display) {
    if labels.is_empty() {
        line(text, format_args!("{name} {value}"));
    } else {
        line(text, format_args!("{name}{{{labels}}} {value}"));
    }
}

fn line(text: &mut String, line: impl Display) {
    writeln!(text, "{line}").expect("a String takes any text");
}

/// A mistake in the wiring of a metric shows at the start of every test.
fn check(metric: Metric, labels: &[&str], right_kind: impl Fn(Kind) -> bool) {
    let spec = metric.spec();
    assert!(right_kind(spec.kind), "{} is of another type", spec.name);
    assert!(spec.labels.iter().map(|label| label.name).eq(labels.iter().copied()), "{} has other labels", spec.name);
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
