use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use nightloom::client::{Client, ClientError, EncryptionKey};
use nightloom::output::{Format, NewFile, NewFolder, OutputError, PendingFile, Results};
use nightloom::samples::{Samples, SamplesProblem};
use nightloom::{samples, system_rng};
use nightloom_he::{PublicKey, SecretKey, wire};
use nightloom_wire::{DecodeError, Kind, Writer};

use super::compile::warn_if_insecure;
use super::console::{say, word};
use super::destination::{Destination, Finished};
use super::error::{At, CliError};
use super::figures::{bytes, counted};
use super::input::{open, open_for};
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
    let source = open(path, Kind::ClientSpec)?;
    let client = if consent.insecure_below_128_bits {
        Client::read_insecure(source, threads).at(path)?
    } else {
        match Client::read(source, threads) {
            Err(ClientError::Decode(DecodeError::Insecure)) => {
                return Err(CliError::Insecure { path: path.to_owned() });
            }
            client => client.at(path)?,
        }
    };
    warn_if_insecure(client.spec().insecure);
    Ok(client)
}

fn read_secret(path: &Path, client: &Client, specification: &Path) -> Result<SecretKey, CliError> {
    let source = open_for(path, Kind::SecretKey, specification, client.params().id())?;
    client.read_secret_key(source).at(path)
}

fn read_public(path: &Path, client: &Client, specification: &Path) -> Result<PublicKey, CliError> {
    let source = open_for(path, Kind::PublicKey, specification, client.params().id())?;
    client.read_public_key(source).at(path)
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
        let folder = NewFolder::make(&self.output)?;
        let mut secret = self.create(|name| NewFile::at(name).private(), SECRET)?;
        let mut public = self.create(NewFile::at, PUBLIC)?;
        // Also where the model needs no such key: that of another one would be taken for this one's.
        let mut evaluation = self.create(NewFile::at, EVALUATION)?;

        let keys = client.generate_keys(&mut system_rng()?).at(&self.client)?;
        let output = &self.output;
        let refused = |name| move |source| OutputError::Write { path: output.join(name), source };
        wire::write_secret_key(&mut Writer::new(&mut secret), &keys.secret).map_err(refused(SECRET))?;
        wire::write_public_key(&mut Writer::new(&mut public), &keys.public).map_err(refused(PUBLIC))?;
        let mut files = vec![public, secret];
        let needed = keys.evaluation.spec().keys().next().is_some();
        if needed {
            wire::write_evaluation_keys(&mut Writer::new(&mut evaluation), &keys.evaluation)
                .map_err(refused(EVALUATION))?;
            files.insert(0, evaluation);
        }
        PendingFile::commit_all(files)?;
        folder.keep();

        let shown = |name: &str| self.output.join(name).display().to_string();
        say(format_args!("wrote {} (keep it: it decrypts, readable by you alone)", shown(SECRET)))?;
        say(format_args!("wrote {} (encrypts only)", shown(PUBLIC)))?;
        if needed {
            say(format_args!("wrote {} (for the service)", shown(EVALUATION)))
        } else {
            say("this model needs no evaluation keys")
        }
    }

    fn create(&self, file: impl Fn(PathBuf) -> NewFile, name: &str) -> Result<PendingFile, CliError> {
        file(self.output.join(name)).open().map_err(|error| match error {
            OutputError::Exists { path } => CliError::KeyExists { path },
            error => error.into(),
        })
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
    /// Encrypt no more than the first N samples
    #[arg(long, value_name = "N")]
    first: Option<NonZeroUsize>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    consent: Consent,
}

impl Encrypt {
    pub fn run(self) -> Result<(), CliError> {
        let mut out = self.output.open()?;
        let client = read_client(&self.client, self.threads.count(), &self.consent)?;
        let secret = self.key.as_ref().map(|path| read_secret(path, &client, &self.client)).transpose()?;
        let public = self.public_key.as_ref().map(|path| read_public(path, &client, &self.client)).transpose()?;
        let key = match (&secret, &public) {
            (Some(secret), _) => EncryptionKey::Secret(secret),
            (None, Some(public)) => EncryptionKey::Public(public),
            // The command line requires one of them.
            (None, None) => return Ok(()),
        };
        let mut samples = self.read_samples(&client)?;
        if let Some(first) = self.first.filter(|first| first.get() < samples.len()) {
            samples = samples.part(0..first.get());
        }
        let features = samples.features(&client.spec().input_shape, client.scaling())?;
        let bar = Bar::new("encrypting");
        let mut rng = system_rng()?;
        let header = match client.encrypt(&features, key, &mut rng, &mut out, &|part| bar.at(part)) {
            Ok(header) => header,
            Err(ClientError::Write(source)) => return Err(out.refuses(source)),
            Err(source) => return Err(CliError::Client { path: self.input.clone(), source }),
        };
        let size = out.written() as f64;
        let done = out.finish()?;
        drop(bar);
        done.say(format_args!(
            "wrote {done}: {} in {} of {}, {}, {} a sample",
            counted(header.samples, "sample", "samples"),
            counted(header.batches as u64, "batch", "batches"),
            counted(header.ciphertexts as u64, "ciphertext", "ciphertexts"),
            bytes(size),
            bytes(size / header.samples as f64),
        ))?;
        if header.samples < client.capacity() as u64 {
            done.say(format_args!("note: a batch has room for {} samples at the same cost", client.capacity()))?;
        }
        if samples.skipped() > 0 {
            let entries = counted(samples.skipped() as u64, "entry", "entries");
            let folder = self.input.display();
            done.say(format_args!("note: skipped {entries} of {folder}: only files named *.png are encrypted"))?;
        }
        if samples.names().is_some() && self.first.is_none() {
            let folder = word(&self.input.to_string_lossy());
            done.say(format_args!("note: decrypt with --names {folder} to have file names in the table"))?;
        }
        Ok(())
    }

    fn read_samples(&self, client: &Client) -> Result<Samples, CliError> {
        samples::read(&self.input).map_err(|error| match error.problem {
            // What is not finite lies outside every range: say which.
            SamplesProblem::NotFinite { sample, element, found } => {
                let nightloom_program::InputEncoding { low, high, .. } = client.spec().input;
                let source = ClientError::OutOfRange { sample, feature: element, found, low, high };
                CliError::Client { path: error.path, source }
            }
            _ => error.into(),
        })
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
    /// The folder of PNG files that was encrypted, unchanged: the table begins with their names
    #[arg(long, value_name = "DIR")]
    names: Option<PathBuf>,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    consent: Consent,
}

impl Decrypt {
    pub fn run(self) -> Result<(), CliError> {
        let format = Format::of(&self.output)?;
        if self.names.is_some() && format != Format::Csv {
            return Err(CliError::NamesWithoutTable);
        }
        let mut out = Destination::text(&self.output, self.force)?;
        let client = read_client(&self.client, self.threads.count(), &self.consent)?;
        let secret = read_secret(&self.key, &client, &self.client)?;
        let names = self.names.as_ref().map(samples::picture_names).transpose()?;
        let response = open_for(&self.response, Kind::Response, &self.client, client.params().id())?;
        let outputs = client.decrypt(response, &secret).at(&self.response)?;
        let mut results = Results::new(&outputs.values, outputs.columns)?;
        if let (Some(folder), Some(names)) = (&self.names, &names) {
            if names.len() != results.rows() {
                return Err(CliError::NamesDiffer {
                    folder: folder.clone(),
                    names: counted(names.len() as u64, "PNG file", "PNG files"),
                    rows: counted(results.rows() as u64, "row", "rows"),
                });
            }
            results = results.with_names(names)?;
        }
        if let Err(source) = results.write(&mut out, format).and_then(|()| out.flush()) {
            return Err(out.refuses(source));
        }
        // A table on standard output speaks for itself.
        if let Finished::File(path) = out.finish()? {
            say(format_args!(
                "wrote {}: {} of {}",
                path.display(),
                counted(results.rows() as u64, "row", "rows"),
                counted(outputs.columns as u64, "output", "outputs")
            ))?;
            if let Some(seen) = outputs.seen_error {
                let bound = client.spec().error_bound;
                say(format_args!(
                    "largest error in slots that should be zero: {seen:.1e}; stated for outputs: {bound:.1e}"
                ))?;
            }
        }
        Ok(())
    }
}
