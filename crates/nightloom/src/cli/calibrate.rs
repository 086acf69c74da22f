use std::path::PathBuf;

use clap::Args;
use nightloom::calibration::Calibration;

use super::console::{say, show};
use super::error::CliError;

#[derive(Debug, Args)]
pub struct Calibrate {
    /// Write the calibration to this file, for compile --machine elsewhere, and keep none for this machine
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long, short, requires = "output")]
    force: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Calibrate {
    pub fn run(self) -> Result<(), CliError> {
        let calibration = Calibration::measure()?;
        let path = match self.output {
            Some(path) => {
                calibration.write(&path, self.force)?;
                path
            }
            None => calibration.keep()?,
        };
        if self.json {
            return show(serde_json::to_string(&calibration)?);
        }
        show(&calibration)?;
        say(format_args!("wrote {}", path.display()))
    }
}
