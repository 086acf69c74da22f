//! Carries messages to an authority and its answers back: over TLS to another machine, over a Unix socket on this one, or
//! by a call in the same process. What the messages mean is the business of `nightloom_fe::protocol`.

mod authority;
mod https;
mod patience;
#[cfg(unix)]
mod unix;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use nightloom_fe::authority::KeeperError;
use nightloom_fe::protocol::{EnrolmentToken, Link, Session};

pub use authority::SharedAuthority;
pub use https::{HttpsServer, Identity, IdentityError};
pub use patience::backing_off;
#[cfg(unix)]
pub use unix::UnixServer;

/// Longest request that a listening authority reads, in bytes. Queries of a first layer take far less.
pub const MAX_REQUEST_BYTES: u64 = 1 << 26;
/// Connections that are served at once.
pub const MAX_CONNECTIONS: usize = 64;

/// Where an authority listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `https://HOST:PORT`.
    Https(String),
    /// A Unix socket.
    Socket(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("https", rest)) if !rest.is_empty() && !rest.contains(['@', '?', '#', ' ']) => {
                Ok(Self::Https(format!("https://{}", rest.trim_end_matches('/'))))
            }
            Some(_) => Err("wanted https://HOST:PORT, or the path of a socket".to_owned()),
            None if text.is_empty() => Err("wanted https://HOST:PORT, or the path of a socket".to_owned()),
            None => Ok(Self::Socket(PathBuf::from(text))),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Https(url) => f.write_str(url),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

/// Why a message or its answer did not arrive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The connection cannot be made, or ended.
    #[error("{address}: {source}")]
    Io {
        /// Where the authority should be.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// TLS or HTTP failed.
    #[error("{address}: {source}")]
    Http {
        /// Where the authority should be.
        address: String,
        /// What went wrong.
        source: Box<ureq::Error>,
    },
    /// An answer that is not of an authority at work.
    #[error("{address}: status {status}, wanted 200")]
    Status {
        /// Where the authority should be.
        address: String,
        /// The status of HTTP.
        status: u16,
    },
    /// An address of another kind than the enrolment allows.
    #[error("{address}: the enrolment token holds no certificate, so the authority cannot be known over a network")]
    NoCertificate {
        /// Where the authority should be.
        address: String,
    },
    /// Sockets of this kind do not exist here.
    #[error("{address}: this system has no Unix sockets, wanted https://HOST:PORT")]
    NoSockets {
        /// Where the authority should be.
        address: String,
    },
    /// The authority in this process cannot keep its ledger.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

impl TransportError {
    /// Whether another attempt may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() != std::io::ErrorKind::InvalidData,
            // A certificate of somebody else stays one.
            Self::Http { source, .. } => match &**source {
                ureq::Error::Io(error) => error.kind() != std::io::ErrorKind::InvalidData,
                ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => true,
                ureq::Error::Protocol(_) => true,
                _ => false,
            },
            Self::Status { status, .. } => *status >= 500,
            Self::NoCertificate { .. } | Self::NoSockets { .. } | Self::Keeper(_) => false,
        }
    }
}

/// A way to an authority.
pub enum Connection {
    /// Over a network.
    Https(https::HttpsLink),
    /// On this machine.
    #[cfg(unix)]
    Socket(unix::UnixLink),
    /// In this process.
    Local(SharedAuthority),
}

impl Connection {
    /// The way to the authority at an address, whose certificate the token holds. Nothing is sent yet.
    ///
    /// # Errors
    /// [`TransportError`] if there can be no such connection.
    pub fn to(address: &Address, token: &EnrolmentToken) -> Result<Self, TransportError> {
        match address {
            Address::Https(url) if token.certificate.is_empty() => {
                Err(TransportError::NoCertificate { address: url.clone() })
            }
            Address::Https(url) => Ok(Self::Https(https::HttpsLink::new(url, &token.certificate))),
            #[cfg(unix)]
            Address::Socket(path) => Ok(Self::Socket(unix::UnixLink::new(path))),
            #[cfg(not(unix))]
            Address::Socket(path) => Err(TransportError::NoSockets { address: path.display().to_string() }),
        }
    }
}

impl Link for Connection {
    type Error = TransportError;

    fn exchange(&mut self, message: &[u8]) -> Result<Vec<u8>, TransportError> {
        match self {
            Self::Https(link) => link.exchange(message),
            #[cfg(unix)]
            Self::Socket(link) => link.exchange(message),
            Self::Local(authority) => Ok(authority.answer(message)?),
        }
    }
}

/// A conversation with an authority of this process.
pub fn local(authority: &SharedAuthority, token: std::sync::Arc<EnrolmentToken>) -> Session<Connection> {
    Session::new(Connection::Local(authority.clone()), token)
}

#[cfg(test)]
mod tests;
