use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use nightloom::output::{NewFile, NewFolder, OutputError, PendingFile};
use nightloom::system_rng;
#[cfg(unix)]
use nightloom::train::transport::UnixServer;
use nightloom::train::transport::{HttpsServer, Identity, SharedAuthority};
use nightloom_fe::MasterSeed;
use nightloom_fe::agreement::Agreement;
use nightloom_fe::authority::Keeper;
use nightloom_fe::protocol::{EnrolmentToken, Role};
use nightloom_fe::wire::{read_master_seed, write_master_seed};
use nightloom_wire::{Kind, Writer};
use zeroize::Zeroizing;

use super::super::console::{say, warn};
use super::super::destination::open as open_output;
use super::super::error::{At, CliError};
use super::super::figures::counted;
use super::super::input::open;
use super::Consent;
use super::agreement::AgreementArguments;
use super::error::{AtFile, TrainFailure};

/// Files of an authority's folder.
const SEED: &str = "master.key";
pub const LEDGER: &str = "ledger";
const AGREEMENT: &str = "agreement.json";
const CERTIFICATE: &str = "certificate.der";
const TLS_KEY: &str = "certificate.key";
/// Longest certificate or key that is read.
const MAX_DER: u64 = 1 << 16;

#[derive(Debug, Subcommand)]
pub enum Authority {
    /// Found an authority: its master seed, its ledger, its certificate, and tokens for those who take part
    Init(Box<Init>),
    /// Enrol one more client or server
    Enrol(Enrol),
    /// Answer clients and servers until the process is ended, which is safe at any time
    Serve(Serve),
}

impl Authority {
    pub fn run(self) -> Result<(), CliError> {
        match self {
            Self::Init(init) => init.run(),
            Self::Enrol(enrol) => enrol.run(),
            Self::Serve(serve) => serve.run(),
        }
    }
}

#[derive(Debug, Args)]
pub struct Init {
    /// Folder for the authority's files, made if missing. What is in it stays with the authority, but for the tokens
    folder: PathBuf,
    /// A client to enrol; its token goes to NAME.token in the folder. Can be given again
    #[arg(long = "client", value_name = "NAME")]
    clients: Vec<String>,
    /// A server to enrol, likewise
    #[arg(long = "server", value_name = "NAME")]
    servers: Vec<String>,
    /// A name or address by which the authority is reached over a network. Can be given again
    #[arg(long = "host", value_name = "HOST", default_values_t = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()])]
    hosts: Vec<String>,
    /// A name for people [default: the folder's]
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    #[command(flatten)]
    terms: AgreementArguments,
    #[command(flatten)]
    consent: Consent,
}

/// The largest first layers that the budget admits, in words.
fn keeper_budget(agreement: &Agreement) -> Option<String> {
    let [once, twice] = [1, 2].map(|epochs| agreement.largest_first_layer(epochs));
    Some(format!("a first layer of up to {} units for one epoch, {} for two", once?, twice?))
}

impl Init {
    pub fn run(self) -> Result<(), CliError> {
        let named = self.folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let task = self.task.clone().or(named).unwrap_or_else(|| "training".to_owned());
        let agreement = Arc::new(self.terms.validate(&task, self.clients.len())?);
        self.consent.state(agreement.mode(), false)?;
        for name in self.clients.iter().chain(&self.servers) {
            nightloom_fe::agreement::check_name(name).map_err(TrainFailure::Agreement)?;
        }
        let folder = NewFolder::make(&self.folder)?;
        let mut rng = system_rng()?;
        let identity = Identity::generate(&self.hosts).at_file(&self.folder)?;
        let seed = MasterSeed::generate(&mut rng);

        let mut seed_file = self.create(SEED, true)?;
        let refused = |path: &Path| {
            let path = path.to_owned();
            move |source| CliError::from(OutputError::Write { path, source })
        };
        write_master_seed(&mut Writer::new(&mut seed_file), &seed).map_err(refused(&self.folder.join(SEED)))?;
        let mut files = vec![seed_file];
        for (name, private, bytes) in [
            (TLS_KEY, true, &identity.key[..]),
            (CERTIFICATE, false, &identity.certificate),
            (AGREEMENT, false, agreement.json()),
        ] {
            let mut file = self.create(name, private)?;
            file.write_all(bytes).map_err(refused(&self.folder.join(name)))?;
            files.push(file);
        }
        let ledger = self.folder.join(LEDGER);
        if ledger.exists() {
            return Err(TrainFailure::AuthorityExists { path: ledger }.into());
        }
        PendingFile::commit_all(files)?;
        folder.keep();
        let agreed = agreement.clone();
        let mut keeper = Keeper::found(&ledger, agreement, seed).map_err(TrainFailure::Keeper)?;
        say(format_args!("\nwrote {}: whoever has {SEED} can open everything", self.folder.display()))?;
        if let Some(most) = keeper_budget(&agreed) {
            let values = counted(agreed.data().trained_input().len() as u64, "value", "values");
            say(format_args!("budget: networks of {values} with {most}"))?;
            if agreed.largest_first_layer(1) == Some(0) {
                warn("warning: nothing can be trained within that; mode aggregate, or samples of more values, can");
            }
        }
        let roles = [(Role::Client, &self.clients), (Role::Server, &self.servers)];
        for (role, name) in roles.into_iter().flat_map(|(role, names)| names.iter().map(move |name| (role, name))) {
            let path = self.folder.join(format!("{name}.token"));
            enrol(&mut keeper, role, name, &identity.certificate, &path)?;
        }
        Ok(())
    }

    fn create(&self, name: &str, private: bool) -> Result<PendingFile, CliError> {
        let file = NewFile::at(self.folder.join(name));
        let file = if private { file.private() } else { file };
        file.open().map_err(|error| match error {
            OutputError::Exists { path } => TrainFailure::AuthorityExists { path }.into(),
            error => error.into(),
        })
    }
}

/// Enrols somebody, unless that was done before, and writes the token.
fn enrol(keeper: &mut Keeper, role: Role, name: &str, certificate: &[u8], path: &Path) -> Result<(), CliError> {
    // Before the ledger has the record.
    let mut file = open_output(&NewFile::at(path).private())?;
    let known = keeper.authority().token(name, certificate.to_vec()).filter(|token| token.role == role);
    let token: EnrolmentToken = match known {
        Some(token) => token,
        None => keeper.enrol(role, name, certificate.to_vec()).map_err(TrainFailure::Keeper)?,
    };
    let written = token.write(&mut file);
    written.map_err(|source| OutputError::Write { path: path.to_owned(), source })?;
    file.commit()?;
    say(format_args!("wrote {} (for the {role} '{name}' alone: whoever has it can speak for it)", path.display()))
}

/// Reads DER from an authority's folder.
fn read_der(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    use std::io::Read;
    let mut bytes = Zeroizing::new(Vec::new());
    std::fs::File::open(path).at(path)?.take(MAX_DER).read_to_end(&mut bytes).at(path)?;
    Ok(bytes)
}

fn open_keeper(folder: &Path) -> Result<Keeper, CliError> {
    let path = folder.join(SEED);
    let seed = read_master_seed(open(&path, Kind::MasterSeed)?).at(&path)?;
    let keeper = Keeper::open(folder.join(LEDGER), seed).map_err(TrainFailure::Keeper)?;
    if keeper.torn() > 0 {
        warn(format_args!(
            "{}: {} of a record that was being written when its authority ended were cut; nothing was issued on its account",
            folder.join(LEDGER).display(),
            counted(keeper.torn(), "byte", "bytes")
        ));
    }
    Ok(keeper)
}

#[derive(Debug, Args)]
pub struct Enrol {
    /// The authority's folder. It must not be serving
    folder: PathBuf,
    /// Enrol a client of this name
    #[arg(long, value_name = "NAME", conflicts_with = "server", required_unless_present = "server")]
    client: Option<String>,
    /// Enrol a server of this name
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Where the token goes [default: NAME.token in the folder]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Enrol {
    pub fn run(self) -> Result<(), CliError> {
        let (role, name) = match (&self.client, &self.server) {
            (Some(name), _) => (Role::Client, name),
            (None, Some(name)) => (Role::Server, name),
            // The command line requires one of them.
            (None, None) => return Ok(()),
        };
        nightloom_fe::agreement::check_name(name).map_err(TrainFailure::Agreement)?;
        let mut keeper = open_keeper(&self.folder)?;
        let certificate = read_der(&self.folder.join(CERTIFICATE))?;
        let path = self.output.clone().unwrap_or_else(|| self.folder.join(format!("{name}.token")));
        enrol(&mut keeper, role, name, &certificate, &path)
    }
}

#[derive(Debug, Args)]
pub struct Serve {
    /// The authority's folder
    folder: PathBuf,
    /// Listen for TLS on this address and port, such as 0.0.0.0:8443; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", required_unless_present = "socket")]
    listen: Option<String>,
    /// Listen on a socket of this machine, made with access for its owner alone
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    consent: Consent,
}

fn tell(problem: &str) {
    warn(format_args!("warning: {problem}"));
}

impl Serve {
    pub fn run(self) -> Result<(), CliError> {
        let keeper = open_keeper(&self.folder)?;
        self.consent.state(keeper.authority().agreement().mode(), false)?;
        say(format_args!("\nledger at {}", keeper.authority().head()))?;
        let authority = SharedAuthority::new(keeper, system_rng()?);
        let network = self.listen.as_ref().map(|address| self.listen_on(address)).transpose()?;
        #[cfg(unix)]
        let socket = match &self.socket {
            Some(path) => {
                let address = path.display().to_string();
                Some(UnixServer::bind(path).map_err(|source| TrainFailure::Listen { address, source })?)
            }
            None => None,
        };
        #[cfg(not(unix))]
        if self.socket.is_some() {
            let reason = "this system has no Unix sockets";
            return Err(TrainFailure::Surplus { option: "--socket", reason }.into());
        }
        #[cfg(unix)]
        if let Some(server) = socket {
            say(format_args!("listening on {}", self.socket.as_deref().unwrap_or(Path::new("")).display()))?;
            let shared = authority.clone();
            let serve = move || server.serve(&shared, &tell);
            match network {
                None => serve(),
                Some(_) => {
                    std::thread::spawn(serve);
                }
            }
        }
        let Some((address, server)) = network else { return Ok(()) };
        say(format_args!("listening on https://{address}"))?;
        Ok(server.serve(&authority, &tell).map_err(|source| TrainFailure::Listen { address, source })?)
    }

    fn listen_on(&self, address: &str) -> Result<(String, HttpsServer), CliError> {
        let certificate = read_der(&self.folder.join(CERTIFICATE))?.to_vec();
        let identity = Identity { certificate, key: read_der(&self.folder.join(TLS_KEY))? };
        let fail = |source| TrainFailure::Listen { address: address.to_owned(), source };
        let server = HttpsServer::bind(address, &identity).map_err(fail)?;
        let bound = server.address().map_err(fail)?;
        Ok((bound.to_string(), server))
    }
}
