use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use chacha20::ChaCha20Rng;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use nightloom_wire::{DecodeError, HEADER_BYTES, Header, Kind, Reader, Writer};
use rand_core::SeedableRng;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::agreement::{Agreement, MAX_AGREEMENT_BYTES, MAX_NAME, check_name};
use crate::wire::VERSION;

/// Longest certificate in bytes.
const MAX_CERTIFICATE: usize = 1 << 16;

/// What a party may do. The numbers are part of the formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Role {
    /// Encrypts.
    Client = 1,
    /// Asks for keys.
    Server = 2,
}

impl Role {
    /// Both, by number.
    pub const ALL: [Self; 2] = [Self::Client, Self::Server];

    pub(crate) fn read(reader: &mut Reader<impl Read>) -> Result<Self, DecodeError> {
        let found = reader.u8()?;
        let role = Self::ALL.into_iter().find(|role| *role as u8 == found);
        role.ok_or(DecodeError::Value { what: "role", found: found.into(), wanted: "1 or 2" })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

/// What makes somebody known to an authority: a name, a key, and all that was agreed on. Secret.
pub struct EnrolmentToken {
    /// What the party may do.
    pub role: Role,
    /// Its name.
    pub name: String,
    pub(crate) key: PartyKey,
    /// What was agreed on.
    pub agreement: Arc<Agreement>,
    /// The certificate by which the authority is known on a network, in DER; empty if it is not on one.
    pub certificate: Vec<u8>,
}

/// The key that a party shares with the authority. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct PartyKey([u8; 32]);

impl PartyKey {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// HMAC-SHA-256 of some bytes for a purpose, whose name has a fixed length among all purposes or ends in a zero.
    pub fn mac(&self, purpose: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        self.started(purpose, parts).finalize().into_bytes().into()
    }

    /// Whether `found` is [`mac`](Self::mac), in constant time.
    pub fn verify(&self, purpose: &[u8], parts: &[&[u8]], found: &[u8; 32]) -> bool {
        self.started(purpose, parts).verify_slice(found).is_ok()
    }

    fn started(&self, purpose: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).unwrap_or_else(|_| unreachable!("HMAC takes any key"));
        mac.update(purpose);
        for part in parts {
            // Lengths keep parts apart.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac
    }

    /// A generator for a purpose: ChaCha20 under HKDF of the key.
    pub fn generator(&self, purpose: &[&[u8]]) -> ChaCha20Rng {
        let mut seed = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, &self.0)
            .expand_multi_info(purpose, &mut *seed)
            .unwrap_or_else(|_| unreachable!("32 bytes are one hash"));
        ChaCha20Rng::from_seed(*seed)
    }
}

impl fmt::Debug for PartyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PartyKey(contents hidden)")
    }
}

impl EnrolmentToken {
    /// Writes the token. The caller sees to it that nobody else can read the sink.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn write(&self, sink: impl Write) -> std::io::Result<()> {
        let lengths = [self.name.len(), self.agreement.json().len(), self.certificate.len()];
        let length = 1 + 32 + lengths.iter().map(|length| 4 + *length as u64).sum::<u64>();
        let mut writer = Writer::new(sink);
        Header { kind: Kind::EnrolmentToken, version: VERSION, length }.write(&mut writer)?;
        writer.u8(self.role as u8)?;
        writer.byte_string(self.name.as_bytes())?;
        writer.bytes(&self.key.0)?;
        writer.byte_string(self.agreement.json())?;
        writer.byte_string(&self.certificate)?;
        debug_assert_eq!(writer.written(), HEADER_BYTES + length);
        Ok(())
    }

    /// Reads a token.
    ///
    /// # Errors
    /// [`DecodeError`] for every way in which the bytes can be wrong.
    pub fn read(source: impl Read) -> Result<Self, DecodeError> {
        let limit = (MAX_AGREEMENT_BYTES + MAX_CERTIFICATE + 256) as u64;
        let (_, mut reader) = Header::open(source, Kind::EnrolmentToken, VERSION, limit)?;
        let role = Role::read(&mut reader)?;
        let name = read_name(&mut reader)?;
        let mut key = reader.bytes()?;
        let kept = PartyKey::new(key);
        key.zeroize();
        let json = reader.byte_string("agreement", MAX_AGREEMENT_BYTES)?;
        let certificate = reader.byte_string("certificate", MAX_CERTIFICATE)?;
        reader.finish()?;
        let agreement = Agreement::from_json(&json)
            .map_err(|error| DecodeError::Text { what: "agreement", problem: error.to_string() })?;
        if agreement.json() != json {
            let problem = "another spelling than that which its identifier is of".to_owned();
            return Err(DecodeError::Text { what: "agreement", problem });
        }
        Ok(Self { role, name, key: kept, agreement: Arc::new(agreement), certificate })
    }
}

/// Reads the name of a party.
pub(crate) fn read_name(reader: &mut Reader<impl Read>) -> Result<String, DecodeError> {
    let bytes = reader.byte_string("name", MAX_NAME)?;
    let name = String::from_utf8_lossy(&bytes).into_owned();
    match check_name(&name) {
        Ok(()) => Ok(name),
        Err(error) => Err(DecodeError::Text { what: "name", problem: error.to_string() }),
    }
}

impl fmt::Debug for EnrolmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnrolmentToken({} {}, contents hidden)", self.role, self.name)
    }
}
