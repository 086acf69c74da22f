use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use nightloom_fe::learn::Trainer;
use nightloom_he::wire::newest_version;
use nightloom_he::{CkksParams, ParamsId};
use nightloom_program::ProgramId;
use nightloom_program::wire::{MAX_BATCHES, MAX_FEATURES, Security, program_id, read_client_spec, read_program};
use nightloom_wire::{DecodeError, HEADER_BYTES, Header, Kind, Reader};

use super::compile::warn_if_insecure;
use super::console::{self, show};
use super::error::{At, CliError};
use super::figures::{counted, significant};
use super::input::{check_length, open, reader};

#[derive(Debug, Args)]
pub struct Inspect {
    /// Any file that Nightloom wrote
    file: PathBuf,
}

impl Inspect {
    pub fn run(self) -> Result<(), CliError> {
        let path = &self.file;
        let mut source = reader(path)?;
        let header = Header::read(&mut source).at(path)?;
        // A ledger grows, so its header announces no length.
        let length = match header.kind {
            Kind::Ledger => source.get_ref().metadata().at(path)?.len(),
            _ => HEADER_BYTES.saturating_add(header.length),
        };
        let announced = counted(length, "byte", "bytes");
        show(format_args!("{}: {}, format version {}, {announced}", path.display(), header.kind, header.version))?;
        if header.version == 0 || header.version > newest_version(header.kind) {
            let (kind, found) = (header.kind, header.version);
            return Err(DecodeError::UnknownVersion { kind, found, newest: newest_version(header.kind) }).at(path);
        }
        if header.kind != Kind::Ledger {
            check_length(path, &header, source.get_ref())?;
        }
        // These kinds name no parameters of a scheme.
        match header.kind {
            Kind::Checkpoint => return self.checkpoint(),
            kind if (33..64).contains(&(kind as u16)) => return super::train::inspect(path, kind),
            _ => {}
        }
        let mut reader = Reader::new(&mut source, header.length);
        if header.kind == Kind::MasterSeed {
            // Serves any parameters, and names none.
            return show("every key of the authority is derived from it: never send it");
        }
        show(format_args!("parameters {}", ParamsId(reader.bytes().at(path)?)))?;
        match header.kind {
            Kind::Program => self.program(),
            Kind::ClientSpec => self.client_spec(),
            Kind::Request | Kind::Response => {
                show(format_args!("program {}", ProgramId(reader.bytes().at(path)?)))?;
                let samples = reader.u64().at(path)?;
                let batches = reader.count("batches", 0, MAX_BATCHES).at(path)? as u64;
                let ciphertexts = reader.count("ciphertexts", 0, MAX_FEATURES).at(path)? as u64;
                if samples.min(1) != batches.min(1) || samples < batches {
                    let wanted = "at least one for each batch";
                    return Err(DecodeError::Value { what: "samples", found: samples, wanted }).at(path);
                }
                reader.demand(batches * ciphertexts).at(path)?;
                show(format_args!(
                    "{} in {} of {}",
                    counted(samples, "sample", "samples"),
                    counted(batches, "batch", "batches"),
                    counted(ciphertexts, "ciphertext", "ciphertexts")
                ))
            }
            Kind::SecretKey => show("decrypts everything encrypted under it: never send it"),
            Kind::PublicKey => show("encrypts only"),
            Kind::EvaluationKeys => {
                show("keys for relinearisation and rotations; the service needs them and cannot decrypt with them")
            }
            Kind::ModelWeights => show("the weights of a model, for its owner to encrypt: never send it"),
            Kind::EncryptedModel => {
                show(format_args!("program {}", ProgramId(reader.bytes().at(path)?)))?;
                show("for the service; whoever has the secret key of the client that it was made for decrypts it")
            }
            Kind::FunctionalPublicKey => show("encrypts only"),
            Kind::FunctionalSecretKey => {
                show("shared by client and authority, opens everything of its label: never send it")
            }
            Kind::Functionals | Kind::OperandRequest => show("asks an authority for keys"),
            Kind::FunctionKeys => show("opens the functionals that it was issued for, and all combinations of them"),
            _ => Ok(()),
        }
    }

    fn checkpoint(&self) -> Result<(), CliError> {
        let trainer = Trainer::read(open(&self.file, Kind::Checkpoint)?).at(&self.file)?;
        let spec = trainer.spec();
        let layers: Vec<String> = spec.network.layers.iter().map(ToString::to_string).collect();
        let parameters = counted(trainer.network().architecture().parameters() as u64, "parameter", "parameters");
        show(format_args!("samples of shape {}, {}: {parameters}", spec.network.input, layers.join(", ")))?;
        let (progress, outputs) = (trainer.progress(), trainer.network().architecture().outputs());
        show(format_args!(
            "{} of {} epochs done, {} of {} steps of the next",
            progress.epoch, progress.epochs, progress.step, progress.steps
        ))?;
        for (epoch, metrics) in progress.history.iter().enumerate() {
            // Of a single output every sample has the largest where it should be.
            let score = if outputs > 1 {
                format!("running accuracy {:.2} %", 100.0 * metrics.accuracy())
            } else {
                format!("running loss {}", significant(metrics.mean_loss()))
            };
            show(format_args!("epoch {}: {score}", epoch + 1))?;
        }
        if spec.privacy.is_some() {
            show("holds the seed of its noise: keep it secret")?;
        }
        Ok(())
    }

    fn program(&self) -> Result<(), CliError> {
        let mut bytes = Vec::new();
        open(&self.file, Kind::Program)?.read_to_end(&mut bytes).at(&self.file)?;
        let (program, _) = read_program(&*bytes).at(&self.file)?;
        show(format_args!("program {}", program_id(&bytes)))?;
        describe(program.params())?;
        show(format_args!("{:<20} {:>6} {:>3} {:>6} {:>9}  layer", "operation", "cts", "of", "level", "scale"))?;
        for ((op, result), name) in program.ops().iter().zip(program.types()).zip(program.names()) {
            show(format_args!(
                "{:<20} {:>6} {:>3} {:>6} {:>9}  {}",
                op.name(),
                result.features,
                result.components,
                result.level,
                result.scale.to_string(),
                console::name(name)
            ))?;
        }
        Ok(())
    }

    fn client_spec(&self) -> Result<(), CliError> {
        let (_, params) = read_client_spec(open(&self.file, Kind::ClientSpec)?, Security::Waived).at(&self.file)?;
        describe(&params)?;
        // The body is JSON made for people.
        let mut text = Vec::new();
        open(&self.file, Kind::ClientSpec)?.read_to_end(&mut text).at(&self.file)?;
        let start = (HEADER_BYTES as usize + size_of::<ParamsId>()).min(text.len());
        show(String::from_utf8_lossy(&text[start..]).trim_end())
    }
}

fn describe(params: &CkksParams) -> Result<(), CliError> {
    warn_if_insecure(!params.is_secure());
    let spec = params.spec();
    let sizes = |bits: &[u32]| bits.iter().map(u32::to_string).collect::<Vec<_>>().join("+");
    let special = if spec.special_bits.is_empty() { "none".to_owned() } else { sizes(&spec.special_bits) };
    show(format_args!(
        "CKKS, {} ring of degree {}, primes {} + special {special} = {:.1} bits, {}",
        spec.ring,
        params.degree(),
        sizes(&spec.prime_bits),
        params.log_qp(),
        if params.is_secure() { "128 bits of security" } else { "BELOW 128 BITS of security" },
    ))
}
