//! The subcommands, in the order in which a model and a sample meet them.

mod bench;
mod calibrate;
mod client;
mod compile;
mod console;
mod data;
mod demo;
mod destination;
mod error;
mod figures;
mod input;
mod inspect;
mod owner;
mod progress;
mod server;
mod train;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use nightloom_program::MAX_THREADS;

use destination::Destination;
use error::CliError;

/// Machine learning on data nobody else may see.
///
/// A model owner compiles an ONNX file; a data owner encrypts samples and decrypts results; a service computes on
/// ciphertexts only.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Encrypt 8192 real handwritten digits, classify them encrypted, decrypt, and report
    Demo(demo::Demo),
    /// Compile an ONNX model into NAME.server (with weights) and NAME.client (without)
    Compile(compile::Compile),
    /// Say what a model will cost encrypted: layers, parameters, sizes, time
    Explain(compile::Explain),
    /// Make a client's keys: the secret key, a public key and evaluation keys for the service
    Keygen(client::Keygen),
    /// Encrypt a model for one client: its owner's part, if the model was compiled with --encrypt-model
    EncryptModel(owner::EncryptModel),
    /// Encrypt samples into a request
    Encrypt(client::Encrypt),
    /// Evaluate a program on a request: the service's part
    Run(server::Run),
    /// Decrypt a response into a table of results
    Decrypt(client::Decrypt),
    /// Train on encrypted samples: authority, clients, server
    Train(train::Train),
    /// Say what a Nightloom file is
    Inspect(inspect::Inspect),
    /// Measure what operations take on this machine, for the planner
    Calibrate(calibrate::Calibrate),
    /// Measure this machine
    Bench(bench::Bench),
    /// Fetch and check data sets
    Data(data::Data),
}

/// How many threads compute.
#[derive(Debug, Args)]
struct Threads {
    /// Threads that compute [default: all processors]
    #[arg(long, short = 'j', value_name = "T", value_parser = threads)]
    threads: Option<NonZeroUsize>,
}

impl Threads {
    fn count(&self) -> usize {
        let all = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.threads.unwrap_or_else(all).get()
    }
}

/// Parses a number of threads.
fn threads(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(threads) if threads.get() <= MAX_THREADS => Ok(threads),
        _ => Err(format!("wanted 1 to {MAX_THREADS}")),
    }
}

/// Where a result goes.
#[derive(Debug, Args)]
struct Output {
    /// The file to write, or - for standard output
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it exists
    #[arg(long, short)]
    force: bool,
}

impl Output {
    fn open(&self) -> Result<Destination, CliError> {
        Destination::bytes(&self.output, self.force)
    }
}

/// The status of a command whose result nobody read to its end: that of a process ended by SIGPIPE.
const CLOSED_PIPE: u8 = 128 + 13;

/// Runs the command that the process was given.
pub fn main() -> ExitCode {
    let result = match Arguments::try_parse() {
        Ok(arguments) => run(arguments),
        Err(error) if error.use_stderr() => error.exit(),
        // Help and version.
        Err(text) => text.print().map_err(|source| CliError::Stdout { source }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::from(CLOSED_PIPE),
        Err(error) => {
            console::warn(format_args!("error: {}", error::with_causes(&error)));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), CliError> {
    match arguments.command {
        Command::Demo(demo) => demo.run(),
        Command::Compile(compile) => compile.run(),
        Command::Explain(explain) => explain.run(),
        Command::Keygen(keygen) => keygen.run(),
        Command::EncryptModel(encrypt) => encrypt.run(),
        Command::Encrypt(encrypt) => encrypt.run(),
        Command::Run(run) => run.run(),
        Command::Decrypt(decrypt) => decrypt.run(),
        Command::Train(train) => train.run(),
        Command::Inspect(inspect) => inspect.run(),
        Command::Calibrate(calibrate) => calibrate.run(),
        Command::Bench(bench) => bench.run(),
        Command::Data(data) => data.run(),
    }
}
