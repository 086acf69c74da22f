//! Golden bytes: `testdata/wire/vN` is decoded for ever, and to the same values. `N` is the version of the kind.
//!
//! A format whose version rises needs new files: `NIGHTLOOM_WRITE_GOLDEN=1 cargo test -p nightloom-he --test golden`
//! writes those of the current version. The files of older versions stay as they are.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Once;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use nightloom_he::wire::{self, EVALUATION_KEYS_VERSION, VERSION};
use nightloom_he::{
    Ciphertext, CkksParams, CkksSpec, CompressedCiphertext, Decryptor, Encoder, Encryptor, EvaluationKeySpec,
    EvaluationKeys, Evaluator, KeyGenerator, Level, Precision, PublicKey, RelinearizationKey, Ring, RotationKeys,
    Scale, SecretKey, noise,
};
use nightloom_wire::{Header, Kind, Reader, Writer};

const RINGS: [Ring; 2] = [Ring::Standard, Ring::ConjugateInvariant];

/// Below 128 bits: small files.
fn toy_insecure(ring: Ring) -> CkksParams {
    let spec = CkksSpec { ring, log_degree: 10, prime_bits: vec![36, 28], special_bits: vec![36] };
    spec.validate_insecure().unwrap()
}

/// The values that every ciphertext encrypts, or encrypts the squares of.
fn values(params: &CkksParams) -> Vec<f64> {
    (0..params.slots()).map(|i| (i * 37 % 101) as f64 / 64.0 - 0.75).collect()
}

/// What the golden evaluation keys are for.
fn key_spec(ring: Ring) -> EvaluationKeySpec {
    let low_rotation = (5, Level(0));
    EvaluationKeySpec {
        relinearization: Some(Level(0)),
        rotations: [(3, Level(1))]
            .into_iter()
            .chain((ring == Ring::ConjugateInvariant).then_some(low_rotation))
            .collect(),
        conjugation: (ring == Ring::Standard).then_some(Level(0)),
    }
}

/// Slots and bits of the golden compressed ciphertexts.
const COMPRESSED: [(&str, usize, u32); 2] = [("few-slots", 16, 21), ("all-slots", 512, 28)];

const CIPHERTEXTS: [&str; 4] = ["seeded", "full", "three-components", "rescaled"];

/// The files of a version of a kind, or `None` if another crate writes it and keeps golden files for it.
fn names(kind: Kind, version: u16) -> Option<(&'static str, Vec<&'static str>)> {
    match kind {
        Kind::SecretKey => Some(("secret_key", vec!["key"])),
        Kind::PublicKey => Some(("public_key", vec!["key"])),
        Kind::EvaluationKeys if version == 1 => Some(("relinearization_key", vec!["key"])),
        Kind::EvaluationKeys => Some(("evaluation_keys", vec!["keys"])),
        Kind::Ciphertext => Some(("ciphertext", CIPHERTEXTS.to_vec())),
        Kind::Program | Kind::ClientSpec | Kind::Request | Kind::Response | Kind::Checkpoint => None,
    }
}

fn folder(version: u16, kind: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/wire");
    root.join(format!("v{version}")).join(kind)
}

fn file_name(ring: Ring, name: &str) -> String {
    format!("{ring}-{name}.bin")
}

fn golden(version: u16, kind: &str, ring: Ring, name: &str) -> Vec<u8> {
    static WRITE: Once = Once::new();
    WRITE.call_once(|| {
        if std::env::var_os("NIGHTLOOM_WRITE_GOLDEN").is_some_and(|value| value == "1") {
            RINGS.into_iter().for_each(write_golden);
        }
    });
    let path = folder(version, kind).join(file_name(ring, name));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write_golden(ring: Ring) {
    let params = toy_insecure(ring);
    let mut rng = ChaCha20Rng::from_seed([0x6e; 32]);
    let generator = KeyGenerator::new(&params);
    let secret = generator.secret_key(&mut rng);
    let public = generator.public_key(&secret, &mut rng).unwrap();
    let relinearization = generator.relinearization_key(&secret, &mut rng).unwrap();
    let message = Encoder::new(&params).encode(&values(&params), &Scale::power_of_two(26)).unwrap();
    let seeded = Encryptor::symmetric(&secret).encrypt(&message, params.top(), &mut rng).unwrap();
    let full = Encryptor::public(&public).encrypt(&message, Level(0), &mut rng).unwrap();
    let three = Evaluator::new(&params).square(&seeded).unwrap();
    let rescaled = Evaluator::new(&params).relinearize_rescale(&three, &relinearization).unwrap();
    let evaluation = generator.evaluation_keys(&secret, &key_spec(ring), &mut rng).unwrap();
    let store_version = |version: u16, kind: &str, name: &str, bytes: Vec<u8>| {
        let folder = folder(version, kind);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(file_name(ring, name)), bytes).unwrap();
    };
    let store = |kind: &str, name: &str, bytes: Vec<u8>| store_version(VERSION, kind, name, bytes);
    store("spec", "spec", spec_bytes(params.spec()));
    store("secret_key", "key", secret_bytes(&secret));
    store("public_key", "key", public_bytes(&public));
    store("relinearization_key", "key", relinearization_bytes(&relinearization));
    store_version(EVALUATION_KEYS_VERSION, "evaluation_keys", "keys", evaluation_bytes(&evaluation));
    for (name, ciphertext) in CIPHERTEXTS.into_iter().zip([&seeded, &full, &three, &rescaled]) {
        store("ciphertext", name, ciphertext_bytes(ciphertext));
    }
    for (name, slots, bits) in COMPRESSED {
        let compressed = CompressedCiphertext::new(&periodic(&params, &secret, slots), slots, bits).unwrap();
        store("compressed_ciphertext", name, compressed_bytes(&compressed));
    }
}

/// An encryption of the first values, again and again.
fn periodic(params: &CkksParams, secret: &SecretKey, slots: usize) -> Ciphertext {
    let repeated: Vec<f64> = values(params)[..slots].iter().copied().cycle().take(params.slots()).collect();
    let message = Encoder::new(params).encode(&repeated, &Scale::power_of_two(30)).unwrap();
    Encryptor::symmetric(secret).encrypt(&message, Level(0), &mut ChaCha20Rng::from_seed([2; 32])).unwrap()
}

fn compressed_bytes(ciphertext: &CompressedCiphertext) -> Vec<u8> {
    written(|writer| wire::write_compressed_ciphertext(writer, ciphertext))
}

fn written(write: impl FnOnce(&mut Writer<&mut Vec<u8>>) -> std::io::Result<()>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut Writer::new(&mut bytes)).unwrap();
    bytes
}

fn spec_bytes(spec: &CkksSpec) -> Vec<u8> {
    written(|writer| wire::write_spec(writer, spec))
}

fn secret_bytes(key: &SecretKey) -> Vec<u8> {
    written(|writer| wire::write_secret_key(writer, key))
}

fn public_bytes(key: &PublicKey) -> Vec<u8> {
    written(|writer| wire::write_public_key(writer, key))
}

fn relinearization_bytes(key: &RelinearizationKey) -> Vec<u8> {
    written(|writer| wire::write_relinearization_key(writer, key))
}

fn evaluation_bytes(keys: &EvaluationKeys) -> Vec<u8> {
    written(|writer| wire::write_evaluation_keys(writer, keys))
}

fn ciphertext_bytes(ciphertext: &Ciphertext) -> Vec<u8> {
    written(|writer| {
        let id = ciphertext.params().id();
        wire::write_preamble(writer, Kind::Ciphertext, id, wire::ciphertext_bytes(ciphertext))?;
        wire::write_ciphertext(writer, ciphertext)
    })
}

fn read_ciphertext(bytes: &[u8], params: &CkksParams) -> Ciphertext {
    let mut reader = wire::open(bytes, Kind::Ciphertext, params, bytes.len() as u64).unwrap();
    let ciphertext = wire::read_ciphertext(&mut reader, params).unwrap();
    reader.finish().unwrap();
    ciphertext
}

fn assert_decrypts(params: &CkksParams, secret: &SecretKey, ciphertext: &Ciphertext, expected: &[f64]) {
    let plaintext = Decryptor::new(secret).decrypt(ciphertext).unwrap();
    let found = Encoder::new(params).decode(&plaintext).unwrap();
    let error = Precision::of(&found, expected).max_error;
    assert!(error < 1e-3, "{error}");
}

#[test]
fn every_kind_and_version_has_golden_files() {
    for kind in Kind::ALL {
        for version in 1..=wire::newest_version(kind) {
            let Some((folder_name, names)) = names(kind, version) else { continue };
            let mut expected = BTreeSet::new();
            for ring in RINGS {
                for name in &names {
                    let bytes = golden(version, folder_name, ring, name);
                    let header = Header::read(&*bytes).unwrap();
                    assert_eq!((header.kind, header.version), (kind, version));
                    assert!(bytes.len() < 50_000, "{folder_name} {name}: {} bytes", bytes.len());
                    expected.insert(file_name(ring, name));
                }
            }
            let entries = std::fs::read_dir(folder(version, folder_name)).unwrap();
            let found: BTreeSet<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            assert_eq!(found, expected, "files of version {version} that no test reads");
        }
    }
}

#[test]
fn golden_specs_mean_their_parameters() {
    for version in 1..=VERSION {
        for ring in RINGS {
            let bytes = golden(version, "spec", ring, "spec");
            let mut reader = Reader::new(&*bytes, bytes.len() as u64);
            let spec = wire::read_spec(&mut reader).unwrap();
            reader.finish().unwrap();
            assert_eq!(spec, *toy_insecure(ring).spec());
            assert_eq!(spec_bytes(&spec), bytes);
        }
    }
}

#[test]
fn golden_keys_and_ciphertexts_decode_bit_for_bit_and_decrypt() {
    for version in 1..=VERSION {
        for ring in RINGS {
            let params = &toy_insecure(ring);
            let values = values(params);
            let squares: Vec<f64> = values.iter().map(|x| x * x).collect();

            let bytes = golden(version, "secret_key", ring, "key");
            let secret = &wire::read_secret_key(&*bytes, params).unwrap();
            assert_eq!(secret_bytes(secret), bytes);

            let ciphertexts = CIPHERTEXTS.map(|name| {
                let bytes = golden(version, "ciphertext", ring, name);
                let ciphertext = read_ciphertext(&bytes, params);
                assert_eq!(ciphertext_bytes(&ciphertext), bytes);
                ciphertext
            });
            let [seeded, full, three, rescaled] = &ciphertexts;
            let shape = |c: &Ciphertext| (c.level(), c.components().len(), c.seed().is_some());
            assert_eq!(shape(seeded), (Level(1), 2, true));
            assert_eq!(shape(full), (Level(0), 2, false));
            assert_eq!(shape(three), (Level(1), 3, false));
            assert_eq!(shape(rescaled), (Level(0), 2, false));
            assert_eq!(*rescaled.scale(), Scale::power_of_two(52).divide_by(params.primes()[1]));
            for (ciphertext, expected) in [(seeded, &values), (full, &values), (three, &squares), (rescaled, &squares)]
            {
                assert_decrypts(params, secret, ciphertext, expected);
            }

            let bytes = golden(version, "relinearization_key", ring, "key");
            let relinearization = wire::read_relinearization_key(&*bytes, params).unwrap();
            assert_eq!(relinearization_bytes(&relinearization), bytes);
            let again = Evaluator::new(params).relinearize_rescale(three, &relinearization).unwrap();
            assert_eq!(again, *rescaled);

            let bytes = golden(version, "public_key", ring, "key");
            let public = wire::read_public_key(&*bytes, params).unwrap();
            assert_eq!(public_bytes(&public), bytes);
            let message = Encoder::new(params).encode(&values, &Scale::power_of_two(26)).unwrap();
            let mut rng = ChaCha20Rng::from_seed([1; 32]);
            let fresh = Encryptor::public(&public).encrypt(&message, params.top(), &mut rng).unwrap();
            assert_decrypts(params, secret, &fresh, &values);
        }
    }
}

#[test]
fn golden_evaluation_keys_decode_bit_for_bit_and_work() {
    for ring in RINGS {
        let params = &toy_insecure(ring);
        let secret = wire::read_secret_key(&*golden(1, "secret_key", ring, "key"), params).unwrap();
        let [seeded, full] =
            ["seeded", "full"].map(|name| read_ciphertext(&golden(1, "ciphertext", ring, name), params));
        let evaluator = Evaluator::new(params);

        let bytes = golden(2, "evaluation_keys", ring, "keys");
        assert_eq!(bytes.len() as u64, wire::evaluation_keys_bytes(params, &key_spec(ring)));
        let keys = wire::read_evaluation_keys(&*bytes, params, bytes.len() as u64).unwrap();
        assert_eq!(evaluation_bytes(&keys), bytes);
        assert_eq!(keys.spec(), key_spec(ring));
        for ciphertext in [&seeded, &full] {
            let mut expected = values(params);
            expected.rotate_left(3);
            assert_decrypts(params, &secret, &evaluator.rotate(ciphertext, 3, keys.rotations()).unwrap(), &expected);
        }
        let mut expected = values(params);
        let moved = match ring {
            Ring::Standard => evaluator.conjugate(&full, keys.rotations()),
            Ring::ConjugateInvariant => {
                expected.rotate_left(5);
                evaluator.rotate(&full, 5, keys.rotations())
            }
        };
        assert_decrypts(params, &secret, &moved.unwrap(), &expected);
        let key = keys.relinearization().unwrap();
        let message = Encoder::new(params).encode(&values(params), &Scale::power_of_two(14)).unwrap();
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let small = Encryptor::symmetric(&secret).encrypt(&message, Level(0), &mut rng).unwrap();
        let square = evaluator.square(&small).unwrap();
        let difference = evaluator.sub(&evaluator.relinearize(&square, key).unwrap(), &square).unwrap();
        assert_decrypts(params, &secret, &difference, &vec![0.0; params.slots()]);

        // Version 1: the relinearisation key, for every level.
        let bytes = golden(1, "relinearization_key", ring, "key");
        let keys = wire::read_evaluation_keys(&*bytes, params, bytes.len() as u64).unwrap();
        let key = wire::read_relinearization_key(&*bytes, params).unwrap();
        assert_eq!((keys.relinearization(), keys.rotations()), (Some(&key), &RotationKeys::empty(params)));
    }
}

/// They have no header: responses and others put them after their own.
#[test]
fn golden_compressed_ciphertexts_decode_bit_for_bit_and_decrypt() {
    for ring in RINGS {
        let params = &toy_insecure(ring);
        let secret = wire::read_secret_key(&*golden(1, "secret_key", ring, "key"), params).unwrap();
        for (name, slots, bits) in COMPRESSED {
            let bytes = golden(1, "compressed_ciphertext", ring, name);
            let mut reader = Reader::new(&*bytes, bytes.len() as u64);
            let compressed = wire::read_compressed_ciphertext(&mut reader, params).unwrap();
            reader.finish().unwrap();
            assert_eq!(compressed_bytes(&compressed), bytes);
            assert_eq!((compressed.slots(), compressed.bits()), (slots, bits));
            assert_eq!(compressed, CompressedCiphertext::new(&periodic(params, &secret, slots), slots, bits).unwrap());
            let message = Decryptor::new(&secret).decrypt_compressed(&compressed).unwrap();
            let found = Encoder::new(params).decode_message(&message).unwrap();
            let bound = noise::TAIL_DEVIATIONS * noise::compression(params, slots) / compressed.scale().to_f64();
            let error = Precision::of(&found[..slots], &values(params)).max_error;
            assert!(error < bound + 1e-3, "{error}, {bound}");
        }
        let folder = folder(1, "compressed_ciphertext");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), RINGS.len() * COMPRESSED.len());
    }
}
