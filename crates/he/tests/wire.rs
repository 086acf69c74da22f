//! Every artefact there and back, and every way in which its bytes can be wrong.

use std::io::Read;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use nightloom_he::wire::{self, EVALUATION_KEYS_VERSION, VERSION};
use nightloom_he::{
    Ciphertext, CkksParams, CkksSpec, CompressedCiphertext, Decryptor, Encoder, Encryptor, EvalError,
    EvaluationKeySpec, EvaluationKeys, Evaluator, KeyGenerator, KeyPurpose, Level, ParamsId, Precision, Ring,
    RotationKeys, Scale, SecretKey,
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
    /// Four slots, 27 bits: packed coefficients that do not fill their last byte.
    compressed: CompressedCiphertext,
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

fn read_compressed(bytes: &[u8], params: &CkksParams) -> Result<CompressedCiphertext, DecodeError> {
    let mut reader = Reader::new(bytes, bytes.len() as u64);
    let ciphertext = wire::read_compressed_ciphertext(&mut reader, params)?;
    reader.finish()?;
    Ok(ciphertext)
}

fn recode_compressed(bytes: &[u8], params: &CkksParams) -> Result<Bytes, DecodeError> {
    let ciphertext = read_compressed(bytes, params)?;
    Ok(written(|writer| wire::write_compressed_ciphertext(writer, &ciphertext)))
}

/// Every purpose that the ring has, at several levels.
fn key_spec(params: &CkksParams) -> EvaluationKeySpec {
    EvaluationKeySpec {
        relinearization: Some(Level(1)),
        rotations: [(1, Level(2)), (3, Level(0))].into(),
        conjugation: (params.ring() == Ring::Standard).then_some(Level(1)),
    }
}

fn recode_evaluation_keys(bytes: &[u8], params: &CkksParams) -> Result<Bytes, DecodeError> {
    let limit = wire::evaluation_keys_bytes(params, &key_spec(params));
    let keys = wire::read_evaluation_keys(bytes, params, limit)?;
    match Header::read(bytes)?.version {
        // What version 1 can say.
        VERSION => Ok(written(|writer| wire::write_relinearization_key(writer, keys.relinearization().unwrap()))),
        _ => Ok(written(|writer| wire::write_evaluation_keys(writer, &keys))),
    }
}

impl Artefact {
    fn has_header(&self) -> bool {
        self.name.ends_with("key") || self.name.ends_with("keys")
    }

    fn newest_version(&self) -> u16 {
        if self.name == "evaluation keys" { EVALUATION_KEYS_VERSION } else { VERSION }
    }
}

impl Party {
    fn new(params: CkksParams) -> Self {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let generator = KeyGenerator::new(&params);
        let secret = generator.secret_key(&mut rng);
        let public = generator.public_key(&secret, &mut rng).unwrap();
        let relinearization = generator.relinearization_key(&secret, &mut rng).unwrap();
        let evaluation = generator.evaluation_keys(&secret, &key_spec(&params), &mut rng).unwrap();
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
        let compressed = CompressedCiphertext::new(&ciphertexts[3].1, 4, 27).unwrap();
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
            artefact(
                "evaluation keys",
                recode_evaluation_keys,
                written(|writer| wire::write_evaluation_keys(writer, &evaluation)),
            ),
        ];
        artefacts.push(artefact(
            "compressed ciphertext",
            recode_compressed,
            written(|writer| wire::write_compressed_ciphertext(writer, &compressed)),
        ));
        artefacts.extend(ciphertexts.iter().map(|(name, ciphertext, _)| {
            artefact(name, recode_ciphertext, written(|writer| wire::write_ciphertext(writer, ciphertext)))
        }));
        Self { params, secret, values, ciphertexts, compressed, artefacts }
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
        let evaluator = Evaluator::new(params);
        let (_, three, squares) = &party.ciphertexts[2];
        let two = evaluator.relinearize(three, &key).unwrap();
        assert!(Precision::of(&party.decrypt(&party.secret, &two), squares).max_error < 1e-4);
        assert_eq!(read_compressed(party.bytes("compressed ciphertext"), params).unwrap(), party.compressed);
        // As one of the evaluation keys, of version 1 and of the newest.
        let keys = |name| wire::read_evaluation_keys(&**party.bytes(name), params, u64::MAX).unwrap();
        let old = keys("relinearisation key");
        assert_eq!((old.relinearization(), old.rotations().is_empty()), (Some(&key), true));
        let keys = keys("evaluation keys");
        assert_eq!(keys.spec(), key_spec(params));
        let (_, fresh, values) = &party.ciphertexts[0];
        let rotated = evaluator.rotate(fresh, 1, keys.rotations()).unwrap();
        let mut expected = values.clone();
        expected.rotate_left(1);
        assert!(Precision::of(&party.decrypt(&party.secret, &rotated), &expected).max_error < 1e-4);
        let low = evaluator.drop_to(three, Level(1)).unwrap();
        let low = evaluator.relinearize(&low, keys.relinearization().unwrap()).unwrap();
        assert!(Precision::of(&party.decrypt(&party.secret, &low), squares).max_error < 1e-4);
        if params.ring() == Ring::Standard {
            let low = evaluator.drop_to(fresh, Level(1)).unwrap();
            let conjugated = evaluator.conjugate(&low, keys.rotations()).unwrap();
            assert!(Precision::of(&party.decrypt(&party.secret, &conjugated), values).max_error < 1e-4);
        }
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
        assert_eq!(size("evaluation keys"), wire::evaluation_keys_bytes(params, &key_spec(params)));
        for (name, ciphertext, _) in &party.ciphertexts {
            assert_eq!(size(name), wire::ciphertext_bytes(ciphertext), "{name}");
            let scale = written(|writer| wire::write_scale(writer, ciphertext.scale()));
            assert_eq!(scale.len() as u64, wire::scale_bytes(ciphertext.scale()), "{name}");
        }
        let compressed = size("compressed ciphertext");
        assert_eq!(compressed, wire::compressed_ciphertext_bytes(&party.compressed));
        // Three factors of the scale; 16 coefficients, and 4 or 8 that four real or complex slots need.
        let kept: u64 = if params.ring() == Ring::Standard { 27 } else { 14 };
        assert_eq!(compressed, 5 + 3 * 12 + 2 + 54 + kept);
        // 16 residues of 40, 33 and 30 bits.
        assert_eq!([0, 1, 2].map(|level| wire::poly_bytes(params, Level(level))), [80, 146, 206]);
        assert_eq!(size("seeded ciphertext"), 1 + 5 + 2 + 206 + 32);
    });
}

#[test]
fn every_truncation_is_found() {
    for_each_party(|party| {
        for artefact in &party.artefacts {
            let Artefact { name, bytes, recode } = artefact;
            for length in 0..bytes.len() {
                let found = recode(&bytes[..length], &party.params);
                assert!(matches!(found, Err(DecodeError::Truncated { .. })), "{name} of {length} bytes: {found:?}");
                if length >= HEADER_BYTES as usize && artefact.has_header() {
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
        which in 0usize..10,
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
        for recode in [
            recode_spec,
            recode_ciphertext,
            recode_secret_key,
            recode_public_key,
            recode_relinearization_key,
            recode_evaluation_keys,
            recode_compressed,
        ] {
            if let Ok(again) = recode(&bytes, &params) {
                prop_assert_eq!(again, &bytes[..]);
            }
        }
    }
}

#[test]
fn every_single_bit_of_a_header_counts() {
    for_each_party(|party| {
        for Artefact { name, bytes, recode } in party.artefacts.iter().filter(|a| a.has_header()) {
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
    for artefact in party.artefacts.iter().filter(|a| a.has_header()) {
        let Artefact { name, bytes, recode } = artefact;
        let with = |at: usize, value: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            recode(&bytes, params).unwrap_err()
        };
        assert!(matches!(with(0, b'P'), DecodeError::BadMagic { found: [b'P', b'L', b'O', b'M'] }), "{name}");
        assert!(matches!(with(5, 1), DecodeError::UnknownKind { found: 257.. }), "{name}");
        assert!(matches!(with(4, 8), DecodeError::WrongKind { found: Kind::Ciphertext, .. }), "{name}");
        for version in [0, artefact.newest_version() + 1] {
            let found = with(6, version as u8);
            assert!(
                matches!(found, DecodeError::UnknownVersion { newest, .. } if newest == artefact.newest_version()),
                "{name}: {found}"
            );
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
        ("compressed ciphertext", recode_compressed),
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
    // Of any length, so that not the length is what is wrong.
    let read_evaluation_keys: Recode =
        |bytes, params| wire::read_evaluation_keys(bytes, params, u64::MAX).map(|_| Vec::new());
    for other in others.map(|spec| spec.validate_insecure().unwrap()) {
        for Artefact { name, bytes, recode } in party.artefacts.iter().filter(|a| a.has_header()) {
            let recode = if *name == "evaluation keys" { read_evaluation_keys } else { *recode };
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
    let mut bytes = party.bytes("evaluation keys").clone();
    bytes[16..48].copy_from_slice(&without.id().0);
    let found = wire::read_evaluation_keys(&*bytes, &without, u64::MAX);
    assert!(matches!(found, Err(DecodeError::Value { what: "special primes", .. })), "{found:?}");
}

#[test]
fn keys_of_several_parameters_are_not_put_together() {
    let party = Party::new(toy_insecure(Ring::Standard));
    let key = wire::read_relinearization_key(&**party.bytes("relinearisation key"), &party.params).unwrap();
    let other = RotationKeys::empty(&toy_insecure(Ring::ConjugateInvariant));
    let found = EvaluationKeys::new(Some(key.clone()), other.clone());
    assert!(matches!(found, Err(EvalError::ParamsMismatch { .. })), "{found:?}");
    let keys = EvaluationKeys::new(Some(key.clone()), RotationKeys::empty(&party.params)).unwrap();
    assert_eq!(keys.relinearization(), Some(&key));
    // No key at all is a list, too, even without special primes.
    let none = EvaluationKeys::new(None, other).unwrap();
    let bytes = written(|writer| wire::write_evaluation_keys(writer, &none));
    assert_eq!(bytes.len() as u64, wire::evaluation_keys_bytes(none.params(), &EvaluationKeySpec::default()));
    assert_eq!(wire::read_evaluation_keys(&*bytes, none.params(), bytes.len() as u64).unwrap(), none);
}

/// The list comes before the keys, so that nothing is read for keys that cannot be.
#[test]
fn lists_of_keys_are_checked() {
    for_each_party(|party| {
        let params = &party.params;
        let with = |at: usize, replacement: &[u8]| {
            let mut bytes = party.bytes("evaluation keys").clone();
            let at = HEADER_BYTES as usize + 32 + at;
            bytes[at..at + replacement.len()].copy_from_slice(replacement);
            recode_evaluation_keys(&bytes, params).unwrap_err()
        };
        let limit = params.slots() as u64 + 1;
        for count in [limit + 1, u64::from(u32::MAX)] {
            let found = with(0, &(count as u32).to_le_bytes());
            let expected = count;
            assert!(
                matches!(found, DecodeError::TooLarge { what: "number of evaluation keys", found, limit: most }
                    if (found, most) == (expected, limit)),
                "{found}"
            );
        }
        // Purpose, slots and level of the relinearisation key, then of the rotations by 1 and 3.
        for (at, purpose) in [(4, 3), (4, 255), (10, 0)] {
            let found = with(at, &[purpose]);
            assert!(matches!(found, DecodeError::Value { what: "purpose of a key", .. }), "{found}");
        }
        let found = with(5, &[1]);
        assert!(matches!(found, DecodeError::Value { what: "purpose of a key", found: 0, .. }), "{found}");
        let found = with(9, &[3]);
        assert!(matches!(found, DecodeError::TooLarge { what: "level of a key", found: 3, limit: 2 }), "{found}");
        for slots in [0, params.slots() as u32, u32::MAX] {
            let found = with(11, &slots.to_le_bytes());
            assert!(matches!(found, DecodeError::Value { what: "rotation", .. }), "{found}");
        }
        for slots in [3u32, 4] {
            let found = with(11, &slots.to_le_bytes());
            assert!(matches!(found, DecodeError::Value { what: "key", found: 2, .. }), "{found}");
        }
        let found = with(10, &[2, 0, 0, 0, 0]);
        let expected = if params.ring() == Ring::Standard { "key" } else { "purpose of a key" };
        assert!(matches!(found, DecodeError::Value { what, .. } if what == expected), "{found}");
        // Higher levels need more bytes than there are.
        assert!(matches!(with(9, &[2]), DecodeError::Truncated { .. }));
    });
}

#[test]
fn version_1_has_relinearisation_keys_of_every_level_only() {
    let party = Party::new(toy_insecure(Ring::Standard));
    let mut rng = ChaCha20Rng::from_seed([4; 32]);
    let generator = KeyGenerator::new(&party.params);
    let key = generator.relinearization_key_at(&party.secret, Level(1), &mut rng).unwrap();
    let written = wire::write_relinearization_key(&mut Writer::new(Vec::new()), &key);
    assert_eq!(written.map_err(|error| error.kind()), Err(std::io::ErrorKind::InvalidInput));
    assert!(matches!(
        recode_relinearization_key(party.bytes("evaluation keys"), &party.params),
        Err(DecodeError::UnknownVersion { found: 2, newest: 1, .. })
    ));
    assert_eq!([Kind::EvaluationKeys, Kind::Ciphertext].map(wire::newest_version), [2, 1]);
    assert_eq!(key_spec(&party.params).keys().next(), Some((KeyPurpose::Relinearization, Level(1))));
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

    let compressed = |at, byte| changed("compressed ciphertext", recode_compressed, at, &[byte]);
    // After a scale of three factors.
    for slots in [4, 64, 255] {
        let found = compressed(41, slots);
        let what = "log2 of the slots of a compressed ciphertext";
        assert!(matches!(found, DecodeError::TooLarge { what: at, limit: 3, .. } if at == what), "{found}");
    }
    let most = CompressedCiphertext::max_bits(params) as u8;
    for bits in [0, 1, most + 1, 255] {
        let found = compressed(42, bits);
        assert!(matches!(found, DecodeError::Value { what: "bits of a compressed ciphertext", .. }), "{found}");
    }
    let found = compressed(5, 0);
    assert!(matches!(found, DecodeError::Value { what: "scale" | "factor of a scale", .. }), "{found}");

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
