use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;

use clap::{Args, ValueEnum};
use nightloom::demo::{self, DEFAULT_IMAGES, Demonstration};
use nightloom::job::Phase;
use nightloom::output::NewFile;
use nightloom::report;

use super::Threads;
use super::error::CliError;
use super::progress::Bar;

#[derive(Debug, Args)]
pub struct Demo {
    /// Images to classify, 1 to 10000: the first ones of the MNIST test set
    #[arg(long, value_name = "N", default_value_t = DEFAULT_IMAGES as u32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    images: u32,
    /// The network
    #[arg(long, value_enum, default_value_t = Network::Cryptonets)]
    model: Network,
    /// Where the HTML report goes; it replaces an earlier one
    #[arg(long, short, value_name = "FILE", default_value = "nightloom-demo.html")]
    output: PathBuf,
    #[command(flatten)]
    threads: Threads,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Network {
    /// CryptoNets (2016), squashed
    Cryptonets,
    /// The network of E2DM and of TenSEAL's tutorial
    E2dm,
}

impl From<Network> for demo::Model {
    fn from(network: Network) -> Self {
        match network {
            Network::Cryptonets => Self::CryptoNets,
            Network::E2dm => Self::E2dm,
        }
    }
}

impl Demo {
    pub fn run(self) -> Result<(), CliError> {
        let file = NewFile::at(&self.output).replace_existing(true);
        file.check()?;
        let threads = self.threads.count();
        println!(
            "Encrypting {} handwritten digits, classifying them encrypted, decrypting ({threads} threads)",
            self.images
        );
        let bar: Mutex<Option<(Phase, Bar)>> = Mutex::new(None);
        let progress = |phase: Phase, part: f64| {
            let mut bar = bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if bar.as_ref().is_none_or(|(shown, _)| *shown != phase) {
                let label = match phase {
                    Phase::Encrypt => "encrypting",
                    _ => "evaluating",
                };
                *bar = Some((phase, Bar::new(label)));
            }
            if let Some((_, bar)) = &*bar {
                bar.at(part);
            }
        };
        let demonstration = demo::run(self.model.into(), self.images as usize, threads, &progress)?;
        drop(bar);
        print(&demonstration);
        let command = std::env::args().skip(1).fold("nightloom".to_owned(), |command, word| command + " " + &word);
        let page = report::render(&demonstration.report(&command)?)?;
        file.write(|out| out.write_all(page.as_bytes()))?;
        println!("\nreport: {}", self.output.display());
        Ok(())
    }
}

fn print(demo: &Demonstration) {
    let images = demo.images as f64;
    let percent = |count: usize| 100.0 * count as f64 / images;
    println!("\n{:<28} {:>12}", "Accuracy", "");
    println!("{:<28} {:>10.2} %", "  encrypted", percent(demo.encrypted_correct));
    println!("{:<28} {:>10.2} %", "  ONNX Runtime, in the clear", percent(demo.reference_correct));
    println!("{:<28} {:>10.2} %  ({} of {})", "  same prediction", percent(demo.agreeing), demo.agreeing, demo.images);
    println!(
        "{:<28} {:>12.2e}  (bound stated {:.2e})",
        "  largest logit difference",
        demo.max_logit_error,
        demo.compiled.plan.error_bound().secret_key
    );
    println!("\n{:<28} {:>12}  {:>12}", "Stage", "seconds", "ms an image");
    let times = demo.outcome.times;
    for (name, party, seconds) in [
        ("make keys", "client", times.keygen),
        ("encrypt", "client", times.encrypt),
        ("load request", "service", times.load),
        ("evaluate", "service", times.evaluate),
        ("decrypt", "client", times.decrypt),
    ] {
        println!("  {:<26} {seconds:>12.3}  {:>12.4}", format!("{name} ({party})"), seconds * 1e3 / images);
    }
    println!("\n{:<28} {:>12}  {:>12}", "Size", "MB", "kB an image");
    let outcome = &demo.outcome;
    for (name, bytes) in [
        ("request", outcome.request_bytes),
        ("response", outcome.response_bytes),
        ("evaluation keys (once)", outcome.evaluation_key_bytes),
    ] {
        println!("  {name:<26} {:>12.3}  {:>12.3}", bytes as f64 / 1e6, bytes as f64 / 1e3 / images);
    }
    let params = demo.compiled.plan.program().params();
    let security = if params.is_secure() { "128 bits" } else { "BELOW 128 BITS" };
    println!(
        "\n{:<28} {security}, CKKS, {} ring of degree {}, {:.0} bits, kernel {}",
        "Security",
        params.ring(),
        params.degree(),
        params.log_qp(),
        params.kernel().name()
    );
    if let Some(bytes) = demo.peak_memory_bytes {
        println!("{:<28} {:.0} MB, client and service together", "Peak memory", bytes as f64 / 1e6);
    }
}
