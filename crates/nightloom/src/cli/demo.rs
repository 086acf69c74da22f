use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;

use clap::{Args, ValueEnum};
use nightloom::demo::{self, DEFAULT_IMAGES, Demonstration};
use nightloom::job::Phase;
use nightloom::output::{NewFile, OutputError};
use nightloom::report;

use super::Threads;
use super::console::{say, word};
use super::error::CliError;
use super::figures::{bytes, counted, significant};
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
        let mut file = NewFile::at(&self.output).replace_existing(true).open()?;
        let threads = self.threads.count();
        say(format_args!(
            "Encrypting {}, classifying encrypted, decrypting ({})",
            counted(self.images.into(), "handwritten digit", "handwritten digits"),
            counted(threads as u64, "thread", "threads"),
        ))?;
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
        let page = report::render(&demonstration.report(&command(std::env::args_os().skip(1)))?)?;
        let written = file.write_all(page.as_bytes());
        written.map_err(|source| OutputError::Write { path: self.output.clone(), source })?;
        file.commit()?;
        print(&demonstration)?;
        say(format_args!("\nreport: {}", self.output.display()))
    }
}

/// The command that repeats this one.
pub fn command(words: impl Iterator<Item = OsString>) -> String {
    words.fold("nightloom".to_owned(), |command, text| command + " " + &word(&text.to_string_lossy()))
}

fn print(demo: &Demonstration) -> Result<(), CliError> {
    let images = demo.images as f64;
    let percent = |count: usize| 100.0 * count as f64 / images;
    say("\nAccuracy")?;
    say(format_args!("{:<28} {:>10.2} %", "  encrypted", percent(demo.encrypted_correct)))?;
    say(format_args!("{:<28} {:>10.2} %", "  ONNX Runtime, in the clear", percent(demo.reference_correct)))?;
    let agreeing = format!("({} of {})", demo.agreeing, demo.images);
    say(format_args!("{:<28} {:>10.2} %  {agreeing}", "  same prediction", percent(demo.agreeing)))?;
    let (error, bound) = (demo.max_logit_error, demo.compiled.plan.error_bound().secret_key);
    say(format_args!("{:<28} {error:>12.2e}  (bound stated {bound:.2e})", "  largest logit difference"))?;

    say(format_args!("\n{:<28} {:>12}  {:>12}", "Stage", "seconds", "ms an image"))?;
    let times = demo.outcome.times;
    for (name, party, seconds) in [
        ("make keys", "client", times.keygen),
        ("encrypt", "client", times.encrypt),
        ("load request", "service", times.load),
        ("evaluate", "service", times.evaluate),
        ("decrypt", "client", times.decrypt),
    ] {
        let (each, name) = (significant(seconds * 1e3 / images), format!("{name} ({party})"));
        say(format_args!("  {name:<26} {:>12}  {each:>12}", significant(seconds)))?;
    }

    say(format_args!("\n{:<28} {:>12}  {:>12}", "Size", "MB", "kB an image"))?;
    let outcome = &demo.outcome;
    for (name, bytes) in [
        ("request", outcome.request_bytes),
        ("response", outcome.response_bytes),
        ("evaluation keys (once)", outcome.evaluation_key_bytes),
    ] {
        let (all, each) = (significant(bytes as f64 / 1e6), significant(bytes as f64 / 1e3 / images));
        say(format_args!("  {name:<26} {all:>12}  {each:>12}"))?;
    }

    let params = demo.compiled.plan.program().params();
    let security = if params.is_secure() { "128 bits" } else { "BELOW 128 BITS" };
    say(format_args!(
        "\n{:<28} {security}, CKKS, {} ring of degree {}, {:.0} bits, kernel {}",
        "Security",
        params.ring(),
        params.degree(),
        params.log_qp(),
        params.kernel().name()
    ))?;
    if let Some(peak) = demo.peak_memory_bytes {
        say(format_args!("{:<28} {}, client and service together", "Peak memory", bytes(peak as f64)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_can_be_given_to_a_shell() {
        let quoted = command(["demo", "-o", "a b's.html", "", "--images=64"].map(OsString::from).into_iter());
        assert_eq!(quoted, r"nightloom demo -o 'a b'\''s.html' '' --images=64");
    }
}
