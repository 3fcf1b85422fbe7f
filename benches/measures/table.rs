//! The table: one line for each measure, in the unit that suits it.

use std::fs;
use std::time::Duration;

use super::sample::Samples;
use super::support::run;

/// One measure, and what it was compared with.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) samples: Samples,
    pub(crate) against: Option<(&'static str, Samples)>,
}

/// Says where this was measured, and names the columns.
pub(crate) fn heading() {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    // ssh says its version on standard error.
    let ssh = run(std::process::Command::new("/usr/bin/ssh").arg("-V"), 10).err();
    println!(
        "{processors} processors, Linux {}, {}",
        kernel.trim(),
        ssh.trim()
    );
    println!(
        "{:8} {:36} {:>6} {:>10} {:>10}   {:18} {:>10} {:>10} {:>10} {:>10}",
        "measure",
        "of what",
        "times",
        "p50",
        "p99",
        "against",
        "p50",
        "p99",
        "ratio p50",
        "ratio p99"
    );
}

impl Row {
    pub(crate) fn print(&self) {
        let Self {
            name,
            what,
            samples,
            against,
        } = self;
        let (median, tail) = (samples.percentile(50), samples.percentile(99));
        let count = samples.count();
        print!(
            "{name:8} {what:36} {count:6} {:>10} {:>10}",
            text(median),
            text(tail)
        );
        if let Some((other, control)) = against {
            let (control_median, control_tail) = (control.percentile(50), control.percentile(99));
            print!(
                "   {other:18} {:>10} {:>10} {:>10.2} {:>10.2}",
                text(control_median),
                text(control_tail),
                median.div_duration_f64(control_median),
                tail.div_duration_f64(control_tail),
            );
        }
        println!();
    }
}

fn text(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 1e-3 => format!("{:.1} us", seconds * 1e6),
        seconds => format!("{:.2} ms", seconds * 1e3),
    }
}
