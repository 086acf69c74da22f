//! HTTP over TLS 1.3: a message is the body of a POST, its answer the body of the response. The server's certificate is
//! self-signed and travels in the enrolment token, so no other authority needs to be trusted.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nightloom_fe::protocol::MAX_MESSAGE_BYTES;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use zeroize::Zeroizing;

use super::{MAX_CONNECTIONS, MAX_REQUEST_BYTES, SharedAuthority, TransportError};

const PATH: &str = "/nightloom/1";
const MESSAGE: &str = "application/octet-stream";
/// For a connection, its TLS handshake, and the head of a request.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For the body of a request.
const BODY: Duration = Duration::from_secs(120);
/// For an answer: keys of a large batch take their time.
const ANSWER: Duration = Duration::from_secs(600);

/// The client's end.
pub struct HttpsLink {
    agent: ureq::Agent,
    url: String,
    address: String,
}

impl HttpsLink {
    pub(super) fn new(address: &str, certificate: &[u8]) -> Self {
        let root = Certificate::from_der(certificate).to_owned();
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::Specific(Arc::new(vec![root])))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            // Nothing of the environment decides where messages go.
            .proxy(None)
            .timeout_connect(Some(HANDSHAKE))
            .timeout_recv_response(Some(ANSWER))
            .timeout_recv_body(Some(ANSWER))
            .build();
        Self { agent: config.new_agent(), url: format!("{address}{PATH}"), address: address.to_owned() }
    }

    pub(super) fn exchange(&mut self, message: &[u8]) -> Result<Vec<u8>, TransportError> {
        let failed = |source| TransportError::Http { address: self.address.clone(), source: Box::new(source) };
        let mut response = self.agent.post(&self.url).content_type(MESSAGE).send(message).map_err(failed)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(TransportError::Status { address: self.address.clone(), status });
        }
        response.body_mut().with_config().limit(MAX_MESSAGE_BYTES).read_to_vec().map_err(failed)
    }
}

/// A certificate and its key.
pub struct Identity {
    /// DER.
    pub certificate: Vec<u8>,
    /// PKCS #8 in DER. Secret.
    pub key: Zeroizing<Vec<u8>>,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// No certificate for these names.
    #[error("no certificate for {names}: {source}")]
    Names {
        /// The names.
        names: String,
        /// Why.
        source: rcgen::Error,
    },
    /// Certificate or key are none, or do not belong together.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

impl Identity {
    /// A fresh key, and a self-signed certificate for these host names and addresses.
    ///
    /// # Errors
    /// [`IdentityError::Names`] for a name that no certificate can have.
    pub fn generate(names: &[String]) -> Result<Self, IdentityError> {
        let made = rcgen::generate_simple_self_signed(names);
        let made = made.map_err(|source| IdentityError::Names { names: names.join(", "), source })?;
        let key = Zeroizing::new(made.signing_key.serialize_der());
        Ok(Self { certificate: made.cert.der().to_vec(), key })
    }

    fn server_config(&self) -> Result<ServerConfig, IdentityError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.to_vec()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(self.certificate.clone())], key)?;
        Ok(config)
    }
}

/// An authority's listener.
pub struct HttpsServer {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl HttpsServer {
    /// Listens.
    ///
    /// # Errors
    /// [`std::io::Error`] of the system; also if the identity is none.
    pub fn bind(address: &str, identity: &Identity) -> std::io::Result<Self> {
        let config = identity.server_config().map_err(|error| {
            std::io::Error::new(std::io::ErrorKind::InvalidData, format!("certificate or key: {error}"))
        })?;
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Those of the system.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until an error of the listener. `say` is told of errors of the ledger.
    ///
    /// # Errors
    /// Those of the system.
    pub fn serve(self, authority: &SharedAuthority, say: &'static (dyn Fn(&str) + Sync)) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (authority, acceptor) = (authority.clone(), self.acceptor);
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(self.listener)?;
            let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
            loop {
                let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    // The peer went meanwhile, or descriptors ran out: both pass.
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                };
                let (authority, acceptor) = (authority.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let _place = place;
                    let _ = stream.set_nodelay(true);
                    let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
                    let service = service_fn(move |request| answer(authority.clone(), say, request));
                    let mut http = http1::Builder::new();
                    http.timer(TokioTimer::new()).header_read_timeout(HANDSHAKE).max_buf_size(1 << 16);
                    // A connection that ends early has nothing left to be told.
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        })
    }
}

async fn answer(
    authority: SharedAuthority,
    say: &'static (dyn Fn(&str) + Sync),
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = |status| {
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.status_mut() = status;
        Ok(response)
    };
    if request.uri().path() != PATH {
        return status(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::POST {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let body = Limited::new(request.into_body(), MAX_REQUEST_BYTES as usize).collect();
    let message = match timeout(BODY, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return status(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => return status(StatusCode::REQUEST_TIMEOUT),
    };
    // Writing the ledger and making keys block.
    match tokio::task::spawn_blocking(move || authority.answer(&message)).await {
        Ok(Ok(answer)) => Ok(Response::new(Full::new(answer.into()))),
        Ok(Err(error)) => {
            say(&error.to_string());
            status(StatusCode::SERVICE_UNAVAILABLE)
        }
        Err(_) => status(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
