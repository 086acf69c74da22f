//! What the files of training are, without a key.

use std::path::Path;

use nightloom_fe::aggregate::Contribution;
use nightloom_fe::agreement::{AgreementId, DatasetId, MAX_NAME};
use nightloom_fe::authority::Audit;
use nightloom_fe::protocol::EnrolmentToken;
use nightloom_wire::{HEADER_BYTES, Header, Kind, Reader};

use super::super::console::{name, show};
use super::super::error::{At, CliError};
use super::super::figures::counted;
use super::super::input::{open, reader};
use super::error::TrainFailure;
use super::read_model;

/// Says what a file of this kind is.
///
/// # Errors
/// [`CliError`] if it is damaged.
pub fn inspect(path: &Path, kind: Kind) -> Result<(), CliError> {
    match kind {
        Kind::Ledger => {
            let audit = Audit::of_file(path, 1e-5).map_err(TrainFailure::Keeper)?;
            show(format_args!("task {}, mode {}, at {}", audit.task, audit.mode, audit.head))?;
            show(format_args!(
                "{}, {}, {} opened; `nightloom train audit` says what they give away",
                counted(audit.parties as u64, "party", "parties"),
                counted(audit.datasets.len() as u64, "dataset", "datasets"),
                counted(audit.sums as u64, "sum", "sums")
            ))
        }
        Kind::EnrolmentToken => {
            let token = EnrolmentToken::read(open(path, kind)?).at(path)?;
            let spec = token.agreement.spec();
            show(format_args!(
                "agreement {}: task {}, mode {}",
                token.agreement.id(),
                spec.task,
                token.agreement.mode()
            ))?;
            show(format_args!(
                "{} '{}': whoever has it can speak for them, so never send it on",
                token.role, token.name
            ))
        }
        Kind::EncryptedDataset | Kind::MaskedProducts => {
            let mut source = reader(path)?;
            let header = Header::read(&mut source).at(path)?;
            let mut body = Reader::new(&mut source, header.length.min(u64::MAX - HEADER_BYTES));
            show(format_args!("agreement {}", AgreementId(body.bytes().at(path)?)))?;
            let client = String::from_utf8_lossy(&body.byte_string("name", MAX_NAME).at(path)?).into_owned();
            let dataset = DatasetId(body.bytes().at(path)?);
            show(format_args!("client '{}', dataset {dataset}", name(&client)))?;
            match kind {
                Kind::EncryptedDataset => {
                    let samples = counted(body.u32().at(path)?.into(), "sample", "samples");
                    show(format_args!("{samples}; keys of the authority open products of them, batch by batch"))
                }
                _ => show("products under pads, for the client to open"),
            }
        }
        Kind::Contribution => {
            let contribution = Contribution::read(open(path, kind)?).at(path)?;
            let id = contribution.id();
            show(format_args!(
                "client '{}', round {}, under a pad: only sums of several are opened",
                id.client, id.round
            ))
        }
        Kind::TrainedNetwork | Kind::TrainedCounts => {
            let model = read_model(path)?;
            let agreement = model.agreement();
            show(format_args!(
                "agreement {}: task {}, mode {}",
                agreement.id(),
                agreement.spec().task,
                agreement.mode()
            ))?;
            let Ok(network) = model.as_network() else { return show("predicts from counts, in the clear") };
            let layers: Vec<String> =
                network.architecture().layers().iter().map(|layer| layer.spec.to_string()).collect();
            let parameters = counted(network.architecture().parameters() as u64, "parameter", "parameters");
            show(format_args!(
                "samples of shape {}, {}: {parameters}",
                network.architecture().input(),
                layers.join(", ")
            ))?;
            model.round().map_or(Ok(()), |round| show(format_args!("round {round}")))
        }
        _ => show("a message between a party and its authority"),
    }
}
