//! Messages on a Unix socket of this machine: each begins with its header, which says how long it is.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nightloom_fe::authority::KeeperError;
use nightloom_fe::protocol::MAX_MESSAGE_BYTES;
use nightloom_wire::{HEADER_BYTES, Header, Kind};

use super::{MAX_CONNECTIONS, MAX_REQUEST_BYTES, SharedAuthority, TransportError};

/// How long a peer may leave a message unfinished, or a connection unused.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between attempts to accept a connection while none can be.
const PAUSE: Duration = Duration::from_millis(50);

/// The client's end. Connects when it has to.
pub struct UnixLink {
    path: PathBuf,
    stream: Option<UnixStream>,
}

impl UnixLink {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), stream: None }
    }

    pub(super) fn exchange(&mut self, message: &[u8]) -> Result<Vec<u8>, TransportError> {
        let answer = self.try_exchange(message);
        if answer.is_err() {
            // What comes later on this connection may be the answer to this message.
            self.stream = None;
        }
        answer.map_err(|source| TransportError::Io { address: self.path.display().to_string(), source })
    }

    fn try_exchange(&mut self, message: &[u8]) -> io::Result<Vec<u8>> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = UnixStream::connect(&self.path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                none.insert(stream)
            }
        };
        stream.write_all(message)?;
        let answer = read_message(stream, Kind::AuthorityReply, MAX_MESSAGE_BYTES)?;
        answer.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the authority closed the connection"))
    }
}

/// Reads a message of the wanted kind; `None` if the peer closed the connection before one began.
fn read_message(stream: &mut UnixStream, wanted: Kind, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut start = [0; HEADER_BYTES as usize];
    let mut filled = 0;
    while filled < start.len() {
        match stream.read(&mut start[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let invalid = |problem: String| io::Error::new(io::ErrorKind::InvalidData, problem);
    let header = Header::read(&start[..]).map_err(|error| invalid(error.to_string()))?;
    if header.kind != wanted {
        return Err(invalid(format!("found: {}, wanted: {wanted}", header.kind)));
    }
    if header.length > limit {
        return Err(invalid(format!("a message of {} bytes, wanted at most {limit}", header.length)));
    }
    // Memory grows with what arrives.
    let mut message = start.to_vec();
    let count = stream.take(header.length).read_to_end(&mut message)?;
    if (count as u64) < header.length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Some(message)) }
}

/// An authority's socket. Its file can be used by its owner alone, and goes when the server does.
pub struct UnixServer {
    listener: UnixListener,
    path: PathBuf,
}

impl UnixServer {
    /// Makes the socket. One that a process left behind is replaced; one that answers is not.
    ///
    /// # Errors
    /// Those of the system; [`io::ErrorKind::AddrInUse`] if somebody listens, or something else stands at the path.
    pub fn bind(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::FileTypeExt;
        if let Ok(found) = std::fs::symlink_metadata(path) {
            if !found.file_type().is_socket() || UnixStream::connect(path).is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)?;
        }
        // Between the two calls the socket may have the permissions of the umask. Messages carry MACs all the same.
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers until the process ends. `say` is told of errors, on single connections and of the socket.
    pub fn serve(&self, authority: &SharedAuthority, say: &(dyn Fn(&str) + Sync)) {
        let connections = Arc::new(AtomicUsize::new(0));
        let mut ails = false;
        std::thread::scope(|scope| {
            loop {
                let stream = match self.listener.accept() {
                    Ok((stream, _)) => stream,
                    // The peer went meanwhile, or descriptors ran out: both pass.
                    Err(error) => {
                        if !std::mem::replace(&mut ails, true) {
                            say(&format!("a connection could not be accepted: {error}"));
                        }
                        std::thread::sleep(PAUSE);
                        continue;
                    }
                };
                ails = false;
                if connections.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
                    connections.fetch_sub(1, Ordering::Relaxed);
                    say("too many connections: one more was refused");
                    continue;
                }
                let (authority, open) = (authority.clone(), connections.clone());
                let spawned = std::thread::Builder::new().spawn_scoped(scope, move || {
                    if let Err(problem) = converse(stream, &authority) {
                        say(&problem);
                    }
                    open.fetch_sub(1, Ordering::Relaxed);
                });
                if let Err(error) = spawned {
                    connections.fetch_sub(1, Ordering::Relaxed);
                    say(&format!("no thread for a connection, which was refused: {error}"));
                }
            }
        })
    }
}

impl Drop for UnixServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Answers until the peer goes.
fn converse(mut stream: UnixStream, authority: &SharedAuthority) -> Result<(), String> {
    let broken = |error: io::Error| format!("a connection ended: {error}");
    stream.set_read_timeout(Some(PATIENCE)).map_err(broken)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(broken)?;
    while let Some(message) = read_message(&mut stream, Kind::AuthorityRequest, MAX_REQUEST_BYTES).map_err(broken)? {
        let answer = authority.answer(&message).map_err(|error: KeeperError| error.to_string())?;
        stream.write_all(&answer).map_err(broken)?;
    }
    Ok(())
}
