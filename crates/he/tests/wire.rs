//! Every artefact there and back, and every way in which its bytes can be wrong.

use std::io::Read;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use nightloom_he::wire::{self, VERSION};
use nightloom_he::{
    Ciphertext, CkksParams, CkksSpec, Decryptor, Encoder, Encryptor, Evaluator, KeyGenerator, Level, ParamsId,
    Precision, Ring, Scale, SecretKey,
};
use nightloom_wire::{DecodeError, HEADER_BYTES, Header, Kind, Reader, Writer};
use proptest::prelude::*;

const RINGS: [Ring; 2] = [Ring::Standard, Ring::ConjugateInvariant];

/// The smallest ring that the transforms allow: artefacts of a few hundred bytes, and no security at all.
fn toy_insecure(ring: Ring) -> CkksParams {
    let spec = CkksSpec { ring, log_degree: 4, prime_bits: vec![40, 33, 30], special_bits: vec![41] };
    spec.validate_insecure().unwrap()
}

type Bytes = Vec<u8>;
/// Decodes and encodes again.
type Recode = fn(&[u8], &CkksParams) -> Result<Bytes, DecodeError>;

struct Artefact {
    name: &'static str,
    bytes: Bytes,
    recode: Recode,
}

struct Party {
    params: CkksParams,
    secret: SecretKey,
    values: Vec<f64>,
    ciphertexts: [(&'static str, Ciphertext, Vec<f64>); 4],
    artefacts: Vec<Artefact>,
}

fn written(write: impl FnOnce(&mut Writer<&mut Bytes>) -> std::io::Result<()>) -> Bytes {
    let mut bytes = Vec::new();
    write(&mut Writer::new(&mut bytes)).unwrap();
    bytes
}

fn recode_spec(bytes: &[u8], _: &CkksParams) -> Result<Bytes, DecodeError> {
    let mut reader = Reader::new(bytes, bytes.len() as u64);
    let spec = wire::read_spec(&mut reader)?;
    reader.finish()?;
    Ok(written(|writer| wire::write_spec(writer, &spec)))
}

fn read_ciphertext(bytes: &[u8], params: &CkksParams) -> Result<Ciphertext, DecodeError> {
    let mut reader = Reader::new(bytes, bytes.len() as u64);
    let ciphertext = wire::read_ciphertext(&mut reader, params)?;
    reader.finish()?;
    Ok(ciphertext)
}

fn recode_ciphertext(bytes: &[u8], params: &CkksParams) -> Result<Bytes, DecodeError> {
    let ciphertext = read_ciphertext(bytes, params)?;
    Ok(written(|writer| wire::write_ciphertext(writer, &ciphertext)))
}

fn recode_secret_key(bytes: &[u8], params: &CkksParams) -> Result<Bytes, DecodeError> {
    let key = wire::read_secret_key(bytes, params)?;
    Ok(written(|writer| wire::write_secret_key(writer, &key)))
}

fn recode_public_key(bytes: &[u8], params: &CkksParams) -> Result<Bytes, DecodeError> {
    let key = wire::read_public_key(bytes, params)?;
    Ok(written(|writer| wire::write_public_key(writer, &key)))
}

fn recode_relinearization_key(bytes: &[u8], params: &CkksParams) -> Result<Bytes, DecodeError> {
    let key = wire::read_relinearization_key(bytes, params)?;
    Ok(written(|writer| wire::write_relinearization_key(writer, &key)))
}

impl Party {
    fn new(params: CkksParams) -> Self {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let generator = KeyGenerator::new(&params);
        let secret = generator.secret_key(&mut rng);
        let public = generator.public_key(&secret, &mut rng).unwrap();
        let relinearization = generator.relinearization_key(&secret, &mut rng).unwrap();
        let evaluator = Evaluator::new(&params);
        let values: Vec<f64> = (0..params.slots()).map(|i| i as f64 / 8.0 - 0.5).collect();
        let message = Encoder::new(&params).encode(&values, &Scale::power_of_two(30)).unwrap();
        let seeded = Encryptor::symmetric(&secret).encrypt(&message, params.top(), &mut rng).unwrap();
        let full = Encryptor::public(&public).encrypt(&message, Level(1), &mut rng).unwrap();
        let three = evaluator.square(&seeded).unwrap();
        let rescaled = evaluator.relinearize_rescale(&three, &relinearization).unwrap();
        let squares: Vec<f64> = values.iter().map(|x| x * x).collect();
        let ciphertexts = [
            ("seeded ciphertext", seeded, values.clone()),
            ("full ciphertext", full, values.clone()),
            ("ciphertext of three components", three, squares.clone()),
            ("rescaled ciphertext", rescaled, squares),
        ];
        let artefact = |name, recode, bytes| Artefact { name, bytes, recode };
        let mut artefacts = vec![
            artefact("spec", recode_spec as Recode, written(|writer| wire::write_spec(writer, params.spec()))),
            artefact("secret key", recode_secret_key, written(|writer| wire::write_secret_key(writer, &secret))),
            artefact("public key", recode_public_key, written(|writer| wire::write_public_key(writer, &public))),
            artefact(
                "relinearisation key",
                recode_relinearization_key,
                written(|writer| wire::write_relinearization_key(writer, &relinearization)),
            ),
        ];
        artefacts.extend(ciphertexts.iter().map(|(name, ciphertext, _)| {
            artefact(name, recode_ciphertext, written(|writer| wire::write_ciphertext(writer, ciphertext)))
        }));
        Self { params, secret, values, ciphertexts, artefacts }
    }

    fn bytes(&self, name: &str) -> &Bytes {
        &self.artefacts.iter().find(|artefact| artefact.name == name).unwrap().bytes
    }

    fn decrypt(&self, secret: &SecretKey, ciphertext: &Ciphertext) -> Vec<f64> {
        Encoder::new(&self.params).decode(&Decryptor::new(secret).decrypt(ciphertext).unwrap()).unwrap()
    }
}

fn for_each_party(test: impl Fn(Party)) {
    RINGS.into_iter().for_each(|ring| test(Party::new(toy_insecure(ring))));
}

#[test]
fn artefacts_round_trip_bit_for_bit() {
    for_each_party(|party| {
        for Artefact { name, bytes, recode } in &party.artefacts {
            assert_eq!(recode(bytes, &party.params).unwrap(), *bytes, "{name}");
        }
    });
}

#[test]
fn decoded_keys_and_ciphertexts_work() {
    for_each_party(|party| {
        let params = &party.params;
        let secret = wire::read_secret_key(&**party.bytes("secret key"), params).unwrap();
        for (name, ciphertext, expected) in &party.ciphertexts {
            let decoded = read_ciphertext(party.bytes(name), params).unwrap();
            assert_eq!(decoded, *ciphertext, "{name}");
            assert_eq!(decoded.seed().is_some(), *name == "seeded ciphertext");
            let error = Precision::of(&party.decrypt(&secret, &decoded), expected).max_error;
            assert!(error < 1e-4, "{name}: {error}");
        }
        let mut rng = ChaCha20Rng::from_seed([4; 32]);
        let public = wire::read_public_key(&**party.bytes("public key"), params).unwrap();
        let message = Encoder::new(params).encode(&party.values, &Scale::power_of_two(30)).unwrap();
        let encrypted = Encryptor::public(&public).encrypt(&message, Level(2), &mut rng).unwrap();
        assert!(Precision::of(&party.decrypt(&party.secret, &encrypted), &party.values).max_error < 1e-4);
        let key = wire::read_relinearization_key(&**party.bytes("relinearisation key"), params).unwrap();
        let (_, three, squares) = &party.ciphertexts[2];
        let two = Evaluator::new(params).relinearize(three, &key).unwrap();
        assert!(Precision::of(&party.decrypt(&party.secret, &two), squares).max_error < 1e-4);
    });
}

#[test]
fn sizes_are_as_announced() {
    for_each_party(|party| {
        let params = &party.params;
        let size = |name| party.bytes(name).len() as u64;
        assert_eq!(size("secret key"), wire::secret_key_bytes(params));
        assert_eq!(size("public key"), wire::public_key_bytes(params));
        assert_eq!(size("relinearisation key"), wire::relinearization_key_bytes(params));
        for (name, ciphertext, _) in &party.ciphertexts {
            assert_eq!(size(name), wire::ciphertext_bytes(ciphertext), "{name}");
            let scale = written(|writer| wire::write_scale(writer, ciphertext.scale()));
            assert_eq!(scale.len() as u64, wire::scale_bytes(ciphertext.scale()), "{name}");
        }
        // 16 residues of 40, 33 and 30 bits.
        assert_eq!([0, 1, 2].map(|level| wire::poly_bytes(params, Level(level))), [80, 146, 206]);
        assert_eq!(size("seeded ciphertext"), 1 + 5 + 2 + 206 + 32);
    });
}

#[test]
fn every_truncation_is_found() {
    for_each_party(|party| {
        for Artefact { name, bytes, recode } in &party.artefacts {
            for length in 0..bytes.len() {
                let found = recode(&bytes[..length], &party.params);
                assert!(matches!(found, Err(DecodeError::Truncated { .. })), "{name} of {length} bytes: {found:?}");
                if length >= HEADER_BYTES as usize && name.ends_with("key") {
                    // The same with a header that admits it.
                    let mut shorter = bytes[..length].to_vec();
                    shorter[8..16].copy_from_slice(&(length as u64 - HEADER_BYTES).to_le_bytes());
                    let found = recode(&shorter, &party.params);
                    assert!(matches!(found, Err(DecodeError::Truncated { .. })), "{name} of {length}: {found:?}");
                }
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever is accepted is what its re-encoding says: nothing in the bytes is ignored.
    #[test]
    fn mutations_never_panic_and_nothing_is_ignored(
        ring in 0usize..2,
        which in 0usize..8,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
    ) {
        let party = Party::new(toy_insecure(RINGS[ring]));
        let Artefact { bytes, recode, .. } = &party.artefacts[which];
        let mut mutated = bytes.clone();
        for (at, change) in changes {
            mutated[at.index(bytes.len())] ^= change;
        }
        if let Ok(again) = recode(&mutated, &party.params) {
            prop_assert_eq!(again, mutated);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let params = toy_insecure(Ring::Standard);
        for recode in
            [recode_spec, recode_ciphertext, recode_secret_key, recode_public_key, recode_relinearization_key]
        {
            if let Ok(again) = recode(&bytes, &params) {
                prop_assert_eq!(again, &bytes[..]);
            }
        }
    }
}

#[test]
fn every_single_bit_of_a_header_counts() {
    for_each_party(|party| {
        for Artefact { name, bytes, recode } in party.artefacts.iter().filter(|a| a.name.ends_with("key")) {
            for bit in 0..8 * (HEADER_BYTES as usize + 32) {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(recode(&flipped, &party.params).is_err(), "{name}: bit {bit}");
            }
        }
    });
}

#[test]
fn headers_and_lengths_are_checked() {
    let party = Party::new(toy_insecure(Ring::ConjugateInvariant));
    let params = &party.params;
    for Artefact { name, bytes, recode } in party.artefacts.iter().filter(|a| a.name.ends_with("key")) {
        let with = |at: usize, value: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            recode(&bytes, params).unwrap_err()
        };
        assert!(matches!(with(0, b'P'), DecodeError::BadMagic { found: [b'P', b'L', b'O', b'M'] }), "{name}");
        assert!(matches!(with(5, 1), DecodeError::UnknownKind { found: 257.. }), "{name}");
        assert!(matches!(with(4, 8), DecodeError::WrongKind { found: Kind::Ciphertext, .. }), "{name}");
        for version in [0, VERSION as u8 + 1] {
            assert!(matches!(with(6, version), DecodeError::UnknownVersion { newest: VERSION, .. }), "{name}");
        }
        assert!(matches!(with(15, 1), DecodeError::TooLarge { what: "length of the file", .. }), "{name}");
        assert!(matches!(with(16, bytes[16] ^ 1), DecodeError::ParamsMismatch { .. }), "{name}");
        let length = bytes.len() as u64 - HEADER_BYTES;
        let mut longer = bytes.clone();
        longer.push(0);
        longer[8..16].copy_from_slice(&(length + 1).to_le_bytes());
        let found = recode(&longer, params).unwrap_err();
        assert!(matches!(found, DecodeError::TooLarge { what: "length of the file", .. }), "{name}: {found}");
    }
    for (name, recode) in [
        ("spec", recode_spec as Recode),
        ("seeded ciphertext", recode_ciphertext),
        ("full ciphertext", recode_ciphertext),
    ] {
        let mut longer = party.bytes(name).clone();
        longer.push(0);
        assert!(matches!(recode(&longer, params), Err(DecodeError::Trailing(1))), "{name}");
    }
}

#[test]
fn files_of_other_parameters_are_refused() {
    let party = Party::new(toy_insecure(Ring::Standard));
    let spec = party.params.spec().clone();
    let others = [
        CkksSpec { ring: Ring::ConjugateInvariant, ..spec.clone() },
        CkksSpec { log_degree: 5, ..spec.clone() },
        CkksSpec { prime_bits: vec![40, 33, 31], ..spec.clone() },
        CkksSpec { special_bits: vec![42], ..spec },
    ];
    for other in others.map(|spec| spec.validate_insecure().unwrap()) {
        for Artefact { name, bytes, recode } in party.artefacts.iter().filter(|a| a.name.ends_with("key")) {
            match recode(bytes, &other) {
                Err(DecodeError::ParamsMismatch { found, wanted }) => {
                    assert_eq!((found, wanted), (party.params.id().to_string(), other.id().to_string()));
                }
                found => panic!("{name}: {found:?}"),
            }
        }
    }
    let without = CkksSpec { special_bits: vec![], ..party.params.spec().clone() }.validate_insecure().unwrap();
    let found = recode_relinearization_key(party.bytes("relinearisation key"), &without);
    assert!(matches!(found, Err(DecodeError::Value { what: "special primes", .. })), "{found:?}");
}

#[test]
fn bad_contents_are_named() {
    let party = Party::new(toy_insecure(Ring::Standard));
    let params = &party.params;
    let changed = |name: &str, recode: Recode, at: usize, replacement: &[u8]| {
        let mut bytes = party.bytes(name).clone();
        bytes[at..at + replacement.len()].copy_from_slice(replacement);
        recode(&bytes, params).unwrap_err()
    };
    let body = HEADER_BYTES as usize + 32;

    // 16 residues of 40 bits follow the key's seed; all bits set is no residue.
    let found = changed("public key", recode_public_key, body + 32 + 3 * 5, &[0xff; 5]);
    let prime = params.primes()[0];
    let expected = (0, 3, (1 << 40) - 1, prime);
    assert!(
        matches!(found, DecodeError::Residue { limb, index, found, prime } if (limb, index, found, prime) == expected),
        "{found}"
    );
    let found = changed("public key", recode_public_key, body + 32, &prime.to_le_bytes()[..5]);
    assert!(matches!(found, DecodeError::Residue { limb: 0, index: 0, found, prime } if found == prime), "{found}");
    // The second limb: 33 bits.
    let found = changed("relinearisation key", recode_relinearization_key, body + 32 + 80, &[0xff; 5]);
    assert!(matches!(found, DecodeError::Residue { limb: 1, index: 0, .. }), "{found}");

    for byte in [0b11, 0b1100, 0b0011_0001, 0b1100_0000] {
        let found = changed("secret key", recode_secret_key, body, &[byte]);
        assert!(matches!(found, DecodeError::Value { what: "coefficient of the secret key", found: 3, .. }), "{found}");
    }

    let ciphertext = |at, replacement: &[u8]| changed("seeded ciphertext", recode_ciphertext, at, replacement);
    assert!(matches!(ciphertext(0, &[3]), DecodeError::TooLarge { what: "level", found: 3, limit: 2 }));
    for twos in [i32::MAX, i32::MIN, 1 << 21] {
        let found = ciphertext(1, &twos.to_le_bytes());
        assert!(matches!(found, DecodeError::TooLarge { what: "exponent of a scale", .. }), "{found}");
    }
    assert!(matches!(ciphertext(5, &[65]), DecodeError::TooLarge { what: "factors of a scale", found: 65, limit: 64 }));
    for count in [0, 1, 4, 255] {
        let found = ciphertext(6, &[count]);
        assert!(matches!(found, DecodeError::Value { what: "components of a ciphertext", .. }), "{found}");
    }
    assert!(matches!(ciphertext(7, &[2]), DecodeError::Value { what: "form of a ciphertext", found: 2, .. }));
    let three = changed("ciphertext of three components", recode_ciphertext, 7, &[0]);
    assert!(matches!(three, DecodeError::Value { what: "form of a ciphertext", found: 0, .. }), "{three}");

    // One factor with exponent -1 follows the exponent of two.
    let scale = |at, replacement: &[u8]| changed("rescaled ciphertext", recode_ciphertext, at, replacement);
    for factor in [0, 1, 4, 1 << 50 | 1, u64::MAX] {
        let found = scale(6, &factor.to_le_bytes());
        assert!(matches!(found, DecodeError::Value { what: "scale", .. }), "{found}");
    }
    assert!(matches!(scale(14, &[0; 4]), DecodeError::Value { what: "scale", .. }));
    let found = scale(6, &params.special_primes()[0].to_le_bytes());
    assert!(matches!(found, DecodeError::Value { what: "factor of a scale", .. }), "{found}");

    let spec = |at, byte| changed("spec", recode_spec, at, &[byte]);
    assert!(matches!(spec(0, 2), DecodeError::Value { what: "ring", found: 2, .. }));
    for degree in [3, 18, 255] {
        assert!(matches!(spec(1, degree), DecodeError::Value { what: "log2 of the degree", .. }));
    }
    assert!(matches!(spec(2, 65), DecodeError::TooLarge { what: "number of primes", found: 65, limit: 64 }));
}

#[test]
fn padding_must_be_zero() {
    // 16 residues of any size are whole bytes, so padding exists only in what is packed by hand.
    let bytes = written(|writer| writer.packed(7, [1, 2, 3]));
    let mut padded = bytes.clone();
    padded[2] |= 0b1110_0000;
    let read = |bytes: &[u8]| Reader::new(bytes, 3).packed(7, 3, |_, _| Ok(()));
    assert!(read(&bytes).is_ok());
    assert!(matches!(read(&padded), Err(DecodeError::Value { what: "padding bits", found: 7, .. })));
}

#[test]
fn failing_sources_are_reported() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::PermissionDenied.into())
        }
    }
    let params = toy_insecure(Ring::Standard);
    assert!(matches!(wire::read_public_key(Failing, &params), Err(DecodeError::Io(_))));
    let party = Party::new(params);
    let partial = party.bytes("public key")[..100].chain(Failing);
    assert!(matches!(wire::read_public_key(partial, &party.params), Err(DecodeError::Io(_))));
}

#[test]
fn what_could_not_be_read_is_not_written() {
    let write_scale = |scale: &Scale| wire::write_scale(&mut Writer::new(Vec::new()), scale).map_err(|e| e.kind());
    let invalid = Err(std::io::ErrorKind::InvalidInput);
    let factors = |count: u64| (0..count).fold(Scale::power_of_two(0), |scale, index| scale.divide_by(2 * index + 3));
    assert_eq!(write_scale(&factors(64)), Ok(()));
    assert_eq!(write_scale(&factors(65)), invalid);
    assert_eq!(write_scale(&Scale::power_of_two(i32::MAX)), invalid);
    let spec = toy_insecure(Ring::Standard).spec().clone();
    for spec in [
        CkksSpec { log_degree: 256, ..spec.clone() },
        CkksSpec { prime_bits: vec![256], ..spec.clone() },
        CkksSpec { special_bits: vec![30; 256], ..spec },
    ] {
        assert_eq!(wire::write_spec(&mut Writer::new(Vec::new()), &spec).map_err(|e| e.kind()), invalid);
    }
}

#[test]
fn the_preamble_names_kind_version_length_and_parameters() {
    let id = ParamsId([7; 32]);
    let bytes = written(|writer| wire::write_preamble(writer, Kind::Response, id, 5));
    let header = Header::read(&*bytes).unwrap();
    assert_eq!(header, Header { kind: Kind::Response, version: VERSION, length: 37 });
    assert_eq!(bytes[16..], [7; 32]);
}
