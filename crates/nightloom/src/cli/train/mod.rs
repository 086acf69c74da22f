//! Training on encrypted samples: one file a party.

mod demo;
mod figures;

use std::fmt::Display;

use clap::{Args, Subcommand};
use nightloom_fe::Scheme;

use super::console::say;
use super::error::CliError;

#[derive(Debug, Args)]
pub struct Train {
    #[command(subcommand)]
    command: TrainCommand,
}

#[derive(Debug, Subcommand)]
enum TrainCommand {
    /// Train on real handwritten digits that stay encrypted, all parties on this machine, and report
    Demo(demo::Demo),
}

impl Train {
    pub fn run(self) -> Result<(), CliError> {
        match self.command {
            TrainCommand::Demo(demo) => demo.run(),
        }
    }
}

/// Parses the name of a scheme of inner products.
fn scheme(text: &str) -> Result<Scheme, String> {
    let of_products = || Scheme::ALL.into_iter().filter(|scheme| *scheme != Scheme::Febo);
    of_products().find(|scheme| scheme.to_string() == text).ok_or_else(|| {
        format!("wanted one of {}", of_products().map(|scheme| scheme.to_string()).collect::<Vec<_>>().join(", "))
    })
}

/// Says a figure with its name.
fn labelled(name: &str, value: impl Display) -> Result<(), CliError> {
    say(format_args!("  {name:<26} {value}"))
}
