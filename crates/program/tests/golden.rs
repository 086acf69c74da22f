//! Golden bytes: `testdata/wire/vN` is decoded for ever, and to the same values. `N` is the version of the kind.
//!
//! Requests and responses are under the keys of `v1`, which are golden files of `nightloom-he`. A format whose
//! version rises needs new files: `NIGHTLOOM_WRITE_GOLDEN=1 cargo test -p nightloom-program --test golden` writes those
//! of the current version. The files of older versions stay as they are.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Once;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use nightloom_he::wire::{self as scheme, newest_version};
use nightloom_he::{
    Ciphertext, CkksParams, CkksSpec, CompressedCiphertext, Decryptor, Encoder, Encryptor, EvaluationKeys,
    KeyGenerator, Level, Ring, RotationKeys, Scale, SecretKey, noise,
};
use nightloom_program::noise::NoiseBound;
use nightloom_program::wire::{
    BatchHeader, Security, client_spec_bytes, encrypted_model_bytes, model_weights_bytes, program_bytes, program_id,
    read_batch, read_batch_header, read_client_spec, read_compressed_batch, read_encrypted_model, read_model_weights,
    read_program, request_ciphertext_bytes, response_ciphertext_bytes, write_batch_header, write_encrypted_model,
};
use nightloom_program::{
    ClientSpec, Compression, DEFAULT_WEIGHT_BYTES, Diagonal, EncryptedModel, Executor, Giants, InputEncoding,
    ModelWeights, Op, Packing, Program, ProgramId, Shape, SlotMatrix, Source, ValueId, ValueType, WeightArray,
    thread_pool,
};
use nightloom_ring::IntegerMatrix;
use nightloom_wire::{DecodeError, Header, Kind, Writer};
use rayon::ThreadPool;

const RINGS: [Ring; 2] = [Ring::Standard, Ring::ConjugateInvariant];

type MakeProgram = fn(Ring) -> Program;

/// Programs, and the client specification of each.
const PROGRAMS: [(&str, MakeProgram); 5] =
    [("features", features), ("slots", slots), ("folds", folds), ("arrays", arrays), ("secure", secure)];

/// Below 128 bits: small files. The parameters of the golden keys.
fn toy_insecure(ring: Ring) -> CkksParams {
    let spec = CkksSpec { ring, log_degree: 10, prime_bits: vec![36, 28], special_bits: vec![36] };
    spec.validate_insecure().unwrap()
}

fn linear(sources: &[(usize, Scale)], columns: usize, rows: &[Vec<(u32, i32)>], bias: &[f64]) -> Op {
    let source = |(value, scale): &(usize, Scale)| Source { value: ValueId(*value), weight_scale: scale.clone() };
    Op::Linear {
        sources: sources.iter().map(source).collect(),
        matrix: IntegerMatrix::new(columns, rows).unwrap(),
        bias: bias.to_vec(),
    }
}

fn program(params: &CkksParams, ops: Vec<(&str, Op)>) -> Program {
    let output = ValueId(ops.len() - 1);
    let (names, ops) = ops.into_iter().map(|(name, op)| (name.to_owned(), op)).unzip();
    Program::new(params, ops, names, output).unwrap()
}

/// Every operation on features, with rows of no entries, several sources, scales with factors, and names that are not
/// ASCII.
fn features(ring: Ring) -> Program {
    let params = toy_insecure(ring);
    let last = params.primes()[1];
    let two_to = Scale::power_of_two;
    let wide = vec![vec![(0, 16), (3, -8)], vec![(1, 4), (2, 12)], vec![(0, -2), (1, -2), (2, -2), (3, -2)]];
    let mixed = vec![vec![(0, 1), (4, -1), (8, 6)], vec![(1, 1), (2, -2), (3, 1), (5, 1), (6, -3), (7, 2)]];
    let factor = two_to(30).divide_by(last);
    program(
        &params,
        vec![
            ("x", Op::Input { features: 2, level: Level(1), scale: two_to(26) }),
            (
                "Größe",
                linear(&[(0, two_to(4))], 2, &[vec![(0, 8), (1, -4)], vec![], vec![(1, 16)]], &[0.1, 0.5, -0.25]),
            ),
            ("", linear(&[(0, two_to(4)), (0, two_to(4))], 4, &wide, &[-0.0, 1e-300, 0.75])),
            ("square", Op::Square { source: ValueId(1) }),
            ("relinearize", Op::Relinearize { source: ValueId(3) }),
            ("rescale", Op::Rescale { source: ValueId(4) }),
            ("x·y", Op::Multiply { left: ValueId(1), right: ValueId(2) }),
            ("both", Op::RelinearizeRescale { source: ValueId(6) }),
            ("drop", Op::DropTo { source: ValueId(1), level: Level(0) }),
            ("out\n\"\\", linear(&[(5, two_to(0)), (7, two_to(0)), (8, factor)], 9, &mixed, &[0.3, -1.0])),
        ],
    )
}

/// Every operation on slots, with runs of zero weights at either end and in the middle. Two samples share a ciphertext,
/// and results are compressed.
fn slots(ring: Ring) -> Program {
    let params = toy_insecure(ring);
    let two_to = Scale::power_of_two;
    let matrix = |base, giants, diagonals: &[(usize, [f32; 8])]| {
        let diagonal = |(rotation, weights): &(usize, [f32; 8])| {
            let (row, column) = (0, 0);
            Diagonal { row, column, rotation: *rotation, weights: weights.to_vec() }
        };
        let shape = Shape { rows: 1, columns: 1, period: 8, base, giants };
        SlotMatrix::new(shape, diagonals.iter().map(diagonal).collect()).unwrap()
    };
    let middle = [0.0, 0.0, 1.5, -2.0, 0.0, 0.0, 0.0, 0.25];
    let diagonals = [(0, [0.1; 8]), (3, middle), (6, [1.0, 0.0, 0.0, 1e-6, 0.0, 3.0, 0.0, 0.0])];
    let full = matrix(4, Giants::Separate, &diagonals);
    let least = matrix(1, Giants::Separate, &[(0, [0.0; 8])]);
    let program = program(
        &params,
        vec![
            ("x", Op::Input { features: 1, level: Level(1), scale: two_to(26) }),
            ("add", Op::AddSlots { source: ValueId(0), values: vec![0.1, -0.25, 0.0, 1.5] }),
            ("matrix", Op::SlotMatrix { source: ValueId(1), matrix: full, weight_scale: two_to(24), rescale: true }),
            ("fold", Op::Fold { source: ValueId(2), steps: vec![vec![1], vec![4]] }),
            ("zero", Op::SlotMatrix { source: ValueId(3), matrix: least, weight_scale: two_to(3), rescale: false }),
            ("one", Op::AddSlots { source: ValueId(4), values: vec![0.75] }),
        ],
    );
    program.with_compression(Compression { slots: 8, bits: 20 }).unwrap().with_capacity(2)
}

/// Steps of several rotations.
fn folds(ring: Ring) -> Program {
    let input = Op::Input { features: 1, level: Level(1), scale: Scale::power_of_two(26) };
    let steps = vec![vec![1, 2, 3], vec![4], vec![8, 16, 24]];
    program(&toy_insecure(ring), vec![("x", input), ("fold", Op::Fold { source: ValueId(0), steps })])
}

/// Several ciphertexts a value, giant steps in a chain, rotations, and encrypted weights.
fn arrays(ring: Ring) -> Program {
    let two_to = Scale::power_of_two;
    let diagonal = |row, column, rotation, weights: [f32; 4]| {
        let weights = weights.to_vec();
        Diagonal { row, column, rotation, weights }
    };
    let shape = Shape { rows: 2, columns: 2, period: 4, base: 1, giants: Giants::Chained };
    let diagonals = vec![
        diagonal(0, 0, 0, [0.5, 0.0, -1.0, 0.25]),
        diagonal(0, 1, 3, [0.0, 0.0, 0.0, 1.0]),
        diagonal(1, 1, 2, [2.0; 4]),
    ];
    program(
        &toy_insecure(ring),
        vec![
            ("x", Op::Input { features: 1, level: Level(1), scale: two_to(24) }),
            ("turn", Op::Rotate { source: ValueId(0), rotations: vec![1, 3], base: 2 }),
            (
                "matrix",
                Op::SlotMatrix {
                    source: ValueId(1),
                    matrix: SlotMatrix::new(shape, diagonals).unwrap(),
                    weight_scale: two_to(6),
                    rescale: false,
                },
            ),
            ("add", Op::AddSlots { source: ValueId(2), values: vec![0.5, -1.5, 0.25, 1.0] }),
            ("weights", Op::Model { features: 2, level: Level(1), scale: two_to(20), period: 2 }),
            ("product", Op::Multiply { left: ValueId(3), right: ValueId(4) }),
            ("relinearize", Op::RelinearizeRescale { source: ValueId(5) }),
        ],
    )
}

/// The weights of [`arrays`].
fn weights(ring: Ring) -> ModelWeights {
    let program = arrays(ring);
    let (_, id) = program_bytes(&program, true).unwrap();
    let array = |(array, period): (&ValueType, usize)| WeightArray {
        level: array.level,
        scale: array.scale.clone(),
        period,
        vectors: vec![0.5, -0.125, 1.0 / 3.0, -0.0],
    };
    let arrays = program.model().map(array).collect();
    ModelWeights { program: id, params: program.params().clone(), insecure: true, arrays }
}

/// At the smallest degree at which the security table has room for two primes.
fn secure(ring: Ring) -> Program {
    let spec = CkksSpec { ring, log_degree: 11, prime_bits: vec![28, 24], special_bits: vec![] };
    let params = spec.validate().unwrap();
    let scale = Scale::power_of_two(48).divide_by(params.primes()[1]);
    program(&params, vec![("x", Op::Input { features: 6, level: Level(1), scale })])
}

fn client_spec(name: &str, ring: Ring) -> (ClientSpec, CkksParams) {
    let (_, make) = PROGRAMS.into_iter().find(|(found, _)| *found == name).unwrap();
    let program = make(ring);
    let (input, params) = (program.input_type(), program.params());
    let insecure = !params.is_secure();
    let (input_shape, output_shape, packing) = match name {
        "slots" => {
            // Features that rise, fall, stand alone and are missing.
            let input = [Some(0), Some(1), Some(2), None, Some(5), Some(4), None, Some(3)].to_vec();
            let outputs = vec![(0, 0), (0, 1), (0, 4), (0, 6)];
            let packing = Packing::SampleInSlots { batch: 2, inputs: 1, input, results: 1, outputs, compressed: true };
            (vec![1, 3], vec![2], packing)
        }
        "arrays" => {
            // Two ciphertexts of four slots.
            let input = [3, 2, 1, 0, 0, 2, 4, 4].map(|feature| (feature < 4).then_some(feature)).to_vec();
            let outputs = vec![(1, 0), (0, 3), (1, 2)];
            let packing = Packing::SampleInSlots { batch: 1, inputs: 2, input, results: 2, outputs, compressed: false };
            (vec![2, 2], vec![3], packing)
        }
        _ => (vec![1, input.features], vec![program.output_type().features], Packing::SampleInSlot),
    };
    let spec = ClientSpec {
        name: format!("{name}: \"Größe\"\t✓"),
        program: program_bytes(&program, insecure).unwrap().1,
        parameters: params.spec().clone(),
        insecure,
        input_shape,
        output_shape,
        input: InputEncoding { scale: 1.0 / 256.0, offset: -0.75, low: -0.75, high: 1e3 },
        level: input.level,
        scale: input.scale.clone(),
        keys: program.evaluation_keys(),
        packing,
        error_bound: 1.0 / 3.0,
        error_bound_public_key: 0.5,
        output_limit: 1.5e5,
    };
    (spec, params.clone())
}

/// Requests by the key that they are encrypted under, and the response to each.
const REQUESTS: [&str; 2] = ["secret-key", "public-key"];

/// The response to the request under the public key, compressed to all slots and this many bits.
const COMPRESSED: (&str, u32) = ("compressed", 24);

fn samples(request: &str, params: &CkksParams) -> usize {
    match request {
        // One batch is full, the other is not.
        "secret-key" => params.slots() + 3,
        _ => 3,
    }
}

fn sample(index: usize) -> Vec<f64> {
    [0, 1].map(|feature| ((37 * index + 11 * feature) % 101) as f64 / 64.0 - 0.75).to_vec()
}

/// The files of a kind, or `None` if another crate writes it and keeps golden files for it.
fn names(kind: Kind) -> Option<(&'static str, Vec<&'static str>)> {
    let programs = || PROGRAMS.map(|(name, _)| name).to_vec();
    match kind {
        Kind::Program => Some(("program", programs())),
        Kind::ClientSpec => Some(("client_spec", programs())),
        Kind::Request => Some(("request", REQUESTS.to_vec())),
        Kind::Response => Some(("response", [&REQUESTS[..], &[COMPRESSED.0]].concat())),
        Kind::ModelWeights => Some(("model_weights", vec!["arrays"])),
        Kind::EncryptedModel => Some(("encrypted_model", vec!["arrays"])),
        _ => None,
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
    read(version, kind, ring, name)
}

fn read(version: u16, kind: &str, ring: Ring, name: &str) -> Vec<u8> {
    let path = folder(version, kind).join(file_name(ring, name));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write_golden(ring: Ring) {
    let store = |kind: &str, name: &str, bytes: &[u8]| {
        let version = Header::read(bytes).unwrap().version;
        let folder = folder(version, kind);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(file_name(ring, name)), bytes).unwrap();
    };
    for (name, make) in PROGRAMS {
        let program = make(ring);
        store("program", name, &program_bytes(&program, !program.params().is_secure()).unwrap().0);
        let (spec, params) = client_spec(name, ring);
        store("client_spec", name, &client_spec_bytes(&spec, &params).unwrap());
    }
    let (program, keys) = (features(ring), Keys::golden(ring));
    let params = program.params();
    let (_, id) = program_bytes(&program, true).unwrap();
    let weights = weights(ring);
    store("model_weights", "arrays", &model_weights_bytes(&weights).unwrap());
    let threads = thread_pool(1).unwrap();
    let public_of_model = KeyGenerator::new(&weights.params);
    let public_of_model = public_of_model.public_key(&keys.secret, &mut ChaCha20Rng::from_seed([0x71; 32])).unwrap();
    let model = weights.encrypt(&public_of_model, &mut ChaCha20Rng::from_seed([0x72; 32]), &threads, &|| {}).unwrap();
    store("encrypted_model", "arrays", &encrypted_bytes(&weights.params, &model));
    let public = KeyGenerator::new(params).public_key(&keys.secret, &mut ChaCha20Rng::from_seed([0x70; 32])).unwrap();
    for name in REQUESTS {
        let mut rng = ChaCha20Rng::from_seed([0x6e; 32]);
        let encryptor =
            if name == "secret-key" { Encryptor::symmetric(&keys.secret) } else { Encryptor::public(&public) };
        let (encoder, input) = (Encoder::new(params), program.input_type());
        let samples: Vec<Vec<f64>> = (0..samples(name, params)).map(sample).collect();
        let header = BatchHeader::new(id, samples.len() as u64, params.slots(), input.features);
        let request: Vec<Ciphertext> = samples
            .chunks(params.slots())
            .flat_map(|batch| (0..input.features).map(move |feature| batch.iter().map(|x| x[feature]).collect()))
            .map(|column: Vec<f64>| {
                let message = encoder.encode(&column, &input.scale).unwrap();
                encryptor.encrypt(&message, input.level, &mut rng).unwrap()
            })
            .collect();
        store("request", name, &batches_bytes(Kind::Request, &header, &request));
        let (header, response) = respond(&program, &keys.evaluation, header, request);
        store("response", name, &batches_bytes(Kind::Response, &header, &response));
        if name == "public-key" {
            let compress = |ciphertext| CompressedCiphertext::new(ciphertext, params.slots(), COMPRESSED.1).unwrap();
            let compressed: Vec<_> = response.iter().map(compress).collect();
            store("response", COMPRESSED.0, &compressed_bytes(&header, &compressed));
        }
    }
}

struct Keys {
    secret: SecretKey,
    evaluation: EvaluationKeys,
}

impl Keys {
    fn golden(ring: Ring) -> Self {
        let params = toy_insecure(ring);
        let file = |kind| read(1, kind, ring, "key");
        let secret = scheme::read_secret_key(&*file("secret_key"), &params).unwrap();
        let relinearization = scheme::read_relinearization_key(&*file("relinearization_key"), &params).unwrap();
        let evaluation = EvaluationKeys::new(Some(relinearization), RotationKeys::empty(&params)).unwrap();
        Self { secret, evaluation }
    }
}

/// Runs the program on every batch.
fn respond(
    program: &Program,
    keys: &EvaluationKeys,
    request: BatchHeader,
    ciphertexts: Vec<Ciphertext>,
) -> (BatchHeader, Vec<Ciphertext>) {
    let executor = Executor::new(program.clone(), 1, DEFAULT_WEIGHT_BYTES).unwrap();
    let batches = ciphertexts.chunks(request.ciphertexts);
    let response = batches.flat_map(|batch| executor.run(batch.to_vec(), keys, &|_| {}).unwrap()).collect();
    (BatchHeader { ciphertexts: program.output_type().features, ..request }, response)
}

fn batches_bytes(kind: Kind, header: &BatchHeader, ciphertexts: &[Ciphertext]) -> Vec<u8> {
    let first = &ciphertexts[0];
    let (params, level, scale) = (first.params(), first.level(), first.scale());
    let each = match first.seed() {
        Some(_) => request_ciphertext_bytes(params, level, scale),
        None => response_ciphertext_bytes(params, level, scale),
    };
    let mut writer = Writer::new(Vec::new());
    write_batch_header(&mut writer, kind, params, header, each).unwrap();
    ciphertexts.iter().for_each(|ciphertext| scheme::write_ciphertext(&mut writer, ciphertext).unwrap());
    writer.into_inner()
}

fn compressed_bytes(header: &BatchHeader, ciphertexts: &[CompressedCiphertext]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    let each = scheme::compressed_ciphertext_bytes(&ciphertexts[0]);
    write_batch_header(&mut writer, Kind::Response, ciphertexts[0].params(), header, each).unwrap();
    ciphertexts.iter().for_each(|ciphertext| scheme::write_compressed_ciphertext(&mut writer, ciphertext).unwrap());
    writer.into_inner()
}

fn read_batches(bytes: &[u8], kind: Kind, params: &CkksParams, threads: &ThreadPool) -> (BatchHeader, Vec<Ciphertext>) {
    let (header, mut reader) = read_batch_header(bytes, kind, params, params.slots()).unwrap();
    let mut ciphertexts = Vec::new();
    for _ in 0..header.batches {
        ciphertexts.extend(read_batch(&mut reader, params, &header, threads).unwrap());
    }
    reader.finish().unwrap();
    (header, ciphertexts)
}

fn encrypted_bytes(params: &CkksParams, model: &EncryptedModel) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    write_encrypted_model(&mut writer, params, model).unwrap();
    writer.into_inner()
}

#[test]
fn golden_models_are_read_and_written_and_decrypt() {
    let threads = &thread_pool(2).unwrap();
    for ring in RINGS {
        let (program, expected, secret) = (arrays(ring), weights(ring), Keys::golden(ring).secret);
        for version in 1..=newest_version(Kind::ModelWeights) {
            let bytes = golden(version, "model_weights", ring, "arrays");
            let found = read_model_weights(&*bytes).unwrap();
            assert_eq!(found.params, expected.params);
            assert!(ids(ring, "arrays").contains(&found.program) && found.arrays == expected.arrays && found.insecure);
            if version == newest_version(Kind::ModelWeights) {
                assert_eq!(model_weights_bytes(&expected).unwrap(), bytes);
            }
        }
        for version in 1..=newest_version(Kind::EncryptedModel) {
            let bytes = golden(version, "encrypted_model", ring, "arrays");
            let model = read_encrypted_model(&*bytes, &program, threads).unwrap();
            assert!(ids(ring, "arrays").contains(&model.program));
            let deviation = noise::fresh_public(&expected.params);
            for (array, expected) in model.arrays.iter().zip(&expected.arrays) {
                let bound = noise::TAIL_DEVIATIONS * deviation / expected.scale.to_f64();
                let vectors = expected.vectors.chunks(expected.period);
                let repeated = vectors.map(|vector| vector.iter().copied().cycle().take(array[0].params().slots()));
                for (ciphertext, expected) in array.iter().zip(repeated) {
                    let found = slots_of(ciphertext, &secret);
                    let expected: Vec<f64> = expected.collect();
                    assert_close(&[found], &[expected], bound);
                }
            }
            if version == newest_version(Kind::EncryptedModel) {
                assert_eq!(encrypted_bytes(&expected.params, &model), bytes);
                assert_eq!(encrypted_model_bytes(&program), bytes.len() as u64);
            }
        }
    }
}

/// Every slot of a ciphertext.
fn slots_of(ciphertext: &Ciphertext, secret: &SecretKey) -> Vec<f64> {
    Encoder::new(secret.params()).decode(&Decryptor::new(secret).decrypt(ciphertext).unwrap()).unwrap()
}

/// Rows of numbers, one a sample.
fn decrypt(header: &BatchHeader, ciphertexts: &[Ciphertext], secret: &SecretKey) -> Vec<Vec<f64>> {
    let params = secret.params();
    let decode = |ciphertext: &Ciphertext| slots_of(ciphertext, secret);
    let mut rows = Vec::new();
    for (index, batch) in ciphertexts.chunks(header.ciphertexts).enumerate() {
        let columns: Vec<Vec<f64>> = batch.iter().map(decode).collect();
        let samples = 0..header.samples_in(index, params.slots());
        rows.extend(samples.map(|sample| columns.iter().map(|column| column[sample]).collect()));
    }
    rows
}

/// The bound for requests under the key that this one is encrypted under.
fn of_key(request: &str, bound: NoiseBound) -> f64 {
    if request == "secret-key" { bound.secret_key } else { bound.public_key }
}

fn assert_close(found: &[Vec<f64>], expected: &[Vec<f64>], bound: f64) {
    assert_eq!(found.len(), expected.len());
    for (row, expected) in found.iter().zip(expected) {
        assert_eq!(row.len(), expected.len());
        for (found, expected) in row.iter().zip(expected) {
            assert!((found - expected).abs() < bound, "{found}, expected {expected} up to {bound}");
        }
    }
}

#[test]
fn every_kind_and_version_has_golden_files() {
    for (kind, (folder_name, names)) in Kind::ALL.into_iter().filter_map(|kind| Some((kind, names(kind)?))) {
        for version in 1..=newest_version(kind) {
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
fn golden_programs_are_read_and_written() {
    for ring in RINGS {
        for (name, make) in PROGRAMS {
            let expected = make(ring);
            let newest = newest_version(Kind::Program);
            for version in 1..=newest {
                let bytes = golden(version, "program", ring, name);
                let (program, insecure) = read_program(&*bytes).unwrap();
                assert_eq!(program, expected, "{name}");
                assert_eq!(insecure, name != "secure");
                if version == newest {
                    assert_eq!(program_bytes(&expected, insecure).unwrap(), (bytes.clone(), program_id(&bytes)));
                }
            }
        }
    }
}

/// The identifiers of a golden program's versions.
fn ids(ring: Ring, name: &str) -> Vec<ProgramId> {
    (1..=newest_version(Kind::Program)).map(|version| program_id(&golden(version, "program", ring, name))).collect()
}

#[test]
fn golden_client_specifications_are_read_and_written() {
    for ring in RINGS {
        for (name, _) in PROGRAMS {
            let (expected, expected_params) = client_spec(name, ring);
            let newest = newest_version(Kind::ClientSpec);
            for version in 1..=newest {
                let bytes = golden(version, "client_spec", ring, name);
                let (spec, params) = read_client_spec(&*bytes, Security::Waived).unwrap();
                assert!(ids(ring, name).contains(&spec.program), "{name}");
                assert_eq!(spec, ClientSpec { program: spec.program, ..expected.clone() }, "{name}");
                assert_eq!(params, expected_params);
                match (name, read_client_spec(&*bytes, Security::Required)) {
                    ("secure", found) => assert_eq!(found.unwrap(), (spec, params)),
                    (_, found) => assert!(matches!(found, Err(DecodeError::Insecure)), "{name}: {found:?}"),
                }
                if version == newest {
                    assert_eq!(client_spec_bytes(&expected, &expected_params).unwrap(), bytes, "{name}");
                }
            }
        }
    }
}

#[test]
fn golden_requests_and_responses_decode_bit_for_bit_and_decrypt() {
    let threads = &thread_pool(2).unwrap();
    for ring in RINGS {
        let keys = Keys::golden(ring);
        let program = features(ring);
        let (params, ids) = (program.params(), ids(ring, "features"));
        for name in REQUESTS {
            let inputs: Vec<Vec<f64>> = (0..samples(name, params)).map(sample).collect();
            let outputs: Vec<Vec<f64>> = inputs.iter().map(|input| program.evaluate(input)).collect();
            let bounds = inputs.iter().flat_map(|input| program.output_bounds(input, &[], 0..outputs[0].len()));
            let bound = bounds.map(|bound| of_key(name, bound)).fold(0.0, f64::max);
            // A wrong bit is far outside.
            assert!(bound < 0.05, "{name}: {bound}");
            let head = |program| {
                assert!(ids.contains(&program), "{name}");
                BatchHeader::new(program, inputs.len() as u64, params.slots(), 2)
            };

            for version in 1..=newest_version(Kind::Request) {
                let bytes = golden(version, "request", ring, name);
                let (request, ciphertexts) = read_batches(&bytes, Kind::Request, params, threads);
                assert_eq!(request, head(request.program));
                assert!(ciphertexts.iter().all(|c| c.seed().is_some() == (name == "secret-key")), "{name}");
                assert_eq!(batches_bytes(Kind::Request, &request, &ciphertexts), bytes);
                assert_close(&decrypt(&request, &ciphertexts, &keys.secret), &inputs, 1e-3);

                let (header, response) = respond(&program, &keys.evaluation, request, ciphertexts);
                assert_eq!(header, head(request.program));
                assert_close(&decrypt(&header, &response, &keys.secret), &outputs, bound);
            }
            for version in 1..=newest_version(Kind::Response) {
                let bytes = golden(version, "response", ring, name);
                let (response, ciphertexts) = read_batches(&bytes, Kind::Response, params, threads);
                assert_eq!(response, head(response.program));
                assert_eq!(batches_bytes(Kind::Response, &response, &ciphertexts), bytes);
                assert_close(&decrypt(&response, &ciphertexts, &keys.secret), &outputs, bound);
            }
        }
    }
}

#[test]
fn golden_compressed_responses_decode_bit_for_bit_and_decrypt() {
    for ring in RINGS {
        let keys = Keys::golden(ring);
        let program = features(ring);
        let params = program.params();
        let (encoder, decryptor) = (Encoder::new(params), Decryptor::new(&keys.secret));
        let outputs: Vec<Vec<f64>> =
            (0..samples("public-key", params)).map(|index| program.evaluate(&sample(index))).collect();
        for version in 1..=newest_version(Kind::Response) {
            let bytes = golden(version, "response", ring, COMPRESSED.0);
            let (header, mut reader) = read_batch_header(&*bytes, Kind::Response, params, params.slots()).unwrap();
            let ciphertexts = read_compressed_batch(&mut reader, params, &header).unwrap();
            reader.finish().unwrap();
            assert!(ids(ring, "features").contains(&header.program));
            assert_eq!((header.samples, header.batches, header.ciphertexts), (outputs.len() as u64, 1, 2));
            assert_eq!(compressed_bytes(&header, &ciphertexts), bytes);
            for (index, ciphertext) in ciphertexts.iter().enumerate() {
                assert_eq!((ciphertext.slots(), ciphertext.bits()), (params.slots(), COMPRESSED.1));
                let added = noise::TAIL_DEVIATIONS * noise::compression(params, params.slots());
                let found = encoder.decode_message(&decryptor.decrypt_compressed(ciphertext).unwrap()).unwrap();
                let bounds =
                    (0..outputs.len()).map(|at| program.output_bounds(&sample(at), &[], [index])[0].public_key);
                let bound = bounds.fold(0.0, f64::max) + added / ciphertext.scale().to_f64();
                assert!(bound < 0.05, "{bound}");
                for (found, expected) in found.iter().zip(&outputs) {
                    let expected = expected[index];
                    assert!((found - expected).abs() < bound, "{found}, expected {expected} up to {bound}");
                }
            }
        }
    }
}
