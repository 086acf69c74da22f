use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use nightloom::job::peak_memory_bytes;
use nightloom::server::{Server, ServerError};
use nightloom_he::EvaluationKeys;
use nightloom_program::{DEFAULT_WEIGHT_BYTES, EncryptedModel};
use nightloom_wire::Kind;

use super::compile::warn_if_insecure;
use super::error::{At, CliError};
use super::figures::{bytes, counted, seconds};
use super::input::{open, open_for};
use super::progress::Bar;
use super::{Output, Threads};

#[derive(Debug, Args)]
pub struct Run {
    /// The program, NAME.server
    program: PathBuf,
    /// The request
    request: PathBuf,
    /// The client's evaluation keys
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The model that its owner encrypted for this client, if the program has no weights of its own
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Memory in megabytes for weights that are kept encoded; those beyond are encoded every time they are used
    #[arg(long, value_name = "MB", default_value_t = DEFAULT_WEIGHT_BYTES / 1_000_000)]
    weight_memory: usize,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    threads: Threads,
}

impl Run {
    pub fn run(self) -> Result<(), CliError> {
        let mut out = self.output.open()?;
        let threads = self.threads.count();
        let weight_bytes = self.weight_memory.saturating_mul(1_000_000);
        let server = Server::read_with(open(&self.program, Kind::Program)?, threads, weight_bytes).at(&self.program)?;
        warn_if_insecure(!server.params().is_secure());
        let params = server.params().id();
        let keys = match &self.keys {
            Some(path) => {
                let source = open_for(path, Kind::EvaluationKeys, &self.program, params)?;
                server.read_evaluation_keys(source).at(path)?
            }
            None => EvaluationKeys::none(server.params()),
        };
        if self.keys.is_none() && server.executor().check_keys(&keys).is_err() {
            return Err(CliError::NoKeys { path: self.program });
        }
        let model = match (&self.model, server.program().has_encrypted_model()) {
            (Some(path), true) => {
                let source = open_for(path, Kind::EncryptedModel, &self.program, params)?;
                server.read_model(source).at(path)?
            }
            (None, false) => EncryptedModel { program: server.id(), arrays: Vec::new() },
            (None, true) => return Err(CliError::NoModel { path: self.program }),
            (Some(_), false) => return Err(CliError::SurplusModel { path: self.program }),
        };
        let start = Instant::now();
        let bar = Bar::new("evaluating");
        let request = open_for(&self.request, Kind::Request, &self.program, params)?;
        let header = match server.run_with_model(request, &model, &keys, &mut out, &|part| bar.at(part)) {
            Ok(header) => header,
            Err(ServerError::Write(source)) => return Err(out.refuses(source)),
            Err(source) => return Err(CliError::Server { path: self.request.clone(), source }),
        };
        let done = out.finish()?;
        drop(bar);
        let memory = peak_memory_bytes().map(|peak| format!(", peak memory {}", bytes(peak as f64)));
        done.say(format_args!(
            "wrote {done}: {}, {} on {}{}",
            counted(header.samples, "sample", "samples"),
            seconds(start.elapsed().as_secs_f64()),
            counted(threads as u64, "thread", "threads"),
            memory.unwrap_or_default(),
        ))
    }
}
