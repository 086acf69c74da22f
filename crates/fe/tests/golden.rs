//! The files of `testdata/wire` that this crate wrote decode bit for bit, for ever, and still mean what they meant.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Once;

use chacha20::ChaCha20Rng;
use nightloom_fe::wire::{self, Artefact, VERSION};
use nightloom_fe::{
    Bounds, Ddh, DdhAdaptive, DdhAdaptiveCiphertext, DdhAdaptiveFunctionKeys, DdhAdaptivePublicKey, DdhCiphertext,
    DdhFunctionKeys, DdhPublicKey, Febo, FeboCiphertext, FeboFunctionKeys, FeboPublicKey, FeboRequest, Functionals,
    InnerProduct, Label, MasterSeed, Mlwe, MlweCiphertext, MlweEncryptionKey, MlweFunctionKeys, Operation, Pad,
    PadCiphertext, PadEncryptionKey, PadFunctionKeys, Rlwe, RlweCiphertext, RlweFunctionKeys, RlwePublicKey,
};
use nightloom_wire::{Header, Kind, Writer};
use rand_core::SeedableRng;

const WEIGHTS: [i32; 6] = [1, -7, 0, 7, 3, -2];
const SAMPLES: [i32; 6] = [5, -20, 20, 0, 13, -1];
const OPERANDS: [i32; 6] = [1, -7, 0, 7, 3, -2];

fn bounds() -> Bounds {
    Bounds::new(3, 20, 7).unwrap()
}

fn functionals() -> Functionals {
    Functionals::dense(3, &WEIGHTS).unwrap()
}

/// Far below 128 bits, to keep the files small.
fn toy_insecure_rlwe() -> Rlwe {
    Rlwe::with_degree_insecure(bounds(), 7).unwrap()
}

/// Far below 128 bits, to keep the files small.
fn toy_insecure_mlwe() -> Mlwe {
    Mlwe::with_rank_insecure(bounds(), 2).unwrap()
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/wire/v1").join(name)
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([0x6e; 32])
}

fn written<T: Artefact>(value: &T, context: T::Context<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::write(&mut Writer::new(&mut bytes), value, context).unwrap();
    assert_eq!(bytes.len() as u64, wire::bytes(value, context));
    bytes
}

fn store(name: &str, file: &str, bytes: Vec<u8>) {
    std::fs::create_dir_all(folder(name)).unwrap();
    std::fs::write(folder(name).join(format!("{file}.bin")), bytes).unwrap();
}

fn golden(name: &str, file: &str) -> Vec<u8> {
    static WRITE: Once = Once::new();
    WRITE.call_once(|| {
        if std::env::var_os("NIGHTLOOM_WRITE_GOLDEN").is_some_and(|value| value == "1") {
            write_golden();
        }
    });
    let path = folder(name).join(format!("{file}.bin"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The value of a golden file, which encodes to the same bytes again.
fn decoded<T: Artefact>(name: &str, file: &str, context: T::Context<'_>) -> T {
    let bytes = golden(name, file);
    let header = Header::read(&*bytes).unwrap();
    assert_eq!((header.kind, header.version), (T::KIND, VERSION));
    assert!(bytes.len() < 50_000, "{name} {file}: {} bytes", bytes.len());
    let value = wire::read::<T>(&*bytes, context, bytes.len() as u64).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert_eq!(written(&value, context), bytes, "{name} {file}");
    value
}

fn seed() -> MasterSeed {
    MasterSeed::from_bytes([0x5e; 32])
}

fn label() -> Label {
    Label::new("golden").unwrap()
}

fn write_golden() {
    let mut bytes = Vec::new();
    wire::write_master_seed(&mut Writer::new(&mut bytes), &seed()).unwrap();
    store("fe_master_seed", "seed", bytes);
    let ddh = Ddh::new(bounds());
    store("fe_functionals", "functionals", written(&functionals(), (ddh.params_id(), ddh.bounds())));

    let asked = &functionals();
    let public = "fe_public_key";
    files(&ddh, public, &|key| written(key, &ddh), &|keys| written(keys, (&ddh, asked)), &|c| written(c, &ddh));
    let adaptive = &DdhAdaptive::new(bounds());
    let keys = |keys: &DdhAdaptiveFunctionKeys| written(keys, (adaptive, asked));
    files(adaptive, public, &|key| written(key, adaptive), &keys, &|c| written(c, adaptive));
    let rlwe = &toy_insecure_rlwe();
    files(rlwe, public, &|key| written(key, rlwe), &|keys| written(keys, (rlwe, asked)), &|c| written(c, rlwe));
    let secret = "fe_secret_key";
    let pad = &Pad::new(bounds());
    files(pad, secret, &|key| written(key, pad), &|keys| written(keys, (pad, asked)), &|c| written(c, pad));
    let mlwe = &toy_insecure_mlwe();
    files(mlwe, secret, &|key| written(key, mlwe), &|keys| written(keys, (mlwe, asked)), &|c| written(c, mlwe));

    let febo = Febo::new(20, 7).unwrap();
    let master = febo.master_key(&seed(), &label());
    let public = febo.public_key(&master);
    let ciphertext = febo.encrypt(&public, &SAMPLES, &mut rng()).unwrap();
    let request = ciphertext.request(Operation::Multiply, &OPERANDS).unwrap();
    let keys = febo.function_keys(&master, &request).unwrap();
    store("fe_public_key", "febo", written(&public, &febo));
    store("fe_ciphertext", "febo", written(&ciphertext, &febo));
    store("fe_operand_request", "febo", written(&request, &febo));
    store("fe_function_keys", "febo", written(&keys, &febo));
}

/// Key, function keys and ciphertext of one scheme.
fn files<S: InnerProduct>(
    scheme: &S,
    key_folder: &str,
    write_key: &dyn Fn(&S::EncryptionKey) -> Vec<u8>,
    write_keys: &dyn Fn(&S::FunctionKeys) -> Vec<u8>,
    write_ciphertext: &dyn Fn(&S::Ciphertext) -> Vec<u8>,
) {
    let master = scheme.master_key(&seed(), &label());
    let mut key = scheme.encryption_key(&master);
    let keys = scheme.function_keys(&master, &functionals(), 2).unwrap();
    let name = scheme.scheme().info().name;
    store(key_folder, name, write_key(&key));
    let ciphertext = scheme.encrypt(&mut key, &SAMPLES, &mut rng()).unwrap();
    store("fe_function_keys", name, write_keys(&keys));
    store("fe_ciphertext", name, write_ciphertext(&ciphertext));
}

/// What was encrypted opens with the keys of the files; the key of the file encrypts what they open; and the seed of
/// its file makes the same keys.
fn opens<S>(scheme: &S, mut key: S::EncryptionKey, keys: S::FunctionKeys, ciphertext: S::Ciphertext)
where
    S: InnerProduct<FunctionKeys: PartialEq + Debug>,
{
    let expected = functionals().evaluate(&SAMPLES);
    assert_eq!(scheme.decrypt(&ciphertext, &keys).unwrap(), expected);
    let fresh = scheme.encrypt(&mut key, &SAMPLES, &mut rng()).unwrap();
    assert_eq!(scheme.decrypt(&fresh, &keys).unwrap(), expected);
    let seed = wire::read_master_seed(&*golden("fe_master_seed", "seed")).unwrap();
    let again = scheme.function_keys(&scheme.master_key(&seed, &label()), &functionals(), 2).unwrap();
    assert_eq!(again, keys);
}

#[test]
fn golden_files_decode_bit_for_bit_and_open() {
    let ddh = Ddh::new(bounds());
    let context = (ddh.params_id(), ddh.bounds());
    let asked = &decoded::<Functionals>("fe_functionals", "functionals", context);
    assert_eq!(*asked, functionals());
    opens(
        &ddh,
        decoded::<DdhPublicKey>("fe_public_key", "ddh", &ddh),
        decoded::<DdhFunctionKeys>("fe_function_keys", "ddh", (&ddh, asked)),
        decoded::<DdhCiphertext>("fe_ciphertext", "ddh", &ddh),
    );
    let adaptive = DdhAdaptive::new(bounds());
    opens(
        &adaptive,
        decoded::<DdhAdaptivePublicKey>("fe_public_key", "ddh-adaptive", &adaptive),
        decoded::<DdhAdaptiveFunctionKeys>("fe_function_keys", "ddh-adaptive", (&adaptive, asked)),
        decoded::<DdhAdaptiveCiphertext>("fe_ciphertext", "ddh-adaptive", &adaptive),
    );
    let pad = Pad::new(bounds());
    opens(
        &pad,
        decoded::<PadEncryptionKey>("fe_secret_key", "pad", &pad),
        decoded::<PadFunctionKeys>("fe_function_keys", "pad", (&pad, asked)),
        decoded::<PadCiphertext>("fe_ciphertext", "pad", &pad),
    );
    let rlwe = toy_insecure_rlwe();
    opens(
        &rlwe,
        decoded::<RlwePublicKey>("fe_public_key", "rlwe", &rlwe),
        decoded::<RlweFunctionKeys>("fe_function_keys", "rlwe", (&rlwe, asked)),
        decoded::<RlweCiphertext>("fe_ciphertext", "rlwe", &rlwe),
    );
    let mlwe = toy_insecure_mlwe();
    opens(
        &mlwe,
        decoded::<MlweEncryptionKey>("fe_secret_key", "mlwe", &mlwe),
        decoded::<MlweFunctionKeys>("fe_function_keys", "mlwe", (&mlwe, asked)),
        decoded::<MlweCiphertext>("fe_ciphertext", "mlwe", &mlwe),
    );

    let febo = Febo::new(20, 7).unwrap();
    let master = febo.master_key(&seed(), &label());
    let public = decoded::<FeboPublicKey>("fe_public_key", "febo", &febo);
    let ciphertext = decoded::<FeboCiphertext>("fe_ciphertext", "febo", &febo);
    let request = decoded::<FeboRequest>("fe_operand_request", "febo", &febo);
    let keys = decoded::<FeboFunctionKeys>("fe_function_keys", "febo", &febo);
    assert_eq!(public, febo.public_key(&master));
    assert_eq!(keys, febo.function_keys(&master, &request).unwrap());
    let products: Vec<i64> = SAMPLES.iter().zip(OPERANDS).map(|(x, y)| i64::from(x * y)).collect();
    assert_eq!(febo.decrypt(&ciphertext, &keys), Ok(products));
}

#[test]
fn every_kind_has_golden_files_and_no_file_is_unread() {
    let schemes = ["ddh", "ddh-adaptive", "febo", "mlwe", "pad", "rlwe"];
    for kind in Kind::ALL {
        let (name, files): (_, Vec<&str>) = match kind {
            Kind::MasterSeed => ("fe_master_seed", vec!["seed"]),
            Kind::FunctionalPublicKey => ("fe_public_key", vec!["ddh", "ddh-adaptive", "febo", "rlwe"]),
            Kind::FunctionalSecretKey => ("fe_secret_key", vec!["mlwe", "pad"]),
            Kind::Functionals => ("fe_functionals", vec!["functionals"]),
            Kind::FunctionKeys => ("fe_function_keys", schemes.to_vec()),
            Kind::FunctionalCiphertext => ("fe_ciphertext", schemes.to_vec()),
            Kind::OperandRequest => ("fe_operand_request", vec!["febo"]),
            // Kinds of other crates.
            _ => continue,
        };
        for file in &files {
            assert_eq!(Header::read(&*golden(name, file)).unwrap().kind, kind);
        }
        let found: BTreeSet<String> = std::fs::read_dir(folder(name))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let expected: BTreeSet<String> = files.iter().map(|file| format!("{file}.bin")).collect();
        assert_eq!(found, expected, "files that no test reads");
    }
}
