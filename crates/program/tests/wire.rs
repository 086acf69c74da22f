//! Programs, client specifications, requests and responses there and back, and every way in which their bytes can be
//! wrong.

use std::io::Read;
use std::sync::LazyLock;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use nightloom_he::wire::{self as scheme, newest_version};
use nightloom_he::{
    Ciphertext, CkksParams, CkksSpec, CompressedCiphertext, Encoder, Encryptor, EvalError, EvaluationKeySpec,
    EvaluationKeys, Evaluator, KeyGenerator, Level, ParamsId, Ring, Scale, SecretKey,
};
use nightloom_program::wire::{
    BatchHeader, MAX_BATCHES, MAX_FEATURES, MAX_PROGRAM_BYTES, Security, client_spec_bytes, model_weights_bytes,
    program_bytes, program_id, read_batch, read_batch_header, read_client_spec, read_compressed_batch,
    read_encrypted_model, read_model_weights, read_program, request_ciphertext_bytes, response_ciphertext_bytes,
    result_bytes, write_batch_header, write_encrypted_model,
};
use nightloom_program::{
    ClientSpec, Compression, DEFAULT_WEIGHT_BYTES, Diagonal, EncryptedModel, ExecuteError, Executor, Giants,
    InputEncoding, ModelWeights, Op, Packing, Program, ProgramId, Shape, SlotMatrix, Source, ValueId, ValueType,
    WeightArray, thread_pool,
};
use nightloom_ring::IntegerMatrix;
use nightloom_wire::{DecodeError, HEADER_BYTES, Kind, Writer};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use rayon::ThreadPool;
use serde_json::Value;

const RINGS: [Ring; 2] = [Ring::Standard, Ring::ConjugateInvariant];
/// Header and parameter identifier.
const PREAMBLE: usize = HEADER_BYTES as usize + 32;

type Bytes = Vec<u8>;
/// Decodes and encodes again.
type Recode = fn(&[u8], &CkksParams) -> Result<Bytes, DecodeError>;

struct Artefact {
    name: &'static str,
    kind: Kind,
    bytes: Bytes,
    recode: Recode,
}

struct Party {
    params: CkksParams,
    program: Program,
    spec: ClientSpec,
    secret: SecretKey,
    keys: EvaluationKeys,
    artefacts: Vec<Artefact>,
}

/// The smallest ring that the transforms allow: artefacts of a few hundred bytes, and no security at all.
fn toy_insecure_spec(ring: Ring) -> CkksSpec {
    CkksSpec { ring, log_degree: 4, prime_bits: vec![40, 33, 30], special_bits: vec![41] }
}

/// By ring.
static PARTIES: LazyLock<[Party; 2]> =
    LazyLock::new(|| RINGS.map(|ring| Party::new(toy_insecure_spec(ring).validate_insecure().unwrap())));

static THREADS: LazyLock<ThreadPool> = LazyLock::new(|| thread_pool(1).unwrap());

fn recode_program(bytes: &[u8], _: &CkksParams) -> Result<Bytes, DecodeError> {
    let (program, insecure) = read_program(bytes)?;
    Ok(program_bytes(&program, insecure).expect("what was read can be written").0)
}

fn recode_client_spec(bytes: &[u8], _: &CkksParams) -> Result<Bytes, DecodeError> {
    let (spec, params) = read_client_spec(bytes, Security::Waived)?;
    Ok(client_spec_bytes(&spec, &params).expect("what was read can be written"))
}

fn read_batches(
    source: impl Read,
    kind: Kind,
    params: &CkksParams,
) -> Result<(BatchHeader, Vec<Ciphertext>), DecodeError> {
    let (header, mut reader) = read_batch_header(source, kind, params, params.slots())?;
    let mut ciphertexts = Vec::new();
    for _ in 0..header.batches {
        ciphertexts.extend(read_batch(&mut reader, params, &header, &THREADS)?);
    }
    reader.finish()?;
    Ok((header, ciphertexts))
}

fn batches_bytes(kind: Kind, params: &CkksParams, header: &BatchHeader, ciphertexts: &[Ciphertext]) -> Bytes {
    let mut writer = Writer::new(Vec::new());
    write_batch_header(&mut writer, kind, params, header, 0).unwrap();
    ciphertexts.iter().for_each(|ciphertext| scheme::write_ciphertext(&mut writer, ciphertext).unwrap());
    // The ciphertexts of a foreign request need not have one size.
    with_length(writer.into_inner())
}

fn recode_request(bytes: &[u8], params: &CkksParams) -> Result<Bytes, DecodeError> {
    let (header, ciphertexts) = read_batches(bytes, Kind::Request, params)?;
    Ok(batches_bytes(Kind::Request, params, &header, &ciphertexts))
}

fn recode_response(bytes: &[u8], params: &CkksParams) -> Result<Bytes, DecodeError> {
    let (header, ciphertexts) = read_batches(bytes, Kind::Response, params)?;
    Ok(batches_bytes(Kind::Response, params, &header, &ciphertexts))
}

fn read_compressed(
    source: impl Read,
    params: &CkksParams,
) -> Result<(BatchHeader, Vec<CompressedCiphertext>), DecodeError> {
    let (header, mut reader) = read_batch_header(source, Kind::Response, params, params.slots())?;
    let mut ciphertexts = Vec::new();
    for _ in 0..header.batches {
        ciphertexts.extend(read_compressed_batch(&mut reader, params, &header)?);
    }
    reader.finish()?;
    Ok((header, ciphertexts))
}

fn compressed_bytes(params: &CkksParams, header: &BatchHeader, ciphertexts: &[CompressedCiphertext]) -> Bytes {
    let mut writer = Writer::new(Vec::new());
    write_batch_header(&mut writer, Kind::Response, params, header, 0).unwrap();
    ciphertexts.iter().for_each(|ciphertext| scheme::write_compressed_ciphertext(&mut writer, ciphertext).unwrap());
    with_length(writer.into_inner())
}

fn recode_compressed(bytes: &[u8], params: &CkksParams) -> Result<Bytes, DecodeError> {
    let (header, ciphertexts) = read_compressed(bytes, params)?;
    Ok(compressed_bytes(params, &header, &ciphertexts))
}

fn recode_weights(bytes: &[u8], _: &CkksParams) -> Result<Bytes, DecodeError> {
    Ok(model_weights_bytes(&read_model_weights(bytes)?).expect("what was read can be written"))
}

fn model_bytes(params: &CkksParams, model: &EncryptedModel) -> Bytes {
    let mut writer = Writer::new(Vec::new());
    write_encrypted_model(&mut writer, params, model).unwrap();
    writer.into_inner()
}

fn recode_model(bytes: &[u8], params: &CkksParams) -> Result<Bytes, DecodeError> {
    Ok(model_bytes(params, &read_encrypted_model(bytes, &every_operation(params), &THREADS)?))
}

/// The same with the header's length put right.
fn with_length(mut bytes: Bytes) -> Bytes {
    let length = bytes.len() as u64 - HEADER_BYTES;
    bytes[8..16].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// A program's bytes from its JSON and what follows that.
fn program_of(id: ParamsId, json: &[u8], rest: &[u8]) -> Bytes {
    let mut writer = Writer::new(Vec::new());
    scheme::write_preamble(&mut writer, Kind::Program, id, 0).unwrap();
    writer.byte_string(json).unwrap();
    writer.bytes(rest).unwrap();
    with_length(writer.into_inner())
}

/// A client specification's bytes from its JSON.
fn client_spec_of(id: ParamsId, json: &[u8]) -> Bytes {
    let mut writer = Writer::new(Vec::new());
    scheme::write_preamble(&mut writer, Kind::ClientSpec, id, 0).unwrap();
    writer.bytes(json).unwrap();
    with_length(writer.into_inner())
}

/// The JSON of a program, and where it ends.
fn program_json(bytes: &[u8]) -> (&[u8], usize) {
    let start = PREAMBLE + 4;
    let length = u32::from_le_bytes(bytes[PREAMBLE..start].try_into().unwrap()) as usize;
    (&bytes[start..start + length], start + length)
}

impl Party {
    fn new(params: CkksParams) -> Self {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let program = every_operation(&params);
        let (server, id) = program_bytes(&program, true).unwrap();
        let input = program.input_type();
        let spec = ClientSpec {
            name: "every operation".into(),
            program: id,
            parameters: params.spec().clone(),
            insecure: true,
            input_shape: vec![2],
            output_shape: vec![1, 1],
            input: InputEncoding { scale: 1.0 / 255.0, offset: -0.5, low: 0.0, high: 1.0 },
            level: input.level,
            scale: input.scale.divide_by(params.primes()[1]),
            keys: program.evaluation_keys(),
            packing: Packing::SampleInSlots {
                batch: 2,
                inputs: 1,
                input: vec![Some(0), Some(1), None, Some(3)],
                results: 1,
                outputs: vec![(0, 0), (0, 2)],
                compressed: true,
            },
            error_bound: 0.125,
            error_bound_public_key: 0.25,
            output_limit: 100.0,
        };
        let generator = KeyGenerator::new(&params);
        let secret = generator.secret_key(&mut rng);
        let all = EvaluationKeySpec {
            relinearization: Some(params.top()),
            rotations: (1..params.slots()).map(|rotation| (rotation, params.top())).collect(),
            conjugation: None,
        };
        let keys = generator.evaluation_keys(&secret, &all, &mut rng).unwrap();
        let header = BatchHeader::new(id, params.slots() as u64 + 1, params.slots(), 2);
        let request: Vec<Ciphertext> = (0..4)
            .map(|index| {
                let message = Encoder::new(&params).encode(&[f64::from(index)], &input.scale).unwrap();
                Encryptor::symmetric(&secret).encrypt(&message, input.level, &mut rng).unwrap()
            })
            .collect();
        let evaluator = Evaluator::new(&params);
        let square = |ciphertext| {
            let three = evaluator.square(ciphertext).unwrap();
            evaluator.relinearize_rescale(&three, keys.relinearization().unwrap()).unwrap()
        };
        let response: Vec<Ciphertext> = request.iter().map(square).collect();
        let compression = program.compression().unwrap();
        let compress = |ciphertext| CompressedCiphertext::new(ciphertext, compression.slots, compression.bits).unwrap();
        let compressed: Vec<CompressedCiphertext> = response.iter().map(compress).collect();
        let array = |(array, period): (&ValueType, usize)| WeightArray {
            level: array.level,
            scale: array.scale.divide_by(params.primes()[1]),
            period,
            vectors: (0..array.features * period).map(|weight| weight as f64 / 8.0 - 0.25).collect(),
        };
        let weights = ModelWeights {
            program: id,
            params: params.clone(),
            insecure: true,
            arrays: program.model().map(array).collect(),
        };
        let public = generator.public_key(&secret, &mut rng).unwrap();
        let model = weights.encrypt(&public, &mut rng, &THREADS, &|| {}).unwrap();
        let artefacts = vec![
            Artefact { name: "program", kind: Kind::Program, bytes: server, recode: recode_program },
            Artefact {
                name: "client specification",
                kind: Kind::ClientSpec,
                bytes: client_spec_bytes(&spec, &params).unwrap(),
                recode: recode_client_spec,
            },
            Artefact {
                name: "request",
                kind: Kind::Request,
                bytes: batches_bytes(Kind::Request, &params, &header, &request),
                recode: recode_request,
            },
            Artefact {
                name: "response",
                kind: Kind::Response,
                bytes: batches_bytes(Kind::Response, &params, &header, &response),
                recode: recode_response,
            },
            Artefact {
                name: "compressed response",
                kind: Kind::Response,
                bytes: compressed_bytes(&params, &header, &compressed),
                recode: recode_compressed,
            },
            Artefact {
                name: "model weights",
                kind: Kind::ModelWeights,
                bytes: model_weights_bytes(&weights).unwrap(),
                recode: recode_weights,
            },
            Artefact {
                name: "encrypted model",
                kind: Kind::EncryptedModel,
                bytes: model_bytes(&params, &model),
                recode: recode_model,
            },
        ];
        Self { params, program, spec, secret, keys, artefacts }
    }

    fn bytes(&self, kind: Kind) -> &Bytes {
        &self.artefacts.iter().find(|artefact| artefact.kind == kind).unwrap().bytes
    }
}

fn program(params: &CkksParams, ops: Vec<Op>) -> Program {
    let names = ops.iter().map(|op| op.name().to_owned()).collect();
    let output = ValueId(ops.len() - 1);
    Program::new(params, ops, names, output).unwrap()
}

fn every_operation(params: &CkksParams) -> Program {
    let two_to = Scale::power_of_two;
    let at = |value, weight_scale| Source { value: ValueId(value), weight_scale };
    let matrix = |columns, rows: &[Vec<(u32, i32)>]| IntegerMatrix::new(columns, rows).unwrap();
    let ratio = two_to(20).divide_by(params.primes()[2]);
    let diagonal =
        |row, column, rotation, weights: [f32; 4]| Diagonal { row, column, rotation, weights: weights.to_vec() };
    let matrix_of = |rows, columns, giants, diagonals| {
        SlotMatrix::new(Shape { rows, columns, period: 4, base: 2, giants }, diagonals).unwrap()
    };
    let slots = vec![diagonal(0, 0, 0, [0.0, 1.5, 0.0, -2.0]), diagonal(0, 0, 3, [0.25; 4])];
    let slots = matrix_of(1, 1, Giants::Separate, slots);
    let turned = vec![diagonal(0, 0, 3, [0.5; 4]), diagonal(0, 1, 0, [0.0; 4]), diagonal(1, 1, 2, [1.0; 4])];
    let turned = matrix_of(2, 2, Giants::Chained, turned);
    let program = program(
        params,
        vec![
            Op::Input { features: 2, level: Level(2), scale: two_to(20) },
            Op::Linear {
                sources: vec![at(0, two_to(0))],
                matrix: matrix(2, &[vec![(0, 7), (1, -3)], vec![], vec![(1, 1)]]),
                bias: vec![0.5, -0.25, 1e-9],
            },
            Op::Square { source: ValueId(1) },
            Op::Relinearize { source: ValueId(2) },
            Op::Rescale { source: ValueId(3) },
            Op::Multiply { left: ValueId(1), right: ValueId(1) },
            Op::RelinearizeRescale { source: ValueId(5) },
            Op::DropTo { source: ValueId(1), level: Level(1) },
            Op::Linear {
                sources: vec![at(4, two_to(0)), at(6, two_to(0)), at(7, ratio)],
                matrix: matrix(9, &[vec![(0, 1), (4, -1), (8, 70_000)]]),
                bias: vec![-1.0],
            },
            Op::SlotMatrix { source: ValueId(8), matrix: slots, weight_scale: two_to(10), rescale: true },
            Op::Fold { source: ValueId(9), steps: vec![vec![1, 2], vec![2]] },
            Op::AddSlots { source: ValueId(10), values: vec![0.5, -0.0] },
            Op::Rotate { source: ValueId(11), rotations: vec![0, 3], base: 2 },
            Op::SlotMatrix { source: ValueId(12), matrix: turned, weight_scale: two_to(1), rescale: false },
            Op::Model { features: 2, level: Level(0), scale: two_to(12), period: 4 },
            Op::Multiply { left: ValueId(13), right: ValueId(14) },
            Op::Relinearize { source: ValueId(15) },
        ],
    );
    program.with_compression(Compression { slots: 4, bits: 11 }).unwrap().with_capacity(2)
}

#[test]
fn artefacts_round_trip_bit_for_bit() {
    for party in &*PARTIES {
        for Artefact { name, bytes, recode, .. } in &party.artefacts {
            assert_eq!(recode(bytes, &party.params).unwrap(), *bytes, "{name}");
        }
        let bytes = party.bytes(Kind::Program);
        assert_eq!(read_program(&**bytes).unwrap(), (party.program.clone(), true));
        assert_eq!(program_id(bytes), party.spec.program);
        let spec = read_client_spec(&**party.bytes(Kind::ClientSpec), Security::Waived).unwrap();
        assert_eq!(spec, (party.spec.clone(), party.params.clone()));
    }
}

#[test]
fn sizes_are_as_announced() {
    for party in &*PARTIES {
        let params = &party.params;
        let bytes_each: [fn(&CkksParams, Level, &Scale) -> u64; 2] =
            [request_ciphertext_bytes, response_ciphertext_bytes];
        for (kind, bytes_each) in [Kind::Request, Kind::Response].into_iter().zip(bytes_each) {
            let bytes = party.bytes(kind);
            let (header, ciphertexts) = read_batches(&**bytes, kind, params).unwrap();
            assert_eq!((header.batches, header.ciphertexts, ciphertexts.len()), (2, 2, 4));
            assert_eq!([0, 1].map(|batch| header.samples_in(batch, params.slots())), [params.slots(), 1]);
            let each = bytes_each(params, ciphertexts[0].level(), ciphertexts[0].scale());
            let mut writer = Writer::new(Vec::new());
            write_batch_header(&mut writer, kind, params, &header, each).unwrap();
            assert_eq!(writer.written() + 4 * each, bytes.len() as u64, "{kind}");
            assert_eq!(writer.into_inner(), bytes[..PREAMBLE + 48], "{kind}");
        }
        let bytes = &party.artefacts[4].bytes;
        for ciphertext in read_compressed(&**bytes, params).unwrap().1 {
            let each = scheme::compressed_ciphertext_bytes(&ciphertext);
            assert_eq!(PREAMBLE as u64 + 48 + 4 * each, bytes.len() as u64);
        }
        let plain = program(params, party.program.ops().to_vec());
        let output = plain.output_type();
        assert_eq!(result_bytes(&plain), response_ciphertext_bytes(params, output.level, &output.scale));
        let mut rng = ChaCha20Rng::from_seed([5; 32]);
        let message = Encoder::new(params).encode(&[], &output.scale).unwrap();
        let result = Encryptor::symmetric(&party.secret).encrypt(&message, output.level, &mut rng).unwrap();
        let Compression { slots, bits } = party.program.compression().unwrap();
        let result = CompressedCiphertext::new(&result, slots, bits).unwrap();
        assert_eq!(result_bytes(&party.program), scheme::compressed_ciphertext_bytes(&result));
    }
}

/// What of a random operation is tried: an operation's kind, its operands, and where to take numbers from.
type Choice = (u8, [Index; 3], u64);

/// The program of those operations that are possible where they stand.
fn arbitrary_program(params: &CkksParams, features: usize, level: u8, twos: i32, choices: &[Choice]) -> Program {
    let mut ops = vec![Op::Input { features, level: Level(level), scale: Scale::power_of_two(twos) }];
    let mut found = program(params, ops.clone());
    for (kind, operands, seed) in choices {
        let [left, middle, right] = operands.map(|operand| ValueId(operand.index(ops.len())));
        let op = match kind {
            0 => Op::Square { source: left },
            1 => Op::Multiply { left, right },
            2 => Op::Relinearize { source: left },
            3 => Op::Rescale { source: left },
            4 => Op::RelinearizeRescale { source: left },
            5 => Op::DropTo { source: left, level: Level((seed % 3) as u8) },
            sources @ 6..=8 => arbitrary_linear(&found, &[left, middle, right][..usize::from(sources - 5)], *seed),
            _ => arbitrary_slots(left, *seed),
        };
        ops.push(op);
        let names = vec![String::new(); ops.len()];
        match Program::new(params, ops.clone(), names, ValueId(ops.len() - 1)) {
            Ok(program) => found = program,
            Err(_) => _ = ops.pop(),
        }
    }
    found
}

fn arbitrary_linear(program: &Program, sources: &[ValueId], seed: u64) -> Op {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut random = || rng.next_u64();
    let types = program.types();
    let first = &types[sources[0].0].scale;
    let prime = program.params().primes()[(random() % 3) as usize];
    let mut weight_scale = Scale::power_of_two((random() % 40) as i32 - 20);
    if random().is_multiple_of(2) {
        weight_scale = weight_scale.divide_by(prime);
    }
    let result = first.mul(&weight_scale);
    let source = |value: &ValueId| Source { value: *value, weight_scale: result.ratio(&types[value.0].scale) };
    let columns = sources.iter().map(|value| types[value.0].features).sum();
    let (rows, bits) = (random() % 4, random() % 26);
    let mut row = |_| -> Vec<(u32, i32)> {
        let kept: Vec<u32> = (0..columns as u32).filter(|_| random() % 3 != 0).collect();
        kept.into_iter().map(|column| (column, ((random() as i64) >> (63 - bits)) as i32)).collect()
    };
    // The norm of a row has a limit.
    let rows: Vec<Vec<(u32, i32)>> = (0..rows).map(&mut row).collect();
    let matrix = IntegerMatrix::new(columns, &rows).or_else(|_| IntegerMatrix::new(columns, &vec![vec![]; rows.len()]));
    let bias = rows.iter().map(|_| (random() as i64 as f64) * (-((random() % 1000) as f64)).exp2()).collect();
    Op::Linear { sources: sources.iter().map(source).collect(), matrix: matrix.unwrap(), bias }
}

/// An operation on slots, of which the toy rings have at most sixteen.
fn arbitrary_slots(source: ValueId, seed: u64) -> Op {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut random = |below: u64| (rng.next_u64() % below) as usize;
    let period = 1 << random(5);
    match random(5) {
        0 => {
            let (rows, columns) = (1 + random(2), 1 + random(2));
            let places: Vec<(usize, usize, usize)> = (0..rows)
                .flat_map(|row| (0..columns).flat_map(move |column| (0..period).map(move |r| (row, column, r))))
                .collect();
            let places: Vec<_> = places.into_iter().filter(|_| random(3) == 0).collect();
            let mut weights = || (0..period).map(|_| [0.0, -0.0, 1.5, -1e-3, 7e5][random(5)]).collect();
            let diagonal = |(row, column, rotation)| Diagonal { row, column, rotation, weights: weights() };
            let diagonals: Vec<Diagonal> = places.into_iter().map(diagonal).collect();
            let giants = [Giants::Separate, Giants::Chained][random(2)];
            match SlotMatrix::new(Shape { rows, columns, period, base: 1 << random(5), giants }, diagonals) {
                Ok(matrix) => Op::SlotMatrix {
                    source,
                    matrix,
                    weight_scale: Scale::power_of_two(random(15) as i32 - 5),
                    rescale: random(2) == 0,
                },
                Err(_) => Op::Fold { source, steps: vec![] },
            }
        }
        1 => {
            let mut step = || (1..period).step_by(1 + random(period as u64 - 1)).take(1 + random(3)).collect();
            Op::Fold { source, steps: (0..period.ilog2()).map(|_| step()).collect() }
        }
        2 => {
            let rotations = (0..period).filter(|_| random(3) == 0).collect();
            Op::Rotate { source, rotations, base: 1 << random(5) }
        }
        3 => Op::Model {
            features: random(3),
            level: Level(random(3) as u8),
            scale: Scale::power_of_two(random(40) as i32),
            period,
        },
        _ => Op::AddSlots { source, values: (0..period).map(|_| random(1000) as f64 / 8.0 - 60.0).collect() },
    }
}

fn program_strategy() -> impl Strategy<Value = Program> {
    let features = prop_oneof![Just(1usize), 0usize..5];
    let shape = (0usize..2, features, 0u8..3, -30i32..60);
    let choices = vec((0u8..12, any::<[Index; 3]>(), any::<u64>()), 0..12);
    let ending = (any::<Index>(), any::<Index>(), proptest::option::of((0u32..5, 2u32..46)));
    (shape, choices, vec(any::<String>(), 13), ending).prop_map(
        |((ring, features, level, twos), choices, mut names, (output, capacity, compression))| {
            let program = arbitrary_program(&PARTIES[ring].params, features, level, twos, &choices);
            let ops = program.ops().to_vec();
            names.truncate(ops.len());
            let output = ValueId(output.index(ops.len()));
            let slots = program.params().slots();
            let program = Program::new(program.params(), ops, names, output).unwrap();
            let program = program.with_capacity(1 + capacity.index(slots));
            match compression {
                Some((log_slots, bits)) => {
                    let compression = Compression { slots: 1 << log_slots, bits };
                    program.clone().with_compression(compression).unwrap_or(program)
                }
                None => program,
            }
        },
    )
}

fn scale_strategy() -> impl Strategy<Value = Scale> {
    let exponent = || -(1i32 << 20)..=1 << 20;
    let factors = proptest::collection::btree_map((1u64..1 << 49).prop_map(|k| 2 * k + 1), exponent(), 0..4);
    (exponent(), factors).prop_map(|(twos, factors)| {
        let factors = factors.into_iter().filter(|(_, exponent)| *exponent != 0).collect();
        Scale::from_parts(twos, factors).unwrap()
    })
}

fn finite() -> impl Strategy<Value = f64> {
    any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |value| value.is_finite())
}

fn shape() -> impl Strategy<Value = Vec<usize>> {
    vec(1usize..7, 0..4)
}

/// Shapes and a packing of samples of these shapes into at most eight slots.
fn packing_strategy() -> impl Strategy<Value = (Vec<usize>, Vec<usize>, Packing)> {
    let slots = (0u32..3, 0u32..4, vec(proptest::option::of(any::<Index>()), 8..10), any::<Index>(), any::<bool>());
    (shape(), shape(), proptest::option::of(slots)).prop_map(|(input_shape, output_shape, slots)| {
        let Some((log_batch, log_period, features, output, compressed)) = slots else {
            return (input_shape, output_shape, Packing::SampleInSlot);
        };
        let (batch, period, inputs) = (1 << log_batch, 1 << log_period, 1 + features.len() % 2);
        let elements = |shape: &[usize]| shape.iter().product::<usize>() * batch;
        let (slots, numbers) = (inputs * period, elements(&output_shape));
        let mut features: Vec<_> = features.iter().copied().cycle().take(slots).collect();
        features.rotate_left(output.index(slots));
        let feature = |index: Option<Index>| index.map(|index| index.index(elements(&input_shape)) as u32);
        let input = features.into_iter().map(feature).collect();
        let results = 1 + output.index(numbers);
        let place = |at: usize| ((at % results) as u32, ((at + output.index(period)) % period) as u32);
        let outputs = (0..numbers).map(place).collect();
        (input_shape, output_shape, Packing::SampleInSlots { batch, inputs, input, results, outputs, compressed })
    })
}

fn keys_strategy() -> impl Strategy<Value = EvaluationKeySpec> {
    let level = || (0u8..2).prop_map(Level);
    let rotations = proptest::collection::btree_map(1usize..8, level(), 0..4);
    (proptest::option::of(level()), rotations).prop_map(|(relinearization, rotations)| EvaluationKeySpec {
        relinearization,
        rotations,
        conjugation: None,
    })
}

fn client_spec_strategy() -> impl Strategy<Value = ClientSpec> {
    let numbers = [(); 7].map(|()| finite());
    let secure = (any::<bool>(), 0usize..2, 0u8..2);
    let identity = (any::<String>(), any::<[u8; 32]>());
    (identity, secure, packing_strategy(), numbers, scale_strategy(), keys_strategy()).prop_map(
        |((name, program), (insecure, ring, level), (input_shape, output_shape, packing), numbers, scale, keys)| {
            let toy = PARTIES[ring].spec.parameters.clone();
            let secure = CkksSpec { log_degree: 11, prime_bits: vec![28, 24], special_bits: vec![], ..toy.clone() };
            let [factor, offset, one, other, error_bound, error_bound_public_key, output_limit] = numbers;
            ClientSpec {
                name,
                program: ProgramId(program),
                parameters: if insecure { toy } else { secure },
                insecure,
                input_shape,
                output_shape,
                input: InputEncoding {
                    scale: if factor == 0.0 { 1.0 } else { factor },
                    offset,
                    low: one.min(other),
                    high: one.max(other),
                },
                level: Level(level),
                scale,
                keys,
                packing,
                error_bound: error_bound.abs(),
                error_bound_public_key: error_bound_public_key.abs(),
                output_limit: output_limit.abs(),
            }
        },
    )
}

fn batch_header_strategy() -> impl Strategy<Value = (usize, Kind, BatchHeader, u64)> {
    let kind = prop_oneof![Just(Kind::Request), Just(Kind::Response)];
    let samples = prop_oneof![0u64..100, 0..=(MAX_BATCHES as u64 * 8)];
    let ciphertexts = prop_oneof![0usize..9, 0..=MAX_FEATURES];
    (0usize..2, kind, any::<[u8; 32]>(), samples, ciphertexts, 0u64..1000).prop_map(
        |(ring, kind, program, samples, ciphertexts, more)| {
            let params = &PARTIES[ring].params;
            let header = BatchHeader::new(ProgramId(program), samples, params.slots(), ciphertexts);
            let least = response_ciphertext_bytes(params, Level(0), &Scale::power_of_two(0));
            (ring, kind, header, least + more)
        },
    )
}

/// A change that keeps most of the bytes.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Insert(Index, Bytes),
    Remove(Index, usize),
    Repeat(Index, usize),
}

impl Change {
    fn strategy() -> impl Strategy<Value = Self> {
        prop_oneof![
            4 => (any::<Index>(), 1u8..).prop_map(|(at, bits)| Self::Flip(at, bits)),
            1 => (any::<Index>(), vec(any::<u8>(), 1..5)).prop_map(|(at, bytes)| Self::Insert(at, bytes)),
            1 => (any::<Index>(), 1usize..20).prop_map(|(at, length)| Self::Remove(at, length)),
            1 => (any::<Index>(), 1usize..20).prop_map(|(at, length)| Self::Repeat(at, length)),
        ]
    }

    fn apply(&self, bytes: &mut Bytes) {
        let (Self::Flip(at, _) | Self::Insert(at, _) | Self::Remove(at, _) | Self::Repeat(at, _)) = self;
        let at = at.index(bytes.len());
        match self {
            Self::Flip(_, bits) => bytes[at] ^= bits,
            Self::Insert(_, new) => _ = bytes.splice(at..at, new.iter().copied()),
            Self::Remove(_, length) => _ = bytes.drain(at..(at + length).min(bytes.len())),
            Self::Repeat(_, length) => {
                let copy = bytes[at..(at + length).min(bytes.len())].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
}

/// Checks that whatever is accepted is what its re-encoding says: nothing in the bytes is ignored, but for the ways to
/// spell JSON.
fn check_accepted(kind: Kind, bytes: &[u8], again: &[u8]) -> Result<(), TestCaseError> {
    match kind {
        Kind::Program => {
            let ((json, end), (json_again, end_again)) = (program_json(bytes), program_json(again));
            let value = |json| serde_json::from_slice::<Value>(json).unwrap();
            prop_assert_eq!(value(json), value(json_again));
            prop_assert_eq!(&bytes[end..], &again[end_again..]);
        }
        Kind::ClientSpec => prop_assert_eq!(
            read_client_spec(bytes, Security::Waived).unwrap(),
            read_client_spec(again, Security::Waived).unwrap()
        ),
        _ => prop_assert_eq!(bytes, again),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn programs_round_trip(program in program_strategy()) {
        let (bytes, id) = program_bytes(&program, true).unwrap();
        prop_assert_eq!(id, program_id(&bytes));
        let (found, insecure) = read_program(&*bytes).unwrap();
        prop_assert!(insecure);
        prop_assert_eq!(&found, &program);
        prop_assert_eq!(program_bytes(&found, true).unwrap(), (bytes, id));
    }

    /// Whatever passes the verifier runs, and has the results that its types say.
    #[test]
    fn programs_that_are_read_can_be_run(program in program_strategy()) {
        let (program, _) = read_program(&*program_bytes(&program, true).unwrap().0).unwrap();
        let party = PARTIES.iter().find(|party| party.params == *program.params()).unwrap();
        let (input, output) = (program.input_type(), program.output_type());
        let message = Encoder::new(&party.params).encode(&[], &input.scale).unwrap();
        let mut rng = ChaCha20Rng::from_seed([4; 32]);
        let fresh = Encryptor::symmetric(&party.secret).encrypt(&message, input.level, &mut rng).unwrap();
        let executor = match Executor::new(program.clone(), 1, DEFAULT_WEIGHT_BYTES) {
            // How large a vector of slots comes out is known when it is encoded.
            Err(ExecuteError::Eval(EvalError::TooLarge { .. })) => return Ok(()),
            executor => executor.unwrap(),
        };
        let zero = Encoder::new(program.params()).encode(&[], &Scale::power_of_two(0)).unwrap();
        let weights = program.model().map(|(array, _)| {
            let encrypted = Encryptor::symmetric(&party.secret).encrypt(&zero, array.level, &mut rng).unwrap();
            let components = encrypted.components().to_vec();
            let scaled = Ciphertext::from_components(program.params(), array.level, array.scale.clone(), components).unwrap();
            vec![scaled; array.features]
        });
        let weights: Vec<Vec<Ciphertext>> = weights.collect();
        let batch = vec![fresh; input.features];
        let results = executor.run_with_model(batch, &weights, &party.keys, &|_| {}).unwrap();
        prop_assert_eq!(results.len(), output.features);
        for result in results {
            let found = (result.level(), result.scale(), result.components().len());
            prop_assert_eq!(found, (output.level, &output.scale, output.components));
        }
        let slots = vec![0.5; input.features * program.period()];
        let model: Vec<Vec<f64>> =
            program.model().map(|(array, period)| vec![0.25; array.features * period]).collect();
        let outputs = output.features * program.period();
        prop_assert_eq!(program.evaluate_all(&slots, &model)[program.output().0].len(), outputs);
        prop_assert_eq!(program.output_bounds(&slots, &model, 0..outputs).len(), outputs);
    }

    #[test]
    fn client_specifications_round_trip(spec in client_spec_strategy()) {
        let params = spec.params().unwrap();
        let bytes = client_spec_bytes(&spec, &params).unwrap();
        let (found, found_params) = read_client_spec(&*bytes, Security::Waived).unwrap();
        prop_assert_eq!(&found, &spec);
        prop_assert_eq!(client_spec_bytes(&found, &found_params).unwrap(), bytes);
        prop_assert_eq!(found_params, params);
    }

    #[test]
    fn batch_headers_round_trip((ring, kind, header, each) in batch_header_strategy()) {
        let params = &PARTIES[ring].params;
        let mut writer = Writer::new(Vec::new());
        write_batch_header(&mut writer, kind, params, &header, each).unwrap();
        let bytes = writer.into_inner();
        let (found, reader) = read_batch_header(&*bytes, kind, params, params.slots()).unwrap();
        prop_assert_eq!(found, header);
        prop_assert_eq!(reader.left(), header.batches as u64 * header.ciphertexts as u64 * each);
        if header.batches > 0 {
            let slots = params.slots();
            prop_assert!((0..header.batches - 1).all(|batch| header.samples_in(batch, slots) == slots));
            let last = header.samples_in(header.batches - 1, slots);
            prop_assert!(last > 0);
            prop_assert_eq!(((header.batches - 1) * slots + last) as u64, header.samples);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn mutations_never_panic_and_nothing_is_ignored(
        ring in 0usize..2,
        which in 0usize..5,
        changes in vec(Change::strategy(), 1..4),
        right_length in any::<bool>(),
    ) {
        let party = &PARTIES[ring];
        let Artefact { kind, bytes, recode, .. } = &party.artefacts[which];
        let mut mutated = bytes.clone();
        changes.iter().for_each(|change| change.apply(&mut mutated));
        if right_length && mutated.len() as u64 >= HEADER_BYTES {
            mutated = with_length(mutated);
        }
        if let Ok(again) = recode(&mutated, &party.params) {
            check_accepted(*kind, &mutated, &again)?;
        }
    }

    /// Of any bytes at all few get beyond the header.
    #[test]
    fn arbitrary_bodies_never_panic(ring in 0usize..2, body in vec(any::<u8>(), 0..300)) {
        let Party { params, artefacts, .. } = &PARTIES[ring];
        for Artefact { kind, bytes, recode, .. } in artefacts {
            let head = match kind {
                Kind::Program => program_json(bytes).1,
                _ => PREAMBLE,
            };
            for bytes in [body.clone(), with_length([&bytes[..head], &body].concat())] {
                if let Ok(again) = recode(&bytes, params) {
                    check_accepted(*kind, &bytes, &again)?;
                }
            }
        }
    }
}

#[test]
fn every_truncation_is_found() {
    for party in &*PARTIES {
        for Artefact { name, kind, bytes, recode } in &party.artefacts {
            for length in 0..bytes.len() {
                let found = recode(&bytes[..length], &party.params);
                assert!(matches!(found, Err(DecodeError::Truncated { .. })), "{name} of {length} bytes: {found:?}");
                if length < HEADER_BYTES as usize {
                    continue;
                }
                // The same with a header that admits it.
                let shorter = with_length(bytes[..length].to_vec());
                match (kind, recode(&shorter, &party.params)) {
                    (_, Err(DecodeError::Truncated { .. })) => {}
                    (Kind::ClientSpec, Err(DecodeError::Text { .. })) => {}
                    // The line break at the end.
                    (Kind::ClientSpec, Ok(again)) if length == bytes.len() - 1 => assert_eq!(again, *bytes),
                    (_, found) => panic!("{name} of {length} bytes: {found:?}"),
                }
            }
        }
    }
}

#[test]
fn what_comes_after_the_end_is_found() {
    for party in &*PARTIES {
        for Artefact { name, kind, bytes, recode } in &party.artefacts {
            let longer = [bytes, &[0][..]].concat();
            let found = recode(&longer, &party.params).unwrap_err();
            assert!(matches!(found, DecodeError::Continues), "{name}: {found}");
            let found = recode(&with_length(longer), &party.params).unwrap_err();
            match kind {
                Kind::ClientSpec => assert!(matches!(found, DecodeError::Text { .. }), "{name}: {found}"),
                _ => assert!(matches!(found, DecodeError::Trailing(1)), "{name}: {found}"),
            }
        }
    }
}

#[test]
fn headers_are_checked() {
    for party in &*PARTIES {
        for Artefact { name, kind, bytes, recode } in &party.artefacts {
            let with = |at: usize, value: u8| {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                recode(&bytes, &party.params).unwrap_err()
            };
            assert!(matches!(with(0, b'P'), DecodeError::BadMagic { found: [b'P', b'L', b'O', b'M'] }), "{name}");
            for number in [0u8, 254, 255] {
                let found = with(4, number);
                assert!(matches!(found, DecodeError::UnknownKind { found } if u16::from(number) == found), "{name}");
            }
            for other in Kind::ALL.into_iter().filter(|other| other != kind) {
                match with(4, other as u8) {
                    DecodeError::WrongKind { found, wanted } => assert_eq!((found, wanted), (other, *kind)),
                    found => panic!("{name} as {other}: {found}"),
                }
            }
            let newest = newest_version(*kind);
            for version in [0, newest as u8 + 1, 255] {
                let found = with(6, version);
                let expected = (*kind, version.into(), newest);
                assert!(
                    matches!(found, DecodeError::UnknownVersion { kind, found, newest } if (kind, found, newest) == expected),
                    "{name}: {found}"
                );
            }
            for (at, byte) in bytes[..PREAMBLE].iter().enumerate().skip(16) {
                let found = with(at, byte ^ 1);
                assert!(matches!(found, DecodeError::ParamsMismatch { .. }), "{name}: {found}");
            }
            let limit = match kind {
                Kind::Program | Kind::ModelWeights => MAX_PROGRAM_BYTES,
                Kind::ClientSpec => 1 << 20,
                _ => continue,
            };
            let with_length = |length: u64| {
                let mut bytes = bytes.clone();
                bytes[8..16].copy_from_slice(&length.to_le_bytes());
                recode(&bytes, &party.params).unwrap_err()
            };
            for length in [limit + 1, u64::MAX] {
                let found = with_length(length);
                let expected = ("length of the file", length, limit);
                assert!(
                    matches!(found, DecodeError::TooLarge { what, found, limit } if (what, found, limit) == expected),
                    "{name}: {found}"
                );
            }
            // What is claimed is not there.
            assert!(matches!(with_length(limit), DecodeError::Truncated { .. } | DecodeError::Trailing(_)), "{name}");
        }
    }
}

#[test]
fn files_of_other_parameters_are_refused() {
    let party = &PARTIES[0];
    let spec = party.params.spec();
    let others = [
        CkksSpec { ring: Ring::ConjugateInvariant, ..spec.clone() },
        CkksSpec { log_degree: 5, ..spec.clone() },
        CkksSpec { prime_bits: vec![40, 33, 31], ..spec.clone() },
        CkksSpec { special_bits: vec![42], ..spec.clone() },
    ];
    for other in others.map(|spec| spec.validate_insecure().unwrap()) {
        let mismatch =
            |what: &str, found: Result<Bytes, DecodeError>, in_file: &CkksParams, in_use: &CkksParams| match found {
                Err(DecodeError::ParamsMismatch { found, wanted }) => {
                    assert_eq!((found, wanted), (in_file.id().to_string(), in_use.id().to_string()), "{what}");
                }
                found => panic!("{what}: {found:?}"),
            };
        let without = |kind: &Kind| matches!(kind, Kind::Request | Kind::Response | Kind::EncryptedModel);
        for Artefact { name, bytes, recode, .. } in party.artefacts.iter().filter(|a| without(&a.kind)) {
            mismatch(name, recode(bytes, &other), &party.params, &other);
        }
        // Programs and client specifications carry their parameters, which the identifier must be that of.
        let bytes = party.bytes(Kind::Program);
        let other_program = program_bytes(&every_operation(&other), true).unwrap().0;
        let (json, end) = program_json(bytes);
        let (other_json, _) = program_json(&other_program);
        let found = recode_program(&program_of(party.params.id(), other_json, &bytes[end..]), &party.params);
        mismatch("program", found, &party.params, &other);
        let found = recode_program(&program_of(other.id(), json, &bytes[end..]), &party.params);
        mismatch("program", found, &other, &party.params);
        let other_spec = ClientSpec { parameters: other.spec().clone(), ..party.spec.clone() };
        // A writer that is given other parameters than the specification's makes such a file.
        let bytes = client_spec_bytes(&other_spec, &party.params).unwrap();
        mismatch("client specification", recode_client_spec(&bytes, &party.params), &party.params, &other);
    }
}

/// Replaces the value at a JSON pointer, or adds a member to the object there.
fn edited(json: &[u8], pointer: &str, replacement: Value) -> Bytes {
    let mut value: Value = serde_json::from_slice(json).unwrap();
    match value.pointer_mut(pointer) {
        Some(target) => *target = replacement,
        None => {
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            value.pointer_mut(parent).unwrap()[member] = replacement;
        }
    }
    serde_json::to_vec(&value).unwrap()
}

#[test]
fn bad_parameters_are_named() {
    let party = &PARTIES[0];
    let (json, end) = program_json(party.bytes(Kind::Program));
    let rest = &party.bytes(Kind::Program)[end..];
    let client = &party.bytes(Kind::ClientSpec)[PREAMBLE..];
    let edits = [
        ("/log_degree", Value::from(3)),
        ("/log_degree", Value::from(18)),
        ("/log_degree", Value::from(-4)),
        ("/log_degree", Value::from(4.5)),
        ("/log_degree", Value::from(u64::MAX)),
        ("/prime_bits", Value::from(Vec::<u32>::new())),
        ("/prime_bits", Value::from(vec![30; 65])),
        ("/prime_bits/1", Value::from(51)),
        ("/prime_bits/1", Value::from(19)),
        ("/special_bits", Value::from(vec![20])),
        ("/special_bits", Value::Null),
        ("/ring", Value::from("Standard")),
        ("/ring", Value::Null),
        ("/insecure_below_128_bits", Value::from(false)),
        ("/insecure_below_128_bits", Value::from(1)),
        ("/hash", Value::from("sha1")),
    ];
    for (pointer, replacement) in edits {
        let bytes = program_of(party.params.id(), &edited(json, pointer, replacement.clone()), rest);
        let found = read_program(&*bytes).unwrap_err();
        assert!(matches!(found, DecodeError::Text { what: "parameters", .. }), "{pointer} {replacement}: {found}");
        let json = edited(client, &format!("/parameters{pointer}"), replacement.clone());
        let found = read_client_spec(&*client_spec_of(party.params.id(), &json), Security::Waived).unwrap_err();
        let expected = matches!(found, DecodeError::Text { what: "parameters" | "client specification", .. });
        assert!(expected, "{pointer} {replacement}: {found}");
    }
    for json in [&b""[..], b"{}", b"[]", b"{\"ring\":\"standard\"}", b"\xff", &[json, b","].concat(), &[b'['; 5000]] {
        let found = read_program(&*program_of(party.params.id(), json, rest)).unwrap_err();
        assert!(matches!(found, DecodeError::Text { what: "parameters", .. }), "{found}");
        let found = read_client_spec(&*client_spec_of(party.params.id(), json), Security::Waived).unwrap_err();
        assert!(matches!(found, DecodeError::Text { what: "client specification", .. }), "{found}");
    }
    let found = read_program(&*program_of(party.params.id(), &vec![b' '; (1 << 20) + 1], rest)).unwrap_err();
    assert!(matches!(found, DecodeError::TooLarge { what: "parameters", .. }), "{found}");
}

#[test]
fn parameters_below_128_bits_are_refused_unless_waived() {
    for party in &*PARTIES {
        let found = read_client_spec(&**party.bytes(Kind::ClientSpec), Security::Required).unwrap_err();
        assert!(matches!(found, DecodeError::Insecure), "{found}");
    }
}

#[test]
fn bad_client_specifications_are_named() {
    let party = &PARTIES[1];
    let json = &party.bytes(Kind::ClientSpec)[PREAMBLE..];
    let read = |json: &[u8]| read_client_spec(&*client_spec_of(party.params.id(), json), Security::Waived);
    let digits = |text: &str| Value::from(text.repeat(32));
    let edits = [
        ("/program", Value::from("")),
        ("/program", Value::from("0".repeat(63))),
        ("/program", Value::from("0".repeat(65))),
        ("/program", digits("0g")),
        ("/program", digits("é")),
        ("/program", Value::from(0)),
        ("/name", Value::Null),
        ("/input_shape", Value::from(vec![0])),
        ("/input_shape", Value::from(vec![1 << 10, 1 << 11])),
        ("/input_shape", Value::from(vec![1u64 << 63, 2])),
        ("/input_shape/0", Value::from(-1)),
        ("/output_shape", Value::from(vec![MAX_FEATURES + 1])),
        ("/output_shape", Value::from(vec![2, 0])),
        ("/scale/log2", Value::from((1 << 20) + 1)),
        ("/scale/log2", Value::from(i32::MIN)),
        ("/scale/log2", Value::from(0.5)),
        ("/scale/factors/0/0", Value::from(4)),
        ("/scale/factors/0/0", Value::from(1)),
        ("/scale/factors/0/0", Value::from(1u64 << 50 | 1)),
        ("/scale/factors/0/1", Value::from(0)),
        ("/scale/factors", serde_json::json!([[3, 1], [3, 1]])),
        ("/scale/factors", serde_json::json!([[5, 1], [3, 1]])),
        ("/scale/factors", serde_json::json!([[5, 1, 1]])),
        ("/level", Value::from(256)),
        ("/level", Value::from(-1)),
        ("/input/scale", Value::Null),
        ("/input/low", Value::from("0")),
        ("/input/middle", Value::from(0)),
        ("/input/scale", Value::from(0)),
        ("/input/high", Value::from(-1)),
        ("/error_bound", Value::from(-1)),
        ("/error_bound_public_key", Value::from(-1)),
        ("/output_limit", Value::from(-1)),
        ("/keys", Value::Null),
        ("/keys/relinearization", Value::from(3)),
        ("/keys/conjugation", Value::from(1)),
        ("/keys/rotations/0/0", Value::from(0)),
        ("/keys/rotations/0/0", Value::from(16)),
        ("/keys/rotations/0/1", Value::from(3)),
        ("/packing/kind", Value::from("other")),
        ("/packing/batch", Value::from(0)),
        ("/packing/batch", Value::from(3)),
        ("/packing/batch", Value::from(u32::MAX)),
        ("/packing/period", Value::from(0)),
        ("/packing/period", Value::from(2)),
        ("/packing/period", Value::from(3)),
        ("/packing/period", Value::from(32)),
        ("/packing/period", Value::from(1 << 18)),
        ("/packing/inputs", Value::from(0)),
        ("/packing/inputs", Value::from(u32::MAX)),
        ("/packing/results", Value::from(0)),
        ("/packing/results", Value::from(3)),
        ("/packing/outputs", Value::from(vec![vec![0, 0]])),
        ("/packing/outputs", Value::from(vec![vec![0, 0], vec![0, 1], vec![0, 2]])),
        ("/packing/outputs/0/0", Value::from(1)),
        ("/packing/outputs/0/1", Value::from(16)),
        ("/packing/outputs/0/1", Value::from(1 << 17)),
        ("/packing/input/0/0", Value::from(3)),
        ("/packing/input/0/0", Value::from(u32::MAX)),
        ("/packing/input/0/1", Value::from(3)),
        ("/packing/input/0/2", Value::from(-1)),
        ("/packing/input/0/2", Value::from(i32::MAX)),
        ("/packing/input/0/3", Value::from(5)),
        ("/packing/input/0/3", Value::from(u32::MAX)),
        ("/packing/compressed", Value::from(0)),
        ("/weights", Value::from(1)),
    ];
    for (pointer, replacement) in edits {
        let found = read(&edited(json, pointer, replacement.clone())).unwrap_err();
        let expected = matches!(found, DecodeError::Text { what: "client specification", .. });
        assert!(expected, "{pointer} {replacement}: {found}");
    }
    for level in [3, 255] {
        let found = read(&edited(json, "/level", Value::from(level))).unwrap_err();
        assert!(matches!(found, DecodeError::TooLarge { what: "level", limit: 2, .. }), "{found}");
    }
    let text = String::from_utf8(json.to_vec()).unwrap();
    for (part, replacement) in [
        ("\"level\": 2", "\"level\": 2, \"level\": 2"),
        ("\"error_bound\": 0.125", "\"error_bound\": 1e999"),
        ("\"error_bound\": 0.125", "\"error_bound\": NaN"),
        ("every", "\\ud800"),
        ("every", "\n"),
    ] {
        assert!(text.contains(part));
        let found = read(text.replace(part, replacement).as_bytes()).unwrap_err();
        assert!(matches!(found, DecodeError::Text { what: "client specification", .. }), "{replacement}: {found}");
    }
}

/// Samples of a run, and how results are compressed.
fn write_end(writer: &mut Writer<Bytes>, capacity: u32, slots: u32, bits: u8) -> std::io::Result<()> {
    writer.u32(capacity)?;
    writer.u32(slots)?;
    writer.u8(bits)
}

/// Reads a program of toy parameters whose operations and output are these bytes.
fn read_ops(write: impl FnOnce(&mut Writer<Bytes>) -> std::io::Result<()>) -> DecodeError {
    let party = &PARTIES[0];
    let (json, _) = program_json(party.bytes(Kind::Program));
    let mut writer = Writer::new(Vec::new());
    write(&mut writer).unwrap();
    write_end(&mut writer, 1, 0, 0).unwrap();
    read_program(&*program_of(party.params.id(), json, &writer.into_inner())).unwrap_err()
}

/// Reads a program of an input of four features and one linear operation on it.
fn read_linear(columns: u32, rows: u32, entries: &[(f64, &[(u32, i32)])]) -> DecodeError {
    read_ops(|writer| {
        writer.u32(2)?;
        write_input(writer, 4, 2)?;
        writer.byte_string(b"linear")?;
        writer.u8(1)?;
        writer.u32(1)?;
        writer.u32(0)?;
        scheme::write_scale(writer, &Scale::power_of_two(0))?;
        writer.u32(columns)?;
        writer.u32(rows)?;
        for (bias, row) in entries {
            writer.bytes(&bias.to_le_bytes())?;
            writer.u32(row.len() as u32)?;
            for (column, weight) in *row {
                writer.u32(*column)?;
                writer.i32(*weight)?;
            }
        }
        writer.u32(1)
    })
}

fn write_input(writer: &mut Writer<Bytes>, features: u32, level: u8) -> std::io::Result<()> {
    writer.byte_string(b"input")?;
    writer.u8(0)?;
    writer.u32(features)?;
    writer.u8(level)?;
    scheme::write_scale(writer, &Scale::power_of_two(20))
}

#[test]
fn bad_operations_are_named() {
    let input_and = |code: &[u8], output: u32| {
        read_ops(|writer| {
            writer.u32(2)?;
            write_input(writer, 4, 2)?;
            writer.byte_string(b"next")?;
            writer.bytes(code)?;
            writer.u32(output)
        })
    };
    for code in [14u8, 255] {
        let found = input_and(&[code], 0);
        assert!(
            matches!(found, DecodeError::Value { what: "operation", found, .. } if u64::from(code) == found),
            "{found}"
        );
    }
    let ill_typed: [&[u8]; 6] = [
        // Of a later value, of two components, above the top, of another value.
        &[2, 1, 0, 0, 0],
        &[2, 255, 255, 255, 255],
        &[4, 0, 0, 0, 0],
        &[6, 0, 0, 0, 0],
        &[7, 0, 0, 0, 0, 3],
        &[3, 0, 0, 0, 0, 2, 0, 0, 0],
    ];
    for code in ill_typed {
        let found = input_and(code, 1);
        assert!(matches!(found, DecodeError::Text { what: "program", .. }), "{code:?}: {found}");
    }
    for output in [2, u32::MAX] {
        let found = input_and(&[5, 0, 0, 0, 0], output);
        assert!(matches!(found, DecodeError::Text { what: "program", .. }), "{found}");
    }
    let found = read_ops(|writer| writer.bytes(&[0; 8]));
    assert!(matches!(found, DecodeError::Text { what: "program", .. }), "{found}");

    let counted = |count: u32| {
        read_ops(|writer| {
            writer.u32(count)?;
            writer.bytes(&[0; 64])
        })
    };
    let found = counted((1 << 16) + 1);
    assert!(matches!(found, DecodeError::TooLarge { what: "operations", limit: 0x1_0000, .. }), "{found}");
    let found = counted(1 << 16);
    assert!(matches!(found, DecodeError::Truncated { .. }), "{found}");

    let named = |length: u32, name: &[u8]| {
        read_ops(|writer| {
            writer.u32(1)?;
            writer.u32(length)?;
            writer.bytes(name)?;
            writer.bytes(&[0; 64])
        })
    };
    let found = named(2, &[0xc3, 0x28]);
    assert!(matches!(found, DecodeError::Text { what: "name of an operation", .. }), "{found}");
    let found = named((1 << 20) + 1, &[]);
    assert!(matches!(found, DecodeError::TooLarge { what: "name", .. }), "{found}");
    let found = named(1 << 20, &[]);
    assert!(matches!(found, DecodeError::Truncated { .. }), "{found}");

    let input = |features, level| {
        read_ops(|writer| {
            writer.u32(1)?;
            write_input(writer, features, level)?;
            writer.u32(0)
        })
    };
    let found = input(MAX_FEATURES as u32 + 1, 0);
    assert!(matches!(found, DecodeError::TooLarge { what: "inputs", .. }), "{found}");
    for level in [3, 255] {
        let found = input(4, level);
        assert!(matches!(found, DecodeError::Text { what: "program", .. }), "{found}");
    }
}

#[test]
fn bad_capacities_and_compressions_are_named() {
    let party = &PARTIES[0];
    let (json, _) = program_json(party.bytes(Kind::Program));
    let read = |code: &[u8], capacity, slots, bits| {
        let mut writer = Writer::new(Vec::new());
        let write = |writer: &mut Writer<Bytes>| -> std::io::Result<()> {
            writer.u32(2)?;
            write_input(writer, 1, 2)?;
            writer.byte_string(b"last")?;
            writer.bytes(code)?;
            writer.u32(1)?;
            write_end(writer, capacity, slots, bits)
        };
        write(&mut writer).unwrap();
        read_program(&*program_of(party.params.id(), json, &writer.into_inner()))
    };
    let (drop, square) = ([7, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0]);
    let most = CompressedCiphertext::max_bits(&party.params) as u8;
    assert!(read(&drop, 8, 8, most).is_ok() && read(&square, 1, 0, 0).is_ok());
    // Eight slots are there.
    for capacity in [0, 9, u32::MAX] {
        let found = read(&drop, capacity, 0, 0).unwrap_err();
        assert!(matches!(found, DecodeError::Value { what: "samples of a run", .. }), "{capacity}: {found}");
    }
    for (slots, bits) in [(0, 20), (3, 20), (16, 20), (u32::MAX, 20), (8, 0), (8, 1), (8, most + 1), (8, 255)] {
        let found = read(&drop, 1, slots, bits).unwrap_err();
        assert!(matches!(found, DecodeError::Text { what: "program", .. }), "{slots}, {bits}: {found}");
    }
    // Three components.
    let found = read(&square, 1, 8, 20).unwrap_err();
    assert!(matches!(found, DecodeError::Text { what: "program", .. }), "{found}");
}

#[test]
fn bad_matrices_are_named() {
    for row in [&[(4, 1)][..], &[(1, 1), (1, 1)], &[(2, 1), (1, 1)], &[(0, 1), (u32::MAX, 1)]] {
        let found = read_linear(4, 1, &[(0.0, row)]);
        assert!(matches!(found, DecodeError::Value { what: "column", .. }), "{row:?}: {found}");
    }
    let found = read_linear(4, 1, &[(0.0, &[(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)])]);
    assert!(matches!(found, DecodeError::TooLarge { what: "entries", found: 5, limit: 4 }), "{found}");
    for row in [&[(0, i32::MIN)][..], &[(0, 1 << 27), (1, 1)]] {
        let found = read_linear(4, 1, &[(0.0, row)]);
        assert!(matches!(found, DecodeError::Text { what: "matrix", .. }), "{row:?}: {found}");
    }
    for bias in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let found = read_linear(4, 1, &[(bias, &[])]);
        assert!(matches!(found, DecodeError::Value { what: "bias", .. }), "{bias}: {found}");
    }
    let found = read_linear(4, 1, &[(f64::MAX, &[])]);
    assert!(matches!(found, DecodeError::Text { what: "program", .. }), "{found}");
    for columns in [3, 5] {
        let found = read_linear(columns, 1, &[(0.0, &[])]);
        assert!(matches!(found, DecodeError::Text { what: "program", .. }), "{columns}: {found}");
    }
    let limit = MAX_FEATURES as u32;
    let found = read_linear(limit + 1, 1, &[(0.0, &[])]);
    assert!(matches!(found, DecodeError::TooLarge { what: "columns", .. }), "{found}");
    let found = read_linear(4, limit + 1, &[(0.0, &[])]);
    assert!(matches!(found, DecodeError::TooLarge { what: "rows", .. }), "{found}");
    let found = read_linear(4, limit, &[(0.0, &[])]);
    assert!(matches!(found, DecodeError::Truncated { .. }), "{found}");
}

/// Reads a program of an input of one feature and an operation on its slots.
fn read_slots(write: impl FnOnce(&mut Writer<Bytes>) -> std::io::Result<()>) -> DecodeError {
    read_ops(|writer| {
        writer.u32(2)?;
        write_input(writer, 1, 2)?;
        writer.byte_string(b"slots")?;
        write(writer)?;
        writer.u32(1)
    })
}

/// Where a run of weights begins, and their bits.
type Run<'a> = (u32, &'a [u32]);
/// A rotation, and the runs of its weights.
type Runs<'a> = (u32, &'a [Run<'a>]);

/// The same for a matrix over slots of this period and base.
fn read_slot_matrix(period: u32, base: u32, diagonals: &[Runs<'_>]) -> DecodeError {
    read_slots(|writer| {
        writer.bytes(&[8, 0, 0, 0, 0])?;
        scheme::write_scale(writer, &Scale::power_of_two(4))?;
        writer.u8(0)?;
        [1, 1, period, base].into_iter().try_for_each(|value| writer.u32(value))?;
        writer.u8(0)?;
        writer.u32(diagonals.len() as u32)?;
        for (rotation, runs) in diagonals {
            [0, 0, *rotation].into_iter().try_for_each(|value| writer.u32(value))?;
            writer.u32(runs.len() as u32)?;
            for (start, weights) in *runs {
                writer.u32(*start)?;
                writer.u32(weights.len() as u32)?;
                weights.iter().try_for_each(|weight| writer.u32(*weight))?;
            }
        }
        Ok(())
    })
}

#[test]
fn bad_matrices_over_slots_are_named() {
    let one = 1f32.to_bits();
    let limit = 1 << 17;
    let found = read_slot_matrix(limit + 1, 1, &[]);
    assert!(matches!(found, DecodeError::TooLarge { what: "period", .. }), "{found}");
    let found = read_slot_matrix(4, limit + 1, &[]);
    assert!(matches!(found, DecodeError::TooLarge { what: "base", .. }), "{found}");
    let found = read_slot_matrix(1, 1, &[(0, &[]), (1, &[])]);
    assert!(matches!(found, DecodeError::TooLarge { what: "diagonals", found: 2, limit: 1 }), "{found}");
    let found = read_slot_matrix(1, 1, &[(0, &[(0, &[one]), (0, &[one])])]);
    assert!(matches!(found, DecodeError::TooLarge { what: "runs of weights", found: 2, limit: 1 }), "{found}");
    let found = read_slot_matrix(1, 1, &[(0, &[(0, &[one, one])])]);
    assert!(matches!(found, DecodeError::TooLarge { what: "weights", found: 2, limit: 1 }), "{found}");
    let runs: [&[Run<'_>]; 6] = [
        // Empty, beyond the end, far beyond it, overlapping, touching, falling.
        &[(0, &[])],
        &[(3, &[one, one])],
        &[(u32::MAX, &[one])],
        &[(0, &[one, one]), (1, &[one])],
        &[(0, &[one, one]), (2, &[one])],
        &[(2, &[one]), (0, &[one])],
    ];
    for runs in runs {
        let found = read_slot_matrix(4, 1, &[(0, runs)]);
        assert!(matches!(found, DecodeError::Value { what: "run of weights", .. }), "{runs:?}: {found}");
    }
    let found = read_slot_matrix(4, 1, &[(0, &[(1, &[one, 0])])]);
    assert!(matches!(found, DecodeError::Value { what: "weight in a run", .. }), "{found}");
    let malformed: [(u32, u32, &[Runs<'_>]); 8] = [
        // Period and base.
        (0, 1, &[]),
        (6, 1, &[(0, &[])]),
        (4, 0, &[(0, &[])]),
        (4, 8, &[(0, &[])]),
        // No diagonal, rotations that reach the period or do not rise, a weight that is no number.
        (4, 2, &[]),
        (4, 2, &[(4, &[])]),
        (4, 2, &[(1, &[]), (1, &[])]),
        (4, 2, &[(1, &[(0, &[f32::NAN.to_bits()])])]),
    ];
    for (period, base, diagonals) in malformed {
        let found = read_slot_matrix(period, base, diagonals);
        assert!(matches!(found, DecodeError::Text { what: "matrix over slots", .. }), "{diagonals:?}: {found}");
    }
    // Eight slots are there, and weights have a largest size.
    for (period, weight) in [(16, one), (4, 1e30f32.to_bits())] {
        let found = read_slot_matrix(period, 1, &[(0, &[(0, &[weight])])]);
        assert!(matches!(found, DecodeError::Text { what: "program", .. }), "{period}: {found}");
    }
    let found = read_slots(|writer| {
        writer.bytes(&[8, 0, 0, 0, 0])?;
        scheme::write_scale(writer, &Scale::power_of_two(4))?;
        writer.u8(2)
    });
    assert!(matches!(found, DecodeError::Value { what: "rescaling", found: 2, .. }), "{found}");
}

#[test]
fn bad_folds_and_slots_are_named() {
    let fold = |rotations: &[u32]| {
        read_slots(|writer| {
            writer.bytes(&[9, 0, 0, 0, 0])?;
            writer.u32(rotations.len() as u32)?;
            rotations.iter().try_for_each(|rotation| writer.u32(*rotation))
        })
    };
    let found = fold(&[1; 65]);
    assert!(matches!(found, DecodeError::TooLarge { what: "rotations of a fold", found: 65, limit: 64 }), "{found}");
    for rotation in [0, 8, 1 << 31, u32::MAX] {
        let found = fold(&[1, rotation]);
        assert!(matches!(found, DecodeError::Text { what: "program", .. }), "{rotation}: {found}");
    }
    let steps = |steps: &[&[u32]]| {
        read_slots(|writer| {
            writer.bytes(&[13, 0, 0, 0, 0])?;
            writer.u32(steps.len() as u32)?;
            steps.iter().try_for_each(|step| {
                writer.u32(step.len() as u32)?;
                step.iter().try_for_each(|rotation| writer.u32(*rotation))
            })
        })
    };
    let found = steps(&[&[1, 2][..]; 65]);
    assert!(matches!(found, DecodeError::TooLarge { what: "steps of a fold", found: 65, limit: 64 }), "{found}");
    let found = steps(&[&[1; 65]]);
    assert!(matches!(found, DecodeError::TooLarge { what: "rotations of a step", found: 65, limit: 64 }), "{found}");
    for step in [&[][..], &[0, 1], &[1, 1], &[2, 1], &[1, 8], &[1, u32::MAX]] {
        let found = steps(&[&[1, 2], step]);
        assert!(matches!(found, DecodeError::Text { what: "program", .. }), "{step:?}: {found}");
    }
    // Steps of one rotation each have an encoding of their own.
    for single in [&[][..], &[&[1][..]], &[&[1], &[2]]] {
        let found = steps(single);
        assert!(matches!(found, DecodeError::Value { what: "steps of a fold", .. }), "{single:?}: {found}");
    }
    let add = |slots: &[f64]| {
        read_slots(|writer| {
            writer.bytes(&[10, 0, 0, 0, 0])?;
            writer.u32(slots.len() as u32)?;
            slots.iter().try_for_each(|slot| writer.f64(*slot))
        })
    };
    let found = read_slots(|writer| {
        writer.bytes(&[10, 0, 0, 0, 0])?;
        writer.u32((1 << 24) + 1)
    });
    assert!(matches!(found, DecodeError::TooLarge { what: "slots", .. }), "{found}");
    let found = add(&[0.0, f64::NAN]);
    assert!(matches!(found, DecodeError::Value { what: "slot", .. }), "{found}");
    for slots in [&[][..], &[0.0; 3], &[0.0; 16], &[1e300]] {
        let found = add(slots);
        assert!(matches!(found, DecodeError::Text { what: "program", .. }), "{slots:?}: {found}");
    }
}

#[test]
fn bad_rotations_and_weights_are_named() {
    let rotate = |base: u32, rotations: &[u32]| {
        read_slots(|writer| {
            writer.bytes(&[12, 0, 0, 0, 0])?;
            writer.u32(base)?;
            writer.u32(rotations.len() as u32)?;
            rotations.iter().try_for_each(|rotation| writer.u32(*rotation))
        })
    };
    let found = rotate((1 << 17) + 1, &[1]);
    assert!(matches!(found, DecodeError::TooLarge { what: "base", .. }), "{found}");
    let malformed: [(u32, &[u32]); 6] = [(0, &[1]), (3, &[1]), (16, &[1]), (1, &[]), (1, &[2, 1]), (1, &[8])];
    for (base, rotations) in malformed {
        let found = rotate(base, rotations);
        assert!(matches!(found, DecodeError::Text { what: "program", .. }), "{base}, {rotations:?}: {found}");
    }
    let model = |level: u8, period: u32| {
        read_slots(|writer| {
            writer.bytes(&[11, 1, 0, 0, 0, level])?;
            scheme::write_scale(writer, &Scale::power_of_two(4))?;
            writer.u32(period)
        })
    };
    let found = model(0, (1 << 17) + 1);
    assert!(matches!(found, DecodeError::TooLarge { what: "period", .. }), "{found}");
    for (level, period) in [(3, 1), (0, 0), (0, 3), (0, 16)] {
        let found = model(level, period);
        assert!(matches!(found, DecodeError::Text { what: "program", .. }), "{level}, {period}: {found}");
    }
}

#[test]
fn bad_model_weights_are_named() {
    let party = &PARTIES[0];
    let (json, _) = program_json(party.bytes(Kind::ModelWeights));
    let read = |write: &dyn Fn(&mut Writer<Bytes>) -> std::io::Result<()>| {
        let mut writer = Writer::new(Vec::new());
        scheme::write_preamble(&mut writer, Kind::ModelWeights, party.params.id(), 0).unwrap();
        writer.byte_string(json).unwrap();
        writer.bytes(&[1; 32]).unwrap();
        write(&mut writer).unwrap();
        read_model_weights(&*with_length(writer.into_inner())).unwrap_err()
    };
    let array = |level: u8, period: u32, count: u32, weights: &[f64]| {
        read(&|writer| {
            writer.u32(1)?;
            writer.u8(level)?;
            scheme::write_scale(writer, &Scale::power_of_two(4))?;
            writer.u32(period)?;
            writer.u32(count)?;
            weights.iter().try_for_each(|weight| writer.f64(*weight))
        })
    };
    let found = read(&|writer| writer.u32((1 << 16) + 1));
    assert!(matches!(found, DecodeError::TooLarge { what: "arrays of weights", .. }), "{found}");
    let found = array(3, 1, 1, &[1.0]);
    assert!(matches!(found, DecodeError::TooLarge { what: "level", found: 3, limit: 2 }), "{found}");
    let found = array(0, 16, 1, &[1.0; 16]);
    assert!(matches!(found, DecodeError::TooLarge { what: "period", found: 16, limit: 8 }), "{found}");
    for period in [0, 3] {
        let found = array(0, period, 1, &[1.0; 3]);
        assert!(matches!(found, DecodeError::Value { what: "period", .. }), "{period}: {found}");
    }
    let found = array(0, 2, 3, &[1.0; 4]);
    assert!(matches!(found, DecodeError::Truncated { .. }), "{found}");
    let found = array(0, 2, 1, &[1.0, f64::NAN]);
    assert!(matches!(found, DecodeError::Value { what: "weight", .. }), "{found}");
}

#[test]
fn bad_batches_are_named() {
    let party = &PARTIES[0];
    for kind in [Kind::Request, Kind::Response] {
        let bytes = party.bytes(kind);
        let changed = |at: usize, replacement: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + replacement.len()].copy_from_slice(replacement);
            read_batches(&*bytes, kind, &party.params).unwrap_err()
        };
        let (samples, batches, ciphertexts) = (PREAMBLE + 32, PREAMBLE + 40, PREAMBLE + 44);
        // Two batches of eight slots.
        for count in [0, 1, 8, 17, 1 << 32, u64::MAX] {
            let found = changed(samples, &u64::to_le_bytes(count));
            assert!(matches!(found, DecodeError::Value { what: "samples", found, .. } if found == count), "{found}");
        }
        for count in [0, 1, 3, MAX_BATCHES as u32] {
            let found = changed(batches, &count.to_le_bytes());
            assert!(matches!(found, DecodeError::Value { what: "samples", found: 9, .. }), "{found}");
        }
        for count in [MAX_BATCHES as u32 + 1, u32::MAX] {
            let found = changed(batches, &count.to_le_bytes());
            assert!(matches!(found, DecodeError::TooLarge { what: "batches", .. }), "{found}");
        }
        let found = changed(ciphertexts, &1u32.to_le_bytes());
        assert!(
            matches!(found, DecodeError::Trailing(left) if left * 2 == (bytes.len() - PREAMBLE - 48) as u64),
            "{found}"
        );
        for count in [3, MAX_FEATURES as u32] {
            let found = changed(ciphertexts, &count.to_le_bytes());
            assert!(matches!(found, DecodeError::Truncated { .. }), "{found}");
        }
        for count in [MAX_FEATURES as u32 + 1, u32::MAX] {
            let found = changed(ciphertexts, &count.to_le_bytes());
            assert!(matches!(found, DecodeError::TooLarge { what: "ciphertexts", .. }), "{found}");
        }
        // The last ciphertext of the last batch.
        let each = (bytes.len() - PREAMBLE - 48) / 4;
        let found = changed(bytes.len() - each, &[3]);
        assert!(matches!(found, DecodeError::TooLarge { what: "level", found: 3, limit: 2 }), "{found}");
        let level_and_scale =
            1 + scheme::scale_bytes(read_batches(&**bytes, kind, &party.params).unwrap().1[3].scale());
        let residues = bytes.len() - each + level_and_scale as usize + 2;
        let found = changed(residues + 5, &[0xff; 5]);
        assert!(matches!(found, DecodeError::Residue { limb: 0, index: 1, .. }), "{found}");
    }
}

#[test]
fn requests_without_samples_are_read() {
    for party in &*PARTIES {
        let header = BatchHeader::new(ProgramId([1; 32]), 0, party.params.slots(), 5);
        let bytes = batches_bytes(Kind::Request, &party.params, &header, &[]);
        assert_eq!(read_batches(&*bytes, Kind::Request, &party.params).unwrap(), (header, vec![]));
    }
}

#[test]
fn what_could_not_be_read_is_not_written() {
    let party = &PARTIES[0];
    for twos in [(1 << 20) + 1, i32::MAX, i32::MIN] {
        let input = Op::Input { features: 1, level: Level(0), scale: Scale::power_of_two(twos) };
        let found = program_bytes(&program(&party.params, vec![input]), true).unwrap_err();
        assert_eq!(found.kind(), std::io::ErrorKind::InvalidInput);
    }
}

#[test]
fn failing_sources_and_sinks_are_reported() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::PermissionDenied.into())
        }
    }
    impl std::io::Write for Failing {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let party = &PARTIES[0];
    for Artefact { name, kind, bytes, .. } in &party.artefacts {
        // Within the header, within the body, and where the end should be.
        for length in [0, 10, 100, bytes.len()] {
            let source = bytes[..length].chain(Failing);
            let found = match kind {
                Kind::Program => read_program(source).map(|_| ()),
                Kind::ClientSpec => read_client_spec(source, Security::Waived).map(|_| ()),
                Kind::ModelWeights => read_model_weights(source).map(|_| ()),
                Kind::EncryptedModel => read_encrypted_model(source, &party.program, &THREADS).map(|_| ()),
                _ if *name == "compressed response" => read_compressed(source, &party.params).map(|_| ()),
                _ => read_batches(source, *kind, &party.params).map(|_| ()),
            };
            assert!(matches!(found, Err(DecodeError::Io(_))), "{name} after {length} bytes: {found:?}");
        }
    }
    let header = BatchHeader::new(ProgramId([0; 32]), 1, 8, 1);
    let found = write_batch_header(&mut Writer::new(Failing), Kind::Request, &party.params, &header, 1).unwrap_err();
    assert_eq!(found.kind(), std::io::ErrorKind::StorageFull);
}
