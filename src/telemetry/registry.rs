//! Registration: every series of every metric is made once, at the start, and handed out as a handle of the `metrics`
//! crate. The exporter of that crate keeps and renders them, but for two kinds of families that the hot path counts in:
//! counters, whose sums are copied to the exporter at each scrape, and latencies, which are rendered here.

use std::{marker::PhantomData, sync::Arc, time::Duration};

use metrics::{Counter, Gauge, Histogram, Key, Label as KeyLabel, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{
    LabelSet, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder, formatting,
};
use metrics_process::Collector;

use super::{
    cells::{CellCounter, CellHistogram, Cells, Distribution},
    labels::Label,
    metric::{Kind, Metric, Spec, Unit},
};

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

/// A histogram of durations.
#[derive(Clone, Debug)]
pub struct Latency(Histogram);

impl Latency {
    /// Records one duration.
    pub fn observe(&self, took: Duration) {
        self.0.record(took);
    }
}

/// A counter of time: it counts milliseconds, so that nothing is lost to rounding, and shows whole seconds.
#[derive(Debug)]
pub(super) struct TimeCounter(Counter);

impl TimeCounter {
    pub(super) fn add_ms(&self, ms: u64) {
        self.0.increment(ms);
    }
}

/// A counter in cells, and the series of the exporter that shows it.
struct Mirrored {
    cell: usize,
    shown: Counter,
    /// How many of what is counted make one of what is shown.
    unit: u64,
}

/// A family of latencies in cells.
struct HotLatencies {
    metric: Metric,
    series: Vec<(Key, Arc<CellHistogram>)>,
}

/// Makes handles and renders what they counted.
pub(super) struct Registry {
    recorder: PrometheusRecorder,
    exporter: PrometheusHandle,
    process: Collector,
    cells: Arc<Cells>,
    /// Cells that are given out.
    taken: usize,
    mirrored: Vec<Mirrored>,
    latencies: Vec<HotLatencies>,
}

const METADATA: Metadata<'static> = Metadata::new("gastank", Level::INFO, None);

impl Registry {
    pub(super) fn new() -> Self {
        let recorder = Metric::ALL.iter().fold(PrometheusBuilder::new(), |builder, metric| match metric.spec() {
            Spec { name, kind: Kind::Histogram(bounds), .. } => builder
                .set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)
                .expect("every histogram has bounds: a test looks"),
            _ => builder,
        });
        let recorder = recorder.build_recorder();
        let (exporter, process) = (recorder.handle(), Collector::default());
        metrics::with_local_recorder(&recorder, || process.describe());
        // Room for every series, whether it counts in cells or not: they are few, and a thread's cells are made once.
        let cells = Metric::ALL.iter().map(|metric| series(*metric).len() * cells_of(metric.spec().kind)).sum();
        let cells = Arc::new(Cells::new(cells));
        Self { recorder, exporter, process, cells, taken: 0, mirrored: Vec::new(), latencies: Vec::new() }
    }

    pub(super) fn counter(&self, metric: Metric) -> Counter {
        self.counters(metric, &[]).remove(0)
    }

    pub(super) fn counters_by<A: Label>(&self, metric: Metric) -> ByOne<Counter, A> {
        ByOne { handles: self.counters(metric, &[A::NAME]).into(), label: PhantomData }
    }

    pub(super) fn counters_by_two<A: Label, B: Label>(&self, metric: Metric) -> ByTwo<Counter, A, B> {
        ByTwo { handles: self.counters(metric, &[A::NAME, B::NAME]).into(), labels: PhantomData }
    }

    /// Counters for the hot path.
    pub(super) fn hot_counters_by<A: Label>(&mut self, metric: Metric) -> ByOne<Counter, A> {
        ByOne { handles: self.hot_counters(metric, &[A::NAME], 1).into(), label: PhantomData }
    }

    /// Counters for the hot path.
    pub(super) fn hot_counters_by_two<A: Label, B: Label>(&mut self, metric: Metric) -> ByTwo<Counter, A, B> {
        ByTwo { handles: self.hot_counters(metric, &[A::NAME, B::NAME], 1).into(), labels: PhantomData }
    }

    pub(super) fn times_by<A: Label>(&mut self, metric: Metric) -> ByOne<TimeCounter, A> {
        let handles = self.hot_counters(metric, &[A::NAME], 1000).into_iter().map(TimeCounter).collect();
        ByOne { handles, label: PhantomData }
    }

    pub(super) fn gauge(&self, metric: Metric) -> Gauge {
        self.gauges(metric, &[]).remove(0)
    }

    pub(super) fn gauges_by<A: Label>(&self, metric: Metric) -> ByOne<Gauge, A> {
        ByOne { handles: self.gauges(metric, &[A::NAME]).into(), label: PhantomData }
    }

    pub(super) fn gauges_by_two<A: Label, B: Label>(&self, metric: Metric) -> ByTwo<Gauge, A, B> {
        ByTwo { handles: self.gauges(metric, &[A::NAME, B::NAME]).into(), labels: PhantomData }
    }

    pub(super) fn histogram(&self, metric: Metric) -> Histogram {
        self.histograms(metric, &[]).remove(0)
    }

    pub(super) fn latencies_by_two<A: Label, B: Label>(&self, metric: Metric) -> ByTwo<Latency, A, B> {
        let handles = self.histograms(metric, &[A::NAME, B::NAME]).into_iter().map(Latency).collect();
        ByTwo { handles, labels: PhantomData }
    }

    /// Latencies for the hot path.
    pub(super) fn hot_latencies_by<A: Label>(&mut self, metric: Metric) -> ByOne<Latency, A> {
        ByOne { handles: self.hot_latencies(metric, &[A::NAME]).into(), label: PhantomData }
    }

    /// Everything in the Prometheus text format, families in the order of their names.
    pub(super) fn render(&self) -> String {
        let sums = self.cells.sums();
        for Mirrored { cell, shown, unit } in &self.mirrored {
            shown.absolute(sums[*cell] / unit);
        }
        metrics::with_local_recorder(&self.recorder, || self.process.collect());
        let mut families: Vec<String> = self.exporter.render().split_terminator("\n\n").map(in_order).collect();
        families.extend(self.latencies.iter().map(|family| family.render(&sums)));
        families.sort_unstable();
        families.concat()
    }

    /// Takes in what histograms of the exporter have recorded. Between scrapes they keep every value until then, so this
    /// is to be called every few seconds.
    pub(super) fn upkeep(&self) {
        self.exporter.run_upkeep();
    }

    fn counters(&self, metric: Metric, labels: &[&str]) -> Vec<Counter> {
        let spec = check(metric, labels, |kind| kind == Kind::Counter);
        self.recorder.describe_counter(spec.name.into(), Some(unit(spec.unit)), spec.help.into());
        keys(metric).iter().map(|key| self.recorder.register_counter(key, &METADATA)).collect()
    }

    fn hot_counters(&mut self, metric: Metric, labels: &[&str], unit: u64) -> Vec<Counter> {
        let shown = self.counters(metric, labels);
        let first = self.take(metric);
        let hot = shown.into_iter().zip(first..).map(|(shown, cell)| {
            self.mirrored.push(Mirrored { cell, shown, unit });
            Counter::from_arc(Arc::new(CellCounter { cells: Arc::clone(&self.cells), cell }))
        });
        hot.collect()
    }

    fn gauges(&self, metric: Metric, labels: &[&str]) -> Vec<Gauge> {
        let spec = check(metric, labels, |kind| kind == Kind::Gauge);
        self.recorder.describe_gauge(spec.name.into(), Some(unit(spec.unit)), spec.help.into());
        keys(metric).iter().map(|key| self.recorder.register_gauge(key, &METADATA)).collect()
    }

    fn histograms(&self, metric: Metric, labels: &[&str]) -> Vec<Histogram> {
        let spec = check(metric, labels, |kind| matches!(kind, Kind::Histogram(_)));
        self.recorder.describe_histogram(spec.name.into(), Some(unit(spec.unit)), spec.help.into());
        keys(metric).iter().map(|key| self.recorder.register_histogram(key, &METADATA)).collect()
    }

    fn hot_latencies(&mut self, metric: Metric, labels: &[&str]) -> Vec<Latency> {
        let spec = check(metric, labels, |kind| matches!(kind, Kind::Histogram(_)));
        let Kind::Histogram(bounds) = spec.kind else { return Vec::new() };
        let (first, each) = (self.take(metric), CellHistogram::cells(bounds.len()));
        let series: Vec<_> = keys(metric)
            .into_iter()
            .enumerate()
            .map(|(n, key)| {
                let cells = Arc::clone(&self.cells);
                (key, Arc::new(CellHistogram { cells, first: first + n * each, bounds }))
            })
            .collect();
        let handles = series.iter().map(|(_, hot)| Latency(Histogram::from_arc(Arc::clone(hot)))).collect();
        self.latencies.push(HotLatencies { metric, series });
        handles
    }

    /// Gives out the cells of a metric; answers the first.
    fn take(&mut self, metric: Metric) -> usize {
        let first = self.taken;
        self.taken += series(metric).len() * cells_of(metric.spec().kind);
        first
    }
}

impl HotLatencies {
    fn render(&self, sums: &[u64]) -> String {
        let Spec { name, kind, help, .. } = self.metric.spec();
        let mut text = String::with_capacity(self.series.len() * 2048);
        formatting::write_help_line(&mut text, name, None, None, help);
        formatting::write_type_line(&mut text, name, None, None, kind.name());
        for (key, histogram) in &self.series {
            let labels = LabelSet::from_key_and_global(key, &Default::default());
            let Distribution { cumulative, count, sum_s } = histogram.read(sums);
            let mut line = |suffix, le: Option<String>, value: String| {
                formatting::write_metric_line(
                    &mut text,
                    name,
                    Some(suffix),
                    &labels,
                    le.map(|le| ("le", le)),
                    value,
                    None,
                );
            };
            for (bound, not_above) in cumulative {
                line("bucket", Some(bound.to_string()), not_above.to_string());
            }
            line("bucket", Some("+Inf".to_owned()), count.to_string());
            line("sum", None, sum_s.to_string());
            line("count", None, count.to_string());
        }
        text
    }
}

/// A family with its series in order, but for those of histograms, which are in order.
fn in_order(family: &str) -> String {
    let mut lines: Vec<&str> = family.lines().collect();
    if !lines.iter().any(|line| line.starts_with("# TYPE") && line.ends_with(" histogram")) {
        lines.sort_unstable();
    }
    lines.into_iter().flat_map(|line| [line, "\n"]).collect()
}

/// How many cells a series takes on the hot path.
const fn cells_of(kind: Kind) -> usize {
    match kind {
        Kind::Counter => 1,
        Kind::Gauge => 0,
        Kind::Histogram(bounds) => CellHistogram::cells(bounds.len()),
    }
}

const fn unit(unit: Unit) -> metrics::Unit {
    match unit {
        Unit::Count => metrics::Unit::Count,
        Unit::Seconds => metrics::Unit::Seconds,
        Unit::Bytes => metrics::Unit::Bytes,
    }
}

/// A mistake in the wiring of a metric shows at the start of every test.
fn check(metric: Metric, labels: &[&str], right_kind: impl Fn(Kind) -> bool) -> Spec {
    let spec = metric.spec();
    assert!(right_kind(spec.kind), "{} is of another type", spec.name);
    assert!(spec.labels.iter().map(|label| label.name).eq(labels.iter().copied()), "{} has other labels", spec.name);
    spec
}

/// The keys of a metric, in the order of [`series`].
fn keys(metric: Metric) -> Vec<Key> {
    let key = |labels: Vec<(&'static str, &'static str)>| {
        let labels: Vec<_> = labels.into_iter().map(|(name, value)| KeyLabel::new(name, value)).collect();
        Key::from_parts(metric.spec().name, labels)
    };
    series(metric).into_iter().map(key).collect()
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
