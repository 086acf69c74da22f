use std::path::{Path, PathBuf};

use clap::Args;
use nightloom::client::{Client, ClientError, EncryptionKey};
use nightloom::output::{Format, NewFile, Results};
use nightloom::{samples, system_rng};
use nightloom_he::wire;
use nightloom_wire::{DecodeError, Writer};

use super::compile::{open, warn_if_insecure};
use super::error::{At, CliError};
use super::progress::Bar;
use super::{Output, Threads};

/// Names of the keys in a folder.
const SECRET: &str = "secret.key";
const PUBLIC: &str = "public.key";
const EVALUATION: &str = "evaluation.keys";

/// Consent to parameters that protect nothing: a specification comes from somebody else.
#[derive(Debug, Args)]
struct Consent {
    /// Go on although the specification's parameters are BELOW 128 bits of security. Data is then not protected
    #[arg(long)]
    insecure_below_128_bits: bool,
}

fn read_client(path: &Path, threads: usize, consent: &Consent) -> Result<Client, CliError> {
    let client = if consent.insecure_below_128_bits {
        Client::read_insecure(open(path)?, threads).at(path)?
    } else {
        match Client::read(open(path)?, threads) {
            Err(ClientError::Decode(DecodeError::Insecure)) => {
                return Err(CliError::Insecure { path: path.to_owned() });
            }
            client => client.at(path)?,
        }
    };
    warn_if_insecure(client.spec().insecure);
    Ok(client)
}

#[derive(Debug, Args)]
pub struct Keygen {
    /// The client specification, NAME.client
    client: PathBuf,
    /// Folder for the keys, made if missing
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    consent: Consent,
}

impl Keygen {
    pub fn run(self) -> Result<(), CliError> {
        let client = read_client(&self.client, 1, &self.consent)?;
        let keys = client.generate_keys(&mut system_rng()?).at(&self.client)?;
        std::fs::create_dir_all(&self.output).at(&self.output)?;
        let file = |name: &str| NewFile::at(self.output.join(name));
        // Keys are never overwritten: what was encrypted under them would be lost.
        let (secret, public, evaluation) = (file(SECRET).private(), file(PUBLIC), file(EVALUATION));
        for file in [&secret, &public, &evaluation] {
            file.check()?;
        }
        if keys.evaluation.spec().keys().next().is_some() {
            evaluation.write(|out| wire::write_evaluation_keys(&mut Writer::new(out), &keys.evaluation))?;
        }
        public.write(|out| wire::write_public_key(&mut Writer::new(out), &keys.public))?;
        // The secret key last: while it is missing, the command can be run again after removing the others.
        secret.write(|out| wire::write_secret_key(&mut Writer::new(out), &keys.secret))?;
        println!("wrote {} (keep it: it decrypts, readable by you alone)", self.output.join(SECRET).display());
        println!("wrote {} (encrypts only)", self.output.join(PUBLIC).display());
        if keys.evaluation.spec().keys().next().is_some() {
            println!("wrote {} (for the service)", self.output.join(EVALUATION).display());
        } else {
            println!("this model needs no evaluation keys");
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub struct Encrypt {
    /// The client specification, NAME.client
    client: PathBuf,
    /// Samples: .npy, .npz, IDX (plain or .gz), a PNG file or a folder of them
    input: PathBuf,
    /// Secret key; requests under it are half as large
    #[arg(long, value_name = "FILE", conflicts_with = "public_key", required_unless_present = "public_key")]
    key: Option<PathBuf>,
    /// Public key, for sources that must not decrypt
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    consent: Consent,
}

impl Encrypt {
    pub fn run(self) -> Result<(), CliError> {
        let file = NewFile::at(&self.output.output).replace_existing(self.output.force);
        file.check()?;
        let client = read_client(&self.client, self.threads.count(), &self.consent)?;
        let samples = samples::read(&self.input)?;
        let features = samples.features(&client.spec().input_shape, client.scaling())?;
        let secret = match &self.key {
            Some(path) => Some(client.read_secret_key(open(path)?).at(path)?),
            None => None,
        };
        let public = match &self.public_key {
            Some(path) => Some(client.read_public_key(open(path)?).at(path)?),
            None => None,
        };
        let key = match (&secret, &public) {
            (Some(secret), _) => EncryptionKey::Secret(secret),
            (None, Some(public)) => EncryptionKey::Public(public),
            // The command line requires one of them.
            (None, None) => return Ok(()),
        };
        let bar = Bar::new("encrypting");
        let mut rng = system_rng()?;
        let header = file.try_write(|out| {
            client.encrypt(&features, key, &mut rng, out, &|part| bar.at(part)).map_err(|source| match source {
                ClientError::Write(source) => CliError::Read { path: self.output.output.clone(), source },
                source => CliError::Client { path: self.input.clone(), source },
            })
        })?;
        drop(bar);
        let size = std::fs::metadata(&self.output.output).at(&self.output.output)?.len();
        println!(
            "wrote {}: {} samples in {} batches of {} ciphertexts, {:.1} MB, {:.1} kB a sample",
            self.output.output.display(),
            header.samples,
            header.batches,
            header.ciphertexts,
            size as f64 / 1e6,
            size as f64 / 1e3 / header.samples as f64,
        );
        if header.samples < client.params().slots() as u64 {
            println!("note: a batch has room for {} samples at the same cost", client.params().slots());
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub struct Decrypt {
    /// The client specification, NAME.client
    client: PathBuf,
    /// The response
    response: PathBuf,
    /// Secret key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where to write: .csv, .npy, or - for a table on standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Replace the file if it exists
    #[arg(long, short)]
    force: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    consent: Consent,
}

impl Decrypt {
    pub fn run(self) -> Result<(), CliError> {
        let format = Format::of(&self.output)?;
        let client = read_client(&self.client, self.threads.count(), &self.consent)?;
        let secret = client.read_secret_key(open(&self.key)?).at(&self.key)?;
        let outputs = client.decrypt(open(&self.response)?, &secret).at(&self.response)?;
        let results = Results::new(&outputs.values, outputs.columns)?;
        results.save(&self.output, format, self.force)?;
        if self.output != Path::new("-") {
            println!("wrote {}: {} rows of {} outputs", self.output.display(), results.rows(), outputs.columns);
        }
        Ok(())
    }
}
