use std::cmp::Ordering;

use nightloom_wire::{DecodeError, Header, Kind, Writer};
use zeroize::Zeroizing;

use super::message::{MAX_MESSAGE_BYTES, read_head, write_head};
use super::token::read_name;
use super::{Head, PartyKey, Refusal, Reply, Request};
use crate::wire::VERSION;

const REQUEST: &[u8] = b"nightloom request\0";
const REPLY: &[u8] = b"nightloom reply\0";
/// In the place of the MAC of an answer to nobody known.
const NO_MAC: [u8; 32] = [0; 32];

/// A request, with who sends it: name, session, counter, request, MAC.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// Who sends it.
    pub name: String,
    /// The session, zero for the request that opens one.
    pub session: [u8; 16],
    /// Rises within the session.
    pub counter: u64,
    /// The request.
    pub request: Request,
    mac: [u8; 32],
}

/// Why an answer is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Bytes that are no answer.
    #[error("not an answer: {0}")]
    Decode(#[from] DecodeError),
    /// An answer to another question, or of somebody else than the authority.
    #[error("the answer's MAC is wrong: it is not the authority's, or was changed on the way")]
    Forged,
}

/// What an authority sends back: the reply, the place of its ledger, MAC.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The reply.
    pub reply: Reply,
    /// Where the ledger stands after it.
    pub head: Head,
}

impl Envelope {
    /// A request of the party with this name and key, as bytes.
    pub(crate) fn seal(name: &str, key: &PartyKey, session: [u8; 16], counter: u64, request: &Request) -> Vec<u8> {
        let mut body = Writer::new(Vec::new());
        let written = (|| {
            body.byte_string(name.as_bytes())?;
            body.bytes(&session)?;
            body.u64(counter)?;
            request.write(&mut body)
        })();
        let body = in_memory(written, body);
        let mac = key.mac(REQUEST, &[&body]);
        framed(Kind::AuthorityRequest, &body, &mac)
    }

    /// Who claims to send a request, and its MAC, before anything else of it is read.
    pub(crate) fn sender(bytes: &[u8]) -> Result<(String, [u8; 32]), DecodeError> {
        let (header, mut reader) = Header::open(bytes, Kind::AuthorityRequest, VERSION, MAX_MESSAGE_BYTES)?;
        let body = bytes.get(HEADER..).unwrap_or_default();
        let name = read_name(&mut reader)?;
        let mac = body.last_chunk().copied().unwrap_or(NO_MAC);
        match (body.len() as u64).cmp(&header.length) {
            Ordering::Less => Err(DecodeError::Truncated { wanted: header.length, left: body.len() as u64 }),
            Ordering::Greater => Err(DecodeError::Continues),
            Ordering::Equal => Ok((name, mac)),
        }
    }

    /// Whether the bytes were sealed under the key.
    pub(crate) fn is_authentic(bytes: &[u8], key: &PartyKey, mac: &[u8; 32]) -> bool {
        let body = bytes.get(HEADER..bytes.len().saturating_sub(32)).unwrap_or_default();
        key.verify(REQUEST, &[body], mac)
    }

    /// Reads a request, without knowing whether to believe it: that is [`is_authentic`](Self::is_authentic)'s to say.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (_, mut reader) = Header::open(bytes, Kind::AuthorityRequest, VERSION, MAX_MESSAGE_BYTES)?;
        let (name, session, counter) = (read_name(&mut reader)?, reader.bytes()?, reader.u64()?);
        let request = Request::read(&mut reader)?;
        let mac = reader.bytes()?;
        reader.finish()?;
        Ok(Self { name, session, counter, request, mac })
    }
}

impl Answer {
    /// The answer to a question with this MAC, as bytes.
    pub(crate) fn seal(&self, key: &PartyKey, question: &[u8; 32]) -> Vec<u8> {
        let body = self.body();
        let mac = key.mac(REPLY, &[question, &body]);
        framed(Kind::AuthorityReply, &body, &mac)
    }

    /// A refusal to somebody whose key is not known.
    pub(crate) fn to_nobody(refusal: Refusal, head: Head) -> Vec<u8> {
        let body = Self { reply: Reply::Refused(refusal), head }.body();
        framed(Kind::AuthorityReply, &body, &NO_MAC)
    }

    /// The body, wiped after use. Encryption keys fit without the buffer growing, which would leave copies behind.
    fn body(&self) -> Zeroizing<Vec<u8>> {
        let mut body = Writer::new(Vec::with_capacity(64 + self.reply.secret_bytes()));
        let written = write_head(&mut body, &self.head).and_then(|()| self.reply.write(&mut body));
        Zeroizing::new(in_memory(written, body))
    }

    /// Reads the answer to a question with this MAC.
    ///
    /// A refusal without MAC is taken for what it says: whoever can put one in the way can as well cut the line.
    pub(crate) fn open(bytes: &[u8], key: &PartyKey, question: &[u8; 32]) -> Result<Self, EnvelopeError> {
        let (answer, mac) = Self::read(bytes)?;
        let body = bytes.get(HEADER..bytes.len().saturating_sub(32)).unwrap_or_default();
        let refused = matches!(answer.reply, Reply::Refused(_)) && mac == NO_MAC;
        if refused || key.verify(REPLY, &[question, body], &mac) { Ok(answer) } else { Err(EnvelopeError::Forged) }
    }

    fn read(bytes: &[u8]) -> Result<(Self, [u8; 32]), DecodeError> {
        let (_, mut reader) = Header::open(bytes, Kind::AuthorityReply, VERSION, MAX_MESSAGE_BYTES)?;
        let (head, reply) = (read_head(&mut reader)?, Reply::read(&mut reader)?);
        let mac = reader.bytes()?;
        reader.finish()?;
        Ok((Self { reply, head }, mac))
    }
}

const HEADER: usize = nightloom_wire::HEADER_BYTES as usize;

/// The bytes of a question's MAC, for its answer.
pub(super) fn mac_of(message: &[u8]) -> [u8; 32] {
    message.last_chunk().copied().unwrap_or(NO_MAC)
}

fn framed(kind: Kind, body: &[u8], mac: &[u8; 32]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::with_capacity(HEADER + body.len() + 32));
    let header = Header { kind, version: VERSION, length: (body.len() + 32) as u64 };
    let written = header.write(&mut writer).and_then(|()| writer.bytes(body)).and_then(|()| writer.bytes(mac));
    in_memory(written, writer)
}

/// Writing to memory fails only for values that no message may hold, which callers check.
fn in_memory(written: std::io::Result<()>, writer: Writer<Vec<u8>>) -> Vec<u8> {
    debug_assert!(written.is_ok(), "{written:?}");
    writer.into_inner()
}

/// [`Envelope::read`] and writing again, for fuzzing: what is accepted must encode to the bytes that it was read from.
#[doc(hidden)]
pub fn request_again(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let envelope = Envelope::read(bytes)?;
    let mut body = Writer::new(Vec::new());
    body.byte_string(envelope.name.as_bytes())?;
    body.bytes(&envelope.session)?;
    body.u64(envelope.counter)?;
    envelope.request.write(&mut body)?;
    Ok(framed(Kind::AuthorityRequest, &body.into_inner(), &envelope.mac))
}

/// As [`request_again`], for answers.
#[doc(hidden)]
pub fn reply_again(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let (answer, mac) = Answer::read(bytes)?;
    Ok(framed(Kind::AuthorityReply, &answer.body(), &mac))
}
