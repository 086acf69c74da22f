use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use nightloom::system_rng;
use nightloom_he::wire::read_public_key;
use nightloom_program::thread_pool;
use nightloom_program::wire::{read_model_weights, write_encrypted_model};
use nightloom_wire::{Kind, Writer};

use super::compile::warn_if_insecure;
use super::error::{At, CliError};
use super::figures::{bytes, counted};
use super::input::{open, open_for};
use super::progress::Bar;
use super::{Output, Threads};

#[derive(Debug, Args)]
pub struct EncryptModel {
    /// The weights, NAME.owner
    weights: PathBuf,
    /// The public key of the client whose requests the service will evaluate
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    threads: Threads,
    /// Go on although the model's parameters are BELOW 128 bits of security. Nothing is then protected
    #[arg(long)]
    insecure_below_128_bits: bool,
}

impl EncryptModel {
    pub fn run(self) -> Result<(), CliError> {
        let mut out = self.output.open()?;
        let weights = read_model_weights(open(&self.weights, Kind::ModelWeights)?).at(&self.weights)?;
        if weights.insecure && !self.insecure_below_128_bits {
            return Err(CliError::Insecure { path: self.weights });
        }
        warn_if_insecure(weights.insecure);
        let source = open_for(&self.public_key, Kind::PublicKey, &self.weights, weights.params.id())?;
        let key = read_public_key(source, &weights.params).at(&self.public_key)?;
        let threads = thread_pool(self.threads.count())?;
        let (bar, finished, total) = (Bar::new("encrypting"), AtomicUsize::new(0), weights.ciphertexts());
        let done = || bar.at((finished.fetch_add(1, Ordering::Relaxed) + 1) as f64 / total as f64);
        let model = weights.encrypt(&key, &mut system_rng()?, &threads, &done).map_err(CliError::Model)?;
        if let Err(source) = write_encrypted_model(&mut Writer::new(&mut out), &weights.params, &model) {
            return Err(out.refuses(source));
        }
        let size = out.written() as f64;
        let done = out.finish()?;
        drop(bar);
        done.say(format_args!(
            "wrote {done}: {}, {} (for the service; never for the client, whose secret key decrypts it)",
            counted(total as u64, "ciphertext", "ciphertexts"),
            bytes(size),
        ))
    }
}
