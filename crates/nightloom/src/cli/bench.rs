use std::fmt::Display;
use std::num::NonZeroUsize;

use clap::error::ErrorKind;
use clap::{Args, Command, ValueEnum};
use nightloom::bench::{self, LatencyJob, Options};
use nightloom::demo::Model;
use serde::Serialize;

use super::console::show;
use super::error::CliError;

#[derive(Debug, Args)]
pub struct Bench {
    /// What to measure
    #[arg(value_enum)]
    suite: Suite,
    /// The network of the throughput and latency suites [default: cryptonets]
    #[arg(long, value_enum, value_name = "NAME")]
    network: Option<Network>,
    /// Threads
    #[arg(long, short = 'j', value_name = "T", default_value = "1", value_parser = super::threads)]
    threads: NonZeroUsize,
    /// One JSON object on standard output instead of tables
    #[arg(long)]
    json: bool,
    /// Runs of each operation; repetitions of the whole job for throughput
    #[arg(long, value_name = "N")]
    runs: Option<NonZeroUsize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Transforms and products of single limbs
    Ring,
    /// The scheme's operations
    Ckks,
    /// Functional encryption of inner products
    Fe,
    /// A whole network on 8192 images
    Throughput,
    /// A network on one image at a time
    Latency,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Network {
    /// CryptoNets (2016), squashed
    #[default]
    Cryptonets,
    /// The network of E2DM and of TenSEAL's tutorial
    E2dm,
    /// LoLA-MNIST as Orion has it
    Lola,
    /// LoLa-Small
    LolaSmall,
    /// Dense layers 784-128-128-10
    Mlp,
    /// LeNet-5 with squares
    Lenet,
    /// The network of E2DM on 64 images, with an encrypted model; latency only
    E2dmEncrypted,
}

impl From<Network> for Model {
    fn from(network: Network) -> Self {
        match network {
            Network::Cryptonets => Self::CryptoNets,
            Network::E2dm | Network::E2dmEncrypted => Self::E2dm,
            Network::Lola => Self::Lola,
            Network::LolaSmall => Self::LolaSmall,
            Network::Mlp => Self::Mlp,
            Network::Lenet => Self::Lenet,
        }
    }
}

impl Bench {
    pub fn run(self) -> Result<(), CliError> {
        if self.network.is_some() && !matches!(self.suite, Suite::Throughput | Suite::Latency) {
            conflict("--network is an option of the throughput and latency suites");
        }
        if self.network == Some(Network::E2dmEncrypted) && self.suite != Suite::Latency {
            conflict("e2dm-encrypted is a network of the latency suite");
        }
        let threads = self.threads.get();
        let options = |runs: usize| Options { threads, runs: self.runs.map_or(runs, NonZeroUsize::get) };
        match self.suite {
            Suite::Ring => self.print(&bench::ring(options(bench::DEFAULT_RUNS))?),
            Suite::Ckks => self.print(&bench::ckks(options(bench::CKKS_RUNS))?),
            Suite::Fe => self.print(&bench::fe(options(bench::FE_RUNS))?),
            Suite::Throughput => {
                let network = self.network.unwrap_or_default();
                self.print(&bench::throughput(network.into(), options(bench::THROUGHPUT_RUNS))?)
            }
            Suite::Latency => {
                let network = self.network.unwrap_or_default();
                let job = match network {
                    Network::E2dmEncrypted => LatencyJob::e2dm_encrypted(),
                    network => LatencyJob::one_image(network.into()),
                };
                self.print(&bench::latency(job, options(bench::LATENCY_RUNS))?)
            }
        }
    }

    fn print(&self, report: &(impl Serialize + Display)) -> Result<(), CliError> {
        if self.json { show(serde_json::to_string(report)?) } else { show(report) }
    }
}

/// Ends the command with what is wrong with its arguments.
fn conflict(message: &str) -> ! {
    Bench::augment_args(Command::new("nightloom bench")).error(ErrorKind::ArgumentConflict, message).exit()
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn parse(line: &str) -> Result<Bench, clap::Error> {
        let command = Bench::augment_args(Command::new("bench").no_binary_name(true));
        Bench::from_arg_matches(&command.try_get_matches_from(line.split(' '))?)
    }

    #[test]
    fn suites_and_networks_have_these_names() {
        for (name, suite) in [
            ("ring", Suite::Ring),
            ("ckks", Suite::Ckks),
            ("fe", Suite::Fe),
            ("throughput", Suite::Throughput),
            ("latency", Suite::Latency),
        ] {
            let bench = parse(&format!("{name} --threads 2 --json")).unwrap();
            assert_eq!((bench.suite, bench.network, bench.threads.get(), bench.json), (suite, None, 2, true));
        }
        for (name, network) in
            [("cryptonets", Network::Cryptonets), ("e2dm", Network::E2dm), ("lola-small", Network::LolaSmall)]
        {
            assert_eq!(parse(&format!("throughput --network {name}")).unwrap().network, Some(network));
        }
        assert!(parse("throughput --network resnet").is_err() && parse("ring --threads 0").is_err());
    }
}
