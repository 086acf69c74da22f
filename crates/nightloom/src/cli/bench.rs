use clap::{Args, ValueEnum};
use nightloom::bench::{self, Options, Report};
use serde::Serialize;

use super::error::CliError;

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
            Suite::Ring => self.print(&bench::ring(runs(bench::DEFAULT_RUNS))?),
            Suite::Ckks => self.print(&bench::ckks(runs(bench::CKKS_RUNS))?),
            Suite::Throughput => self.print(&bench::throughput(runs(bench::THROUGHPUT_RUNS))?),
        }
    }

    fn print<Row: Serialize + std::fmt::Display>(&self, report: &Report<Row>) -> Result<(), CliError> {
        if self.json {
            println!("{}", serde_json::to_string(report)?);
            return Ok(());
        }
        let machine = &report.machine;
        println!(
            "{} on {}, {} threads, kernel {}, {}",
            report.suite, machine.cpu, report.threads, report.kernel, report.date
        );
        report.results.iter().for_each(|row| println!("{row}"));
        Ok(())
    }
}
