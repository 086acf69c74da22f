use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use nightloom::job::peak_memory_bytes;
use nightloom::output::NewFile;
use nightloom::server::{Server, ServerError};
use nightloom_he::EvaluationKeys;

use super::compile::{open, warn_if_insecure};
use super::error::{At, CliError};
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
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    threads: Threads,
}

impl Run {
    pub fn run(self) -> Result<(), CliError> {
        let file = NewFile::at(&self.output.output).replace_existing(self.output.force);
        file.check()?;
        let server = Server::read(open(&self.program)?, self.threads.count()).at(&self.program)?;
        warn_if_insecure(server.is_insecure());
        let keys = match &self.keys {
            Some(path) => server.read_evaluation_keys(open(path)?).at(path)?,
            None => EvaluationKeys::none(server.params()),
        };
        server.executor().check_keys(&keys).map_err(|source| match &self.keys {
            Some(path) => CliError::Server { path: path.clone(), source: source.into() },
            None => CliError::NoKeys { program: self.program.clone(), source },
        })?;
        let start = Instant::now();
        let bar = Bar::new("evaluating");
        let request = open(&self.request)?;
        let header = file.try_write(|out| {
            let progress = |part| bar.at(part);
            server.run(request, &keys, out, &progress).map_err(|source| match source {
                ServerError::Write(source) => CliError::Read { path: self.output.output.clone(), source },
                source => CliError::Server { path: self.request.clone(), source },
            })
        })?;
        drop(bar);
        println!(
            "wrote {}: {} samples, {:.2} s on {} threads, peak memory {:.0} MB",
            self.output.output.display(),
            header.samples,
            start.elapsed().as_secs_f64(),
            self.threads.count(),
            peak_memory_bytes().unwrap_or(0) as f64 / 1e6,
        );
        Ok(())
    }
}
