use clap::{Args, ValueEnum};
use nightloom::bench::{self, Options, Report};
use serde::Serialize;

use super::console::show;
use super::error::CliError;
use super::figures::counted;

#[derive(Debug, Args)]
pub struct Bench {
    /// What to measure
    #[arg(value_enum)]
    suite: Suite,
    /// Threads
    #[arg(long, short = 'j', value_name = "T", default_value = "1")]
    threads: std::num::NonZeroUsize,
    /// One JSON object on standard output instead of a table
    #[arg(long)]
    json: bool,
    /// Runs of each operation; repetitions of the whole job for throughput
    #[arg(long, value_name = "N")]
    runs: Option<std::num::NonZeroUsize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Suite {
    /// Transforms and products of single limbs
    Ring,
    /// The scheme's operations
    Ckks,
    /// Whole networks on 8192 images
    Throughput,
}

impl Bench {
    pub fn run(self) -> Result<(), CliError> {
        let threads = self.threads.get();
        let runs = |default: usize| Options { threads, runs: self.runs.map_or(default, |runs| runs.get()) };
        match self.suite {
            Suite::Ring => {
                let heading = format!("{:<14} {:<20} {:>6} {:>15}", "operation", "ring", "degree", "median");
                self.print(&bench::ring(runs(bench::DEFAULT_RUNS))?, &heading)
            }
            Suite::Ckks => {
                let heading =
                    format!("{:<20} {:<20} {:>6} {:>5} {:>15}", "operation", "ring", "degree", "limbs", "median");
                self.print(&bench::ckks(runs(bench::CKKS_RUNS))?, &heading)
            }
            Suite::Throughput => self.print(&bench::throughput(runs(bench::THROUGHPUT_RUNS))?, ""),
        }
    }

    /// `heading` stands over the rows, whose columns it must match; none if it is empty.
    fn print<Row: Serialize + std::fmt::Display>(&self, report: &Report<Row>, heading: &str) -> Result<(), CliError> {
        if self.json {
            return show(serde_json::to_string(report)?);
        }
        let machine = &report.machine;
        let threads = counted(report.threads as u64, "thread", "threads");
        show(format_args!(
            "{} on {}, {threads}, kernel {}, {}",
            report.suite, machine.cpu, report.kernel, report.date
        ))?;
        if !heading.is_empty() {
            show(heading)?;
        }
        report.results.iter().try_for_each(show)
    }
}
