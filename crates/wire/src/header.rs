use std::fmt;
use std::io::{Read, Write};

use crate::{DecodeError, Reader, Writer};

const MAGIC: [u8; 4] = *b"NLOM";

/// Bytes of a [`Header`].
pub const HEADER_BYTES: u64 = 16;

/// What an artefact is. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Kind {
    /// A client's secret key.
    SecretKey = 1,
    /// A public encryption key.
    PublicKey = 2,
    /// Evaluation keys for a server.
    EvaluationKeys = 3,
    /// A program with its weights, for a server.
    Program = 4,
    /// What a client must know of a program.
    ClientSpec = 5,
    /// Encrypted samples.
    Request = 6,
    /// Encrypted results.
    Response = 7,
    /// A single ciphertext.
    Ciphertext = 8,
    /// The weights of a program, for the owner of the model.
    ModelWeights = 9,
    /// The weights of a program, encrypted, for a server.
    EncryptedModel = 10,
    /// What an authority of functional encryption derives its keys from: secret.
    MasterSeed = 16,
    /// A public key of functional encryption.
    FunctionalPublicKey = 17,
    /// A key of functional encryption that a client shares with the authority: secret.
    FunctionalSecretKey = 18,
    /// Functionals, for which keys are asked.
    Functionals = 19,
    /// Keys that open functionals.
    FunctionKeys = 20,
    /// Functionally encrypted samples.
    FunctionalCiphertext = 21,
    /// Operations on functionally encrypted values, for which keys are asked.
    OperandRequest = 22,
    /// A training run as it stands after some step.
    Checkpoint = 32,
    /// What a client encrypted for training.
    EncryptedDataset = 33,
    /// What an authority has issued: records follow the header, chained by hashes.
    Ledger = 34,
    /// What makes somebody known to an authority: secret.
    EnrolmentToken = 35,
    /// A message to an authority.
    AuthorityRequest = 36,
    /// Its answer.
    AuthorityReply = 37,
    /// A trained network.
    TrainedNetwork = 38,
    /// What a client contributes to a sum, under a pad.
    Contribution = 39,
    /// Products that a server computed on pads.
    MaskedProducts = 40,
    /// A model from counts.
    TrainedCounts = 41,
}

impl Kind {
    /// Every kind, by number.
    pub const ALL: [Self; 27] = [
        Self::SecretKey,
        Self::PublicKey,
        Self::EvaluationKeys,
        Self::Program,
        Self::ClientSpec,
        Self::Request,
        Self::Response,
        Self::Ciphertext,
        Self::ModelWeights,
        Self::EncryptedModel,
        Self::MasterSeed,
        Self::FunctionalPublicKey,
        Self::FunctionalSecretKey,
        Self::Functionals,
        Self::FunctionKeys,
        Self::FunctionalCiphertext,
        Self::OperandRequest,
        Self::Checkpoint,
        Self::EncryptedDataset,
        Self::Ledger,
        Self::EnrolmentToken,
        Self::AuthorityRequest,
        Self::AuthorityReply,
        Self::TrainedNetwork,
        Self::Contribution,
        Self::MaskedProducts,
        Self::TrainedCounts,
    ];
}

impl Kind {
    /// `a` or `an`, as the name has it.
    pub(crate) fn article(self) -> &'static str {
        if self.to_string().starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::SecretKey => "secret key",
            Self::PublicKey => "public key",
            Self::EvaluationKeys => "set of evaluation keys",
            Self::Program => "server program",
            Self::ClientSpec => "client specification",
            Self::Request => "request",
            Self::Response => "response",
            Self::Ciphertext => "ciphertext",
            Self::ModelWeights => "set of model weights",
            Self::EncryptedModel => "encrypted model",
            Self::MasterSeed => "master seed",
            Self::FunctionalPublicKey => "functional-encryption public key",
            Self::FunctionalSecretKey => "functional-encryption secret key",
            Self::Functionals => "set of functionals",
            Self::FunctionKeys => "set of function keys",
            Self::FunctionalCiphertext => "functionally encrypted batch",
            Self::OperandRequest => "request for operations",
            Self::Checkpoint => "training checkpoint",
            Self::EncryptedDataset => "set of encrypted samples",
            Self::Ledger => "ledger of an authority",
            Self::EnrolmentToken => "enrolment token",
            Self::AuthorityRequest => "message to an authority",
            Self::AuthorityReply => "answer of an authority",
            Self::TrainedNetwork => "trained network",
            Self::Contribution => "contribution to a sum",
            Self::MaskedProducts => "set of masked products",
            Self::TrainedCounts => "model from counts",
        })
    }
}

/// The first 16 bytes of every artefact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// Version of the format of this kind.
    pub version: u16,
    /// Bytes that follow the header.
    pub length: u64,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes end early, the magic is wrong or the kind unknown.
    pub fn read(source: impl Read) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(source, HEADER_BYTES);
        let magic = reader.bytes()?;
        if magic != MAGIC {
            return Err(DecodeError::BadMagic { found: magic });
        }
        let found = reader.u16()?;
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u16 == found);
        let kind = kind.ok_or(DecodeError::UnknownKind { found })?;
        Ok(Self { kind, version: reader.u16()?, length: reader.u64()? })
    }

    /// Reads a header of the wanted kind and hands out a reader of what follows, limited to the stated length. The source
    /// may go on after it.
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`DecodeError`] if kind or version differ or the length exceeds `limit`.
    pub fn open<R: Read>(
        mut source: R,
        wanted: Kind,
        newest: u16,
        limit: u64,
    ) -> Result<(Self, Reader<R>), DecodeError> {
        let header = Self::read(&mut source)?;
        if header.kind != wanted {
            return Err(DecodeError::WrongKind { found: header.kind, wanted });
        }
        if header.version == 0 || header.version > newest {
            return Err(DecodeError::UnknownVersion { kind: wanted, found: header.version, newest });
        }
        if header.length > limit {
            return Err(DecodeError::TooLarge { what: "length of the file", found: header.length, limit });
        }
        Ok((header, Reader::new(source, header.length)))
    }

    /// Writes the header.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn write(&self, writer: &mut Writer<impl Write>) -> std::io::Result<()> {
        writer.bytes(&MAGIC)?;
        writer.u16(self.kind as u16)?;
        writer.u16(self.version)?;
        writer.u64(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_and_refuse_what_is_foreign() {
        let header = Header { kind: Kind::Request, version: 1, length: 77 };
        let mut bytes = Vec::new();
        header.write(&mut Writer::new(&mut bytes)).unwrap();
        assert_eq!(bytes.len() as u64, HEADER_BYTES);
        assert_eq!(Header::read(&*bytes).unwrap(), header);

        let open = |bytes: &[u8], kind, newest, limit| Header::open(bytes, kind, newest, limit).map(|opened| opened.0);
        assert!(matches!(
            open(&bytes, Kind::Response, 1, 77),
            Err(DecodeError::WrongKind { found: Kind::Request, .. })
        ));
        assert!(matches!(open(&bytes, Kind::Request, 0, 77), Err(DecodeError::UnknownVersion { found: 1, .. })));
        assert!(matches!(open(&bytes, Kind::Request, 1, 76), Err(DecodeError::TooLarge { found: 77, limit: 76, .. })));
        assert!(matches!(open(&bytes[..15], Kind::Request, 1, 77), Err(DecodeError::Truncated { wanted: 8, left: 7 })));
        let foreign = open(b"PK\x03\x04............", Kind::Request, 1, 77).unwrap_err();
        assert_eq!(foreign.to_string(), "not a Nightloom file: it begins with bytes 50 4b 03 04");
        bytes[4] = 200;
        assert!(matches!(open(&bytes, Kind::Request, 1, 77), Err(DecodeError::UnknownKind { found: 200 })));
    }
}
