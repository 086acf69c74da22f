use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nightloom_fe::MasterSeed;
use nightloom_fe::authority::Keeper;
use nightloom_fe::client::Client;
use nightloom_fe::protocol::{AskError, Role};

use super::*;
use crate::system_rng;
use crate::train::demo::{agreement, digits};

fn quiet(_: &str) {}

/// An authority with a client, and a certificate for this machine.
fn authority(folder: &tempfile::TempDir, identity: &Identity) -> (SharedAuthority, Arc<EnrolmentToken>) {
    let agreed = Arc::new(agreement(nightloom_fe::Scheme::Pad).validate().unwrap());
    let mut rng = system_rng().unwrap();
    let path = folder.path().join("ledger");
    let mut keeper = Keeper::found(path, agreed, MasterSeed::generate(&mut rng)).unwrap();
    let token = Arc::new(keeper.enrol(Role::Client, "client", identity.certificate.clone()).unwrap());
    (SharedAuthority::new(keeper, rng), token)
}

fn identity() -> Identity {
    Identity::generate(&["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap()
}

fn encrypts(connection: Connection, token: &Arc<EnrolmentToken>) -> Result<usize, String> {
    let (data, _) = digits(256).unwrap();
    let mut client = Client::new(Session::new(connection, token.clone()));
    let sink = std::io::Cursor::new(Vec::new());
    let encrypted = client.encrypt(&data, &mut system_rng().unwrap(), sink, &mut |_, _| {});
    encrypted.map(|(_, receipt)| receipt.samples).map_err(|error| error.to_string())
}

#[test]
fn addresses_are_urls_or_paths() {
    assert_eq!("https://a:1/".parse(), Ok(Address::Https("https://a:1".to_owned())));
    assert_eq!("auth.socket".parse(), Ok(Address::Socket("auth.socket".into())));
    for wrong in ["", "http://a", "https://", "https://a@b", "ftp://x"] {
        assert!(wrong.parse::<Address>().is_err(), "{wrong}");
    }
}

#[test]
fn tls_carries_messages_to_the_one_authority_whose_certificate_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let identity = identity();
    let (authority, token) = authority(&folder, &identity);
    let server = HttpsServer::bind("127.0.0.1:0", &identity).unwrap();
    let port = server.address().unwrap().port();
    std::thread::spawn(move || server.serve(&authority, &quiet));
    let to = |host: &str, token: &EnrolmentToken| {
        Connection::to(&Address::Https(format!("https://{host}:{port}")), token).unwrap()
    };
    for host in ["127.0.0.1", "localhost"] {
        assert_eq!(encrypts(to(host, &token), &token), Ok(256));
    }
    // Another authority's client does not believe this one, and does not try again.
    let (elsewhere, other_identity) = (tempfile::tempdir().unwrap(), self::identity());
    let (_, stranger) = self::authority(&elsewhere, &other_identity);
    let mut tries = 0;
    let mut patience = backing_off(Duration::from_secs(60), |_| {});
    let mut link = to("127.0.0.1", &stranger);
    let refused = loop {
        tries += 1;
        let error = link.exchange(b"anything").unwrap_err();
        if patience(tries, &error).is_break() {
            break error.to_string();
        }
    };
    assert!(tries == 1 && refused.contains("certificate"), "{tries}: {refused}");

    // What is no TLS, and what is no request, does not disturb the others.
    let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let _ = plain.read(&mut [0; 16]);
    let mut link = to("127.0.0.1", &token);
    let answer = link.exchange(b"not a message").unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("malformed"), "{answer:?}");
    let too_long = vec![0; MAX_REQUEST_BYTES as usize + 1];
    match link.exchange(&too_long) {
        Err(error @ TransportError::Status { status: 413, .. }) => assert!(!error.is_transient()),
        // The server may close the connection while the rest is still on its way.
        Err(TransportError::Http { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(encrypts(to("127.0.0.1", &token), &token), Ok(256));
}

#[cfg(unix)]
#[test]
fn sockets_carry_messages_and_a_lost_connection_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, token) = authority(&folder, &identity());
    let path = folder.path().join("socket");
    let address = Address::Socket(path.clone());
    // Nobody listens yet: patience ends.
    let impatient = backing_off(Duration::from_millis(300), |_| {});
    let start = Instant::now();
    let session = Session::with_patience(Connection::to(&address, &token).unwrap(), token.clone(), impatient);
    let error = { session }.ask(&nightloom_fe::protocol::Request::Open { seen: None }).unwrap_err();
    assert!(matches!(error, AskError::Link(TransportError::Io { .. })), "{error}");
    assert!((300..5000).contains(&start.elapsed().as_millis()));

    // A socket that a process left behind is taken over, a file is not.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    std::fs::write(folder.path().join("file"), b"").unwrap();
    assert!(UnixServer::bind(&folder.path().join("file")).is_err());
    let late = path.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        UnixServer::bind(&late).unwrap().serve(&authority, &quiet)
    });
    let told = Arc::new(std::sync::Mutex::new(0));
    let count = told.clone();
    let patience = backing_off(Duration::from_secs(60), move |_| *count.lock().unwrap() += 1);
    let mut patient = Session::with_patience(Connection::to(&address, &token).unwrap(), token.clone(), patience);
    patient.ask(&nightloom_fe::protocol::Request::Open { seen: None }).unwrap();
    assert_eq!(*told.lock().unwrap(), 1);
    // The server closes a connection on which something else than a message comes.
    let mut stray = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stray.write_all(&[7; 16]).unwrap();
    assert_eq!(stray.read(&mut [0; 1]).unwrap_or(0), 0);
    assert_eq!(encrypts(Connection::to(&address, &token).unwrap(), &token), Ok(256));
    assert!(UnixServer::bind(&path).is_err());
}
