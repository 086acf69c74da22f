//! Training on encrypted samples: one file a party.

mod agreement;
mod audit;
mod authority;
mod client;
mod demo;
mod error;
mod figures;
mod inspect;
mod predict;
mod public_layers;
mod server;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use nightloom::train::data::TargetSource;
use nightloom::train::model::Model;
use nightloom::train::transport::{Address, Connection, backing_off};
use nightloom_fe::Scheme;
use nightloom_fe::learn::Seed;
use nightloom_fe::mode::{Mode, Statement};
use nightloom_fe::protocol::{EnrolmentToken, Role, Session};
use nightloom_wire::Kind;

use super::console::{say, warn};
use super::error::{At, CliError};
use super::input::{open, reader};
use error::AtFile;
pub use error::TrainFailure;
pub use inspect::inspect;

#[derive(Debug, Args)]
pub struct Train {
    #[command(subcommand)]
    command: TrainCommand,
}

#[derive(Debug, Subcommand)]
enum TrainCommand {
    /// Train on real handwritten digits that stay encrypted, all parties on this machine, and report
    Demo(demo::Demo),
    /// Hand out keys within a budget: the authority's part
    #[command(subcommand)]
    Authority(authority::Authority),
    /// Encrypt samples, or contribute to a sum: a client's part
    #[command(subcommand)]
    Client(client::Client),
    /// Train on what clients sent: the server's part
    #[command(subcommand)]
    Server(server::Server),
    /// Say what the keys give away that an authority has issued, from its ledger
    Audit(audit::Audit),
    /// Apply a trained model to samples in the clear
    Predict(predict::Predict),
    /// Write a trained network as ONNX, for `nightloom compile` or any other program
    Export(predict::Export),
}

impl Train {
    pub fn run(self) -> Result<(), CliError> {
        match self.command {
            TrainCommand::Demo(demo) => demo.run(),
            TrainCommand::Authority(authority) => authority.run(),
            TrainCommand::Client(client) => client.run(),
            TrainCommand::Server(server) => server.run(),
            TrainCommand::Audit(audit) => audit.run(),
            TrainCommand::Predict(predict) => predict.run(),
            TrainCommand::Export(export) => export.run(),
        }
    }
}

/// The way to the authority.
#[derive(Debug, Args)]
struct Authority {
    /// The authority: https://HOST:PORT, or the path of its socket on this machine
    #[arg(long, value_name = "ADDRESS")]
    authority: Address,
    /// How long to try again after a lost connection
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    retry: u64,
}

impl Authority {
    fn session(&self, token: &Arc<EnrolmentToken>) -> Result<Session<Connection>, TrainFailure> {
        let link = Connection::to(&self.authority, token)?;
        let patience = backing_off(Duration::from_secs(self.retry), |error| {
            warn(format_args!("the authority cannot be reached, trying again: {error}"));
        });
        Ok(Session::with_patience(link, token.clone(), patience))
    }
}

/// Consent to a mode that protects nothing.
#[derive(Debug, Args)]
struct Consent {
    /// Go on although mode cryptonn gives the data away: for reproducing published results on public data
    #[arg(long)]
    accept_leakage: bool,
}

impl Consent {
    /// Says who learns what, and asks for consent where that is everybody everything.
    fn state(&self, mode: Mode, quiet: bool) -> Result<(), CliError> {
        let leaks = mode == Mode::Cryptonn;
        if leaks {
            warn(mode.statement());
        } else if !quiet {
            say(mode.statement())?;
        }
        if leaks && !self.accept_leakage { Err(TrainFailure::Leakage { mode }.into()) } else { Ok(()) }
    }
}

/// Who learns what, for programs.
fn statement(mode: Mode) -> serde_json::Value {
    let Statement { mode: _, purpose, server, hidden, authority, clients } = mode.statement();
    serde_json::json!({
        "purpose": purpose, "server": server, "hidden": hidden, "authority": authority, "clients": clients,
    })
}

/// Where the targets are.
#[derive(Debug, Args)]
struct TargetArguments {
    /// Class numbers: IDX, NumPy, or text with one a line
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    labels: Option<PathBuf>,
    /// The column of a table that is the target: heading, number from 1, or -1 for the last
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    target: Option<String>,
}

impl TargetArguments {
    fn source(&self) -> Option<TargetSource> {
        let column = || self.target.clone().map(TargetSource::Column);
        self.labels.clone().map(TargetSource::File).or_else(column)
    }
}

fn read_token(path: &Path, wanted: Role) -> Result<Arc<EnrolmentToken>, CliError> {
    let token = EnrolmentToken::read(open(path, Kind::EnrolmentToken)?).at(path)?;
    if token.role != wanted {
        return Err(TrainFailure::Role { path: path.to_owned(), found: token.role, wanted }.into());
    }
    Ok(Arc::new(token))
}

fn read_model(path: &Path) -> Result<Model, CliError> {
    Ok(Model::read(reader(path)?).at_file(path)?)
}

/// Parses the name of a scheme of inner products.
fn scheme(text: &str) -> Result<Scheme, String> {
    let of_products = || Scheme::ALL.into_iter().filter(|scheme| *scheme != Scheme::Febo);
    of_products().find(|scheme| scheme.to_string() == text).ok_or_else(|| {
        format!("wanted one of {}", of_products().map(|scheme| scheme.to_string()).collect::<Vec<_>>().join(", "))
    })
}

/// A seed from a number.
fn seed(number: u64) -> Seed {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Seed::new(bytes)
}

/// Says a figure with its name.
fn labelled(name: &str, value: impl Display) -> Result<(), CliError> {
    say(format_args!("  {name:<26} {value}"))
}
