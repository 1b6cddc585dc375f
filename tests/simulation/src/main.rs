//! `cargo run -p simulation -- --seeds 1000`: runs, and which of them found something.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use simulation::{BOUND, Report, run};

/// Lives through whole clusters in virtual time, each from one seed.
#[derive(Parser)]
struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them; alone, it is told line by line.
    #[arg(long)]
    seed: Option<u64>,
    /// How many at a time.
    #[arg(long, default_value_t = 1)]
    jobs: u64,
}

#[expect(clippy::print_stdout, reason = "this is a program that reports")]
fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(seed) = options.seed.filter(|_| options.seeds == 100 || options.seeds == 1) {
        let report = run(seed, true);
        tell(&report);
        return if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let first = options.seed.unwrap_or(0);
    let bar = ProgressBar::new(options.seeds);
    bar.set_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {msg} ({eta} left)").expect("the template is right"),
    );
    let (next, found) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let (late, total) = (Mutex::new(Vec::new()), Mutex::new(std::collections::BTreeMap::<&str, u64>::new()));
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + options.seeds {
                        return;
                    }
                    let report = run(seed, false);
                    late.lock().extend(report.late.iter().copied());
                    for (what, count) in &report.counts {
                        *total.lock().entry(what).or_default() += count;
                    }
                    if !report.violations.is_empty() {
                        found.lock().push(report);
                    }
                    bar.set_message(format!("{} with findings", found.lock().len()));
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish();
    let mut found = found.into_inner();
    found.sort_by_key(|report| report.seed);
    found.iter().for_each(tell);
    let mut late = late.into_inner();
    late.sort_unstable();
    let percentile = |percent: usize| late.get((late.len() * percent / 100).min(late.len().saturating_sub(1)));
    println!("{:?}", total.into_inner());
    println!(
        "deaths that a node in good order had not noticed at the next probe: {}; median {:?} ms, p99 {:?} ms, bound {BOUND} ms",
        late.len(),
        percentile(50),
        percentile(99)
    );
    println!("{} of {} seeds found something", found.len(), options.seeds);
    if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "this is a program that reports")]
fn tell(report: &Report) {
    println!("seed {}, digest {}, {:?}", report.seed, report.digest, report.counts);
    for violation in &report.violations {
        println!("  {violation}");
    }
}
