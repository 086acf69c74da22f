//! Bytes of programs, client specifications, requests and responses.
//!
//! A program is the preamble of [`nightloom_he::wire`], its parameters as JSON, then the operations; the weights of an
//! encrypted model are the same with vectors instead of operations, and encrypted they are ciphertexts. A client
//! specification is the preamble and JSON. Requests and responses are a preamble and batches of ciphertexts, written and
//! read one ciphertext at a time.

mod model;

use std::io::{Read, Write};

pub use model::{
    encrypted_model_bytes, model_weights_bytes, read_encrypted_model, read_model_weights, write_encrypted_model,
};
use nightloom_he::wire::{self as scheme, PackedCiphertext, VERSION, write_preamble};
use nightloom_he::{Ciphertext, CkksParams, CompressedCiphertext, Level, ParamsId, Scale};
use nightloom_ring::{IntegerMatrix, parallel};
use nightloom_wire::{DecodeError, Header, Kind, Reader, Writer, packed_bytes};
use sha2::{Digest, Sha256};

use crate::manifest::{ClientSpecJson, ParametersJson};
use crate::{
    ClientSpec, Compression, Diagonal, Giants, Op, Packing, Program, ProgramId, Shape, SlotMatrix, Source, ValueId,
};

/// Most features of one value.
pub const MAX_FEATURES: usize = 1 << 20;
/// Most bytes of a program or a client specification.
pub const MAX_PROGRAM_BYTES: u64 = 1 << 32;
const MAX_TEXT_BYTES: usize = 1 << 20;
const MAX_OPS: usize = 1 << 16;
/// Longest period of slots.
pub(crate) const MAX_PERIOD: usize = 1 << 17;
/// Most ciphertexts of an operand or a result of a matrix over slots.
const MAX_SLOT_ARRAY: usize = 1 << 16;
/// Most slots that one operation adds.
const MAX_ADDED_SLOTS: usize = 1 << 24;
/// Most steps of one fold, and most rotations of a step.
const MAX_FOLDS: usize = 64;
/// Most weights of one matrix over slots, zeros included: 2 GiB.
const MAX_SLOT_WEIGHTS: u64 = 1 << 29;
/// Most batches in one request.
pub const MAX_BATCHES: usize = 1 << 20;
/// Ciphertexts whose bytes are in memory before they are unpacked.
const READ_AHEAD: usize = 32;

type IoResult = std::io::Result<()>;

/// The bytes of a program, and its identifier.
///
/// # Errors
/// `InvalidInput` for a scale with more factors or larger exponents than the format holds.
pub fn program_bytes(program: &Program, insecure: bool) -> std::io::Result<(Vec<u8>, ProgramId)> {
    let mut body = Writer::new(Vec::new());
    write_program_body(&mut body, program, insecure)?;
    let body = body.into_inner();
    let mut writer = Writer::new(Vec::with_capacity(body.len() + 48));
    write_preamble(&mut writer, Kind::Program, program.params().id(), body.len() as u64)?;
    writer.bytes(&body)?;
    let bytes = writer.into_inner();
    let id = program_id(&bytes);
    Ok((bytes, id))
}

/// The identifier of a program's bytes.
pub fn program_id(bytes: &[u8]) -> ProgramId {
    ProgramId(Sha256::digest(bytes).into())
}

fn write_program_body(writer: &mut Writer<impl Write>, program: &Program, insecure: bool) -> IoResult {
    let parameters = ParametersJson::new(program.params().spec(), insecure);
    writer.byte_string(&serde_json::to_vec(&parameters)?)?;
    writer.u32(program.ops().len() as u32)?;
    for (op, name) in program.ops().iter().zip(program.names()) {
        writer.byte_string(name.as_bytes())?;
        write_op(writer, op)?;
    }
    writer.u32(program.output().0 as u32)?;
    writer.u32(program.capacity() as u32)?;
    let (slots, bits) = program.compression().map_or((0, 0), |compression| (compression.slots, compression.bits));
    writer.u32(slots as u32)?;
    writer.u8(bits as u8)
}

fn write_op(writer: &mut Writer<impl Write>, op: &Op) -> IoResult {
    match op {
        Op::Input { features, level, scale } => {
            writer.u8(0)?;
            writer.u32(*features as u32)?;
            writer.u8(level.0)?;
            scheme::write_scale(writer, scale)
        }
        Op::Linear { sources, matrix, bias } => {
            writer.u8(1)?;
            writer.u32(sources.len() as u32)?;
            for source in sources {
                writer.u32(source.value.0 as u32)?;
                scheme::write_scale(writer, &source.weight_scale)?;
            }
            writer.u32(matrix.columns() as u32)?;
            writer.u32(matrix.rows() as u32)?;
            for (row, bias) in bias.iter().enumerate() {
                writer.f64(*bias)?;
                let entries = matrix.row(row);
                writer.u32(entries.len() as u32)?;
                for (column, weight) in entries {
                    writer.u32(column as u32)?;
                    writer.i32(weight)?;
                }
            }
            Ok(())
        }
        Op::Square { source } => unary(writer, 2, *source),
        Op::Multiply { left, right } => {
            unary(writer, 3, *left)?;
            writer.u32(right.0 as u32)
        }
        Op::Relinearize { source } => unary(writer, 4, *source),
        Op::Rescale { source } => unary(writer, 5, *source),
        Op::RelinearizeRescale { source } => unary(writer, 6, *source),
        Op::DropTo { source, level } => {
            unary(writer, 7, *source)?;
            writer.u8(level.0)
        }
        Op::SlotMatrix { source, matrix, weight_scale, rescale } => {
            unary(writer, 8, *source)?;
            scheme::write_scale(writer, weight_scale)?;
            writer.u8(u8::from(*rescale))?;
            write_slot_matrix(writer, matrix)
        }
        Op::Fold { source, steps } => {
            let doubles = steps.iter().all(|step| step.len() == 1);
            unary(writer, if doubles { 9 } else { 13 }, *source)?;
            writer.u32(steps.len() as u32)?;
            steps.iter().try_for_each(|step| {
                if !doubles {
                    writer.u32(step.len() as u32)?;
                }
                step.iter().try_for_each(|rotation| writer.u32(*rotation as u32))
            })
        }
        Op::AddSlots { source, values } => {
            unary(writer, 10, *source)?;
            writer.u32(values.len() as u32)?;
            values.iter().try_for_each(|value| writer.f64(*value))
        }
        Op::Model { features, level, scale, period } => {
            writer.u8(11)?;
            writer.u32(*features as u32)?;
            writer.u8(level.0)?;
            scheme::write_scale(writer, scale)?;
            writer.u32(*period as u32)
        }
        Op::Rotate { source, rotations, base } => {
            unary(writer, 12, *source)?;
            writer.u32(*base as u32)?;
            writer.u32(rotations.len() as u32)?;
            rotations.iter().try_for_each(|rotation| writer.u32(*rotation as u32))
        }
    }
}

/// The shape, then each diagonal as its place and the runs of its weights that are not zero.
fn write_slot_matrix(writer: &mut Writer<impl Write>, matrix: &SlotMatrix) -> IoResult {
    let Shape { rows, columns, period, base, giants } = *matrix.shape();
    [rows, columns, period, base].into_iter().try_for_each(|size| writer.u32(size as u32))?;
    writer.u8(match giants {
        Giants::Separate => 0,
        Giants::Chained => 1,
    })?;
    writer.u32(matrix.diagonals().len() as u32)?;
    for Diagonal { row, column, rotation, weights } in matrix.diagonals() {
        [*row, *column, *rotation].into_iter().try_for_each(|place| writer.u32(place as u32))?;
        let is_zero = |weight: &f32| weight.to_bits() == 0;
        let runs: Vec<&[f32]> = weights.chunk_by(|a, b| is_zero(a) == is_zero(b)).collect();
        writer.u32(runs.iter().filter(|run| !is_zero(&run[0])).count() as u32)?;
        let mut start = 0;
        for run in runs {
            if !is_zero(&run[0]) {
                writer.u32(start as u32)?;
                writer.u32(run.len() as u32)?;
                run.iter().try_for_each(|weight| writer.u32(weight.to_bits()))?;
            }
            start += run.len();
        }
    }
    Ok(())
}

fn unary(writer: &mut Writer<impl Write>, code: u8, source: ValueId) -> IoResult {
    writer.u8(code)?;
    writer.u32(source.0 as u32)
}

/// Reads a program, checks it, and says whether its owner accepted parameters below 128 bits.
///
/// # Errors
/// [`DecodeError`] for every way in which the bytes can be wrong, rules of the verifier included.
pub fn read_program(source: impl Read) -> Result<(Program, bool), DecodeError> {
    let (mut reader, params, insecure) = open_with_parameters(source, Kind::Program)?;
    // The least operation is a name's length, a code and a source.
    let count = reader.count("operations", 9, MAX_OPS)?;
    let (mut ops, mut names) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        let name = reader.byte_string("name", MAX_TEXT_BYTES)?;
        let name = String::from_utf8(name)
            .map_err(|error| DecodeError::Text { what: "name of an operation", problem: error.to_string() })?;
        names.push(name);
        ops.push(read_op(&mut reader)?);
    }
    let output = value(&mut reader)?;
    let capacity = reader.u32()? as usize;
    let compression = match (reader.u32()? as usize, u32::from(reader.u8()?)) {
        (0, 0) => None,
        (slots, bits) => Some(Compression { slots, bits }),
    };
    reader.finish()?;
    if capacity == 0 || capacity > params.slots() {
        let (found, wanted) = (capacity as u64, "one sample a run to one a slot");
        return Err(DecodeError::Value { what: "samples of a run", found, wanted });
    }
    let program = Program::new(&params, ops, names, output).and_then(|program| match compression {
        Some(compression) => program.with_compression(compression),
        None => Ok(program),
    });
    let program = program.map_err(|error| DecodeError::Text { what: "program", problem: error.to_string() })?;
    Ok((program.with_capacity(capacity), insecure))
}

/// Opens an artefact that brings its parameters, and says whether they were accepted below 128 bits.
fn open_with_parameters<R: Read>(source: R, kind: Kind) -> Result<(Reader<R>, CkksParams, bool), DecodeError> {
    let (_, mut reader) = Header::open(source, kind, VERSION, MAX_PROGRAM_BYTES)?;
    let found = ParamsId(reader.bytes()?);
    let json = reader.byte_string("parameters", MAX_TEXT_BYTES)?;
    let parameters: ParametersJson = from_json("parameters", &json)?;
    let (spec, insecure) = parameters.spec();
    let params = if insecure { spec.validate_insecure() } else { spec.validate() };
    let params = params.map_err(|error| DecodeError::Text { what: "parameters", problem: error.to_string() })?;
    check_id(found, &params)?;
    Ok((reader, params, insecure))
}

fn check_id(found: ParamsId, params: &CkksParams) -> Result<(), DecodeError> {
    if found == params.id() {
        return Ok(());
    }
    Err(DecodeError::ParamsMismatch { found: found.to_string(), wanted: params.id().to_string() })
}

fn from_json<'a, T: serde::Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(bytes).map_err(|error| DecodeError::Text { what, problem: error.to_string() })
}

fn value(reader: &mut Reader<impl Read>) -> Result<ValueId, DecodeError> {
    Ok(ValueId(reader.u32()? as usize))
}

fn read_op(reader: &mut Reader<impl Read>) -> Result<Op, DecodeError> {
    Ok(match reader.u8()? {
        0 => Op::Input {
            features: reader.count("inputs", 0, MAX_FEATURES)?,
            level: Level(reader.u8()?),
            scale: scheme::read_scale(reader)?,
        },
        1 => read_linear(reader)?,
        2 => Op::Square { source: value(reader)? },
        3 => Op::Multiply { left: value(reader)?, right: value(reader)? },
        4 => Op::Relinearize { source: value(reader)? },
        5 => Op::Rescale { source: value(reader)? },
        6 => Op::RelinearizeRescale { source: value(reader)? },
        7 => Op::DropTo { source: value(reader)?, level: Level(reader.u8()?) },
        8 => {
            let source = value(reader)?;
            let weight_scale = scheme::read_scale(reader)?;
            let rescale = choice(reader, "rescaling", [false, true])?;
            Op::SlotMatrix { source, matrix: read_slot_matrix(reader)?, weight_scale, rescale }
        }
        9 => {
            let source = value(reader)?;
            let count = reader.count("rotations of a fold", 4, MAX_FOLDS)?;
            let step = |_| Ok(vec![reader.u32()? as usize]);
            Op::Fold { source, steps: (0..count).map(step).collect::<Result<_, DecodeError>>()? }
        }
        10 => {
            let source = value(reader)?;
            let count = reader.count("slots", 8, MAX_ADDED_SLOTS)?;
            let values = (0..count).map(|_| reader.f64("slot")).collect::<Result<_, _>>()?;
            Op::AddSlots { source, values }
        }
        11 => Op::Model {
            features: reader.count("ciphertexts of weights", 0, MAX_FEATURES)?,
            level: Level(reader.u8()?),
            scale: scheme::read_scale(reader)?,
            period: reader.count("period", 0, MAX_PERIOD)?,
        },
        12 => {
            let source = value(reader)?;
            let base = reader.count("base", 0, MAX_PERIOD)?;
            let count = reader.count("rotations", 4, MAX_PERIOD)?;
            let rotations = (0..count).map(|_| Ok(reader.u32()? as usize)).collect::<Result<_, DecodeError>>()?;
            Op::Rotate { source, rotations, base }
        }
        13 => {
            let source = value(reader)?;
            let count = reader.count("steps of a fold", 8, MAX_FOLDS)?;
            let step = |_| {
                let count = reader.count("rotations of a step", 4, MAX_FOLDS)?;
                (0..count).map(|_| Ok(reader.u32()? as usize)).collect::<Result<Vec<_>, DecodeError>>()
            };
            let steps: Vec<Vec<usize>> = (0..count).map(step).collect::<Result<_, DecodeError>>()?;
            // What has one encoding keeps it.
            if steps.iter().all(|step| step.len() == 1) {
                let wanted = "one of several rotations";
                return Err(DecodeError::Value { what: "steps of a fold", found: steps.len() as u64, wanted });
            }
            Op::Fold { source, steps }
        }
        found => return Err(DecodeError::Value { what: "operation", found: found.into(), wanted: "0 to 13" }),
    })
}

/// One of two, by a byte that is 0 or 1.
fn choice<T: Copy>(reader: &mut Reader<impl Read>, what: &'static str, options: [T; 2]) -> Result<T, DecodeError> {
    let found = reader.u8()?;
    let option = options.get(usize::from(found)).copied();
    option.ok_or(DecodeError::Value { what, found: found.into(), wanted: "0 or 1" })
}

fn read_slot_matrix(reader: &mut Reader<impl Read>) -> Result<SlotMatrix, DecodeError> {
    let rows = reader.count("rows of ciphertexts", 0, MAX_SLOT_ARRAY)?;
    let columns = reader.count("columns of ciphertexts", 0, MAX_SLOT_ARRAY)?;
    let period = reader.count("period", 0, MAX_PERIOD)?;
    let base = reader.count("base", 0, MAX_PERIOD)?;
    let giants = choice(reader, "giant steps", [Giants::Separate, Giants::Chained])?;
    let count = reader.count("diagonals", 16, rows.saturating_mul(columns).saturating_mul(period))?;
    let mut diagonals = Vec::new();
    let mut stored = 0u64;
    for _ in 0..count {
        let (row, column, rotation) = (reader.u32()? as usize, reader.u32()? as usize, reader.u32()? as usize);
        let runs = reader.count("runs of weights", 12, period)?;
        // Zeros take no bytes: what they may take in memory is bounded by itself.
        stored += period as u64;
        if stored > MAX_SLOT_WEIGHTS {
            return Err(DecodeError::TooLarge { what: "weights over slots", found: stored, limit: MAX_SLOT_WEIGHTS });
        }
        let mut weights = vec![0.0; period];
        let mut free = 0;
        for _ in 0..runs {
            let (start, length) = (reader.u32()? as usize, reader.count("weights", 4, period)?);
            // Runs do not touch, so that there is one way to write a diagonal.
            if start < free || length == 0 || start + length > period {
                let wanted = "rising runs of weights inside the period";
                return Err(DecodeError::Value { what: "run of weights", found: start as u64, wanted });
            }
            for weight in &mut weights[start..start + length] {
                let bits = reader.u32()?;
                if bits == 0 {
                    return Err(DecodeError::Value { what: "weight in a run", found: 0, wanted: "other than zero" });
                }
                *weight = f32::from_bits(bits);
            }
            free = start + length + 1;
        }
        diagonals.push(Diagonal { row, column, rotation, weights });
    }
    SlotMatrix::new(Shape { rows, columns, period, base, giants }, diagonals)
        .map_err(|error| DecodeError::Text { what: "matrix over slots", problem: error.to_string() })
}

fn read_linear(reader: &mut Reader<impl Read>) -> Result<Op, DecodeError> {
    let sources = reader.count("sources", 9, MAX_OPS)?;
    let sources = (0..sources)
        .map(|_| Ok(Source { value: value(reader)?, weight_scale: scheme::read_scale(reader)? }))
        .collect::<Result<Vec<_>, DecodeError>>()?;
    let columns = reader.count("columns", 0, MAX_FEATURES)?;
    let rows = reader.count("rows", 12, MAX_FEATURES)?;
    let mut bias = Vec::with_capacity(rows);
    let mut matrix = Vec::with_capacity(rows);
    for _ in 0..rows {
        bias.push(reader.f64("bias")?);
        let entries = reader.count("entries", 8, columns)?;
        let mut row: Vec<(u32, i32)> = Vec::with_capacity(entries);
        for _ in 0..entries {
            let column = reader.u32()?;
            let in_order = row.last().is_none_or(|(last, _)| *last < column) && (column as usize) < columns;
            if !in_order {
                let wanted = "rising columns inside the matrix";
                return Err(DecodeError::Value { what: "column", found: column.into(), wanted });
            }
            row.push((column, reader.i32()?));
        }
        matrix.push(row);
    }
    let matrix = IntegerMatrix::new(columns, &matrix)
        .map_err(|error| DecodeError::Text { what: "matrix", problem: error.to_string() })?;
    Ok(Op::Linear { sources, matrix, bias })
}

/// The bytes of a client specification for these parameters, which are its own.
///
/// # Errors
/// `InvalidInput` for a scale that JSON cannot hold.
pub fn client_spec_bytes(spec: &ClientSpec, params: &CkksParams) -> std::io::Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(&ClientSpecJson::from(spec))?;
    json.push(b'\n');
    let mut writer = Writer::new(Vec::with_capacity(json.len() + 48));
    write_preamble(&mut writer, Kind::ClientSpec, params.id(), json.len() as u64)?;
    writer.bytes(&json)?;
    Ok(writer.into_inner())
}

/// Whether parameters below 128 bits of security are accepted. What a file says of itself does not count: whoever reads
/// it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// They are refused.
    Required,
    /// They are accepted: data encrypted under them is not protected.
    Waived,
}

/// Reads a client specification and checks its parameters, before any table is made.
///
/// # Errors
/// [`DecodeError`] for every way in which the bytes can be wrong, [`DecodeError::Insecure`] for parameters below 128 bits
/// unless that is waived.
pub fn read_client_spec(source: impl Read, security: Security) -> Result<(ClientSpec, CkksParams), DecodeError> {
    let (header, mut reader) = Header::open(source, Kind::ClientSpec, VERSION, MAX_TEXT_BYTES as u64)?;
    let found = ParamsId(reader.bytes()?);
    let mut json = vec![0; (header.length - 32) as usize];
    reader.fill(&mut json)?;
    reader.finish()?;
    let json: ClientSpecJson = from_json("client specification", &json)?;
    let malformed = || DecodeError::Text {
        what: "client specification",
        problem: "program identifier, scale, shape, range, bound or packing is malformed".into(),
    };
    let spec = json.spec().ok_or_else(malformed)?;
    if spec.insecure && security == Security::Required {
        return Err(DecodeError::Insecure);
    }
    let params = spec.params();
    let params = params.map_err(|error| DecodeError::Text { what: "parameters", problem: error.to_string() })?;
    check_id(found, &params)?;
    let keys = spec.keys.keys().all(|(_, level)| level <= params.top())
        && spec.keys.rotations.keys().all(|rotation| (1..params.slots()).contains(rotation));
    let (period, last) = match &spec.packing {
        Packing::SampleInSlot => (1, 0),
        Packing::SampleInSlots { inputs, input, outputs, .. } => {
            (input.len() / inputs, outputs.iter().map(|(_, slot)| *slot as usize).max().unwrap_or(0))
        }
    };
    if !keys || period > params.slots() || last >= params.slots() {
        let problem = "keys or packing that the parameters do not have".into();
        return Err(DecodeError::Text { what: "client specification", problem });
    }
    if spec.level > params.top() {
        let limit = params.top().0.into();
        return Err(DecodeError::TooLarge { what: "level", found: spec.level.0.into(), limit });
    }
    Ok((spec, params))
}

/// What stands at the head of a request or a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The program that the batches are for or from.
    pub program: ProgramId,
    /// Samples in all batches: every batch but the last is full.
    pub samples: u64,
    /// Number of batches.
    pub batches: usize,
    /// Ciphertexts of each batch.
    pub ciphertexts: usize,
}

const BATCH_HEADER_BYTES: u64 = 32 + 8 + 4 + 4;

impl BatchHeader {
    /// The header of `samples` samples, `capacity` of them a batch.
    pub fn new(program: ProgramId, samples: u64, capacity: usize, ciphertexts: usize) -> Self {
        Self { program, samples, batches: samples.div_ceil(capacity as u64) as usize, ciphertexts }
    }

    /// Samples in one batch; none beyond the last.
    pub fn samples_in(&self, batch: usize, capacity: usize) -> usize {
        self.samples.saturating_sub((batch * capacity) as u64).min(capacity as u64) as usize
    }
}

/// Writes the head of a request or response whose ciphertexts take `ciphertext_bytes` each.
///
/// # Errors
/// Those of the sink.
pub fn write_batch_header(
    writer: &mut Writer<impl Write>,
    kind: Kind,
    params: &CkksParams,
    header: &BatchHeader,
    ciphertext_bytes: u64,
) -> IoResult {
    let ciphertexts = (header.batches * header.ciphertexts) as u64;
    write_preamble(writer, kind, params.id(), BATCH_HEADER_BYTES + ciphertexts * ciphertext_bytes)?;
    writer.bytes(&header.program.0)?;
    writer.u64(header.samples)?;
    writer.u32(header.batches as u32)?;
    writer.u32(header.ciphertexts as u32)
}

/// Reads the head of a request or response of `capacity` samples a batch; the reader that comes back stands at the first
/// ciphertext.
///
/// # Errors
/// [`DecodeError`] if the bytes are not such a head, or its counts do not fit each other.
pub fn read_batch_header<R: Read>(
    source: R,
    kind: Kind,
    params: &CkksParams,
    capacity: usize,
) -> Result<(BatchHeader, Reader<R>), DecodeError> {
    let mut reader = scheme::open(source, kind, params, u64::MAX)?;
    let program = ProgramId(reader.bytes()?);
    let samples = reader.u64()?;
    let batches = reader.count("batches", 0, MAX_BATCHES)?;
    let ciphertexts = reader.count("ciphertexts", 0, MAX_FEATURES)?;
    if samples.div_ceil(capacity as u64) != batches as u64 {
        let wanted = "as many samples as the batches have room for";
        return Err(DecodeError::Value { what: "samples", found: samples, wanted });
    }
    // The least ciphertext is compressed: a scale, its shape and one polynomial of two bits.
    let least = 7 + packed_bytes(params.degree(), 2);
    reader.demand(batches as u64 * ciphertexts as u64 * least)?;
    Ok((BatchHeader { program, samples, batches, ciphertexts }, reader))
}

/// Reads the compressed ciphertexts of one batch.
///
/// # Errors
/// [`DecodeError`] if one of them is wrong.
pub fn read_compressed_batch(
    reader: &mut Reader<impl Read>,
    params: &CkksParams,
    header: &BatchHeader,
) -> Result<Vec<CompressedCiphertext>, DecodeError> {
    (0..header.ciphertexts).map(|_| scheme::read_compressed_ciphertext(reader, params)).collect()
}

/// The ciphertexts of one batch as they were read: the last 32, or all if there are no more, still packed, so that the threads
/// which go on with them may also unpack them.
#[derive(Debug)]
pub struct PackedBatch {
    ciphertexts: Vec<Ciphertext>,
    packed: Vec<PackedCiphertext>,
}

impl PackedBatch {
    /// Reads the ciphertexts of one batch: bytes on the calling thread, residues and seeds on `threads`, of all but the last.
    ///
    /// # Errors
    /// [`DecodeError`] if one of them is wrong.
    pub fn read(
        reader: &mut Reader<impl Read>,
        params: &CkksParams,
        header: &BatchHeader,
        threads: &rayon::ThreadPool,
    ) -> Result<Self, DecodeError> {
        Self::read_ciphertexts(reader, params, header.ciphertexts, threads)
    }

    fn read_ciphertexts(
        reader: &mut Reader<impl Read>,
        params: &CkksParams,
        wanted: usize,
        threads: &rayon::ThreadPool,
    ) -> Result<Self, DecodeError> {
        // Grows with what arrives, not with what was claimed.
        let mut batch = Self { ciphertexts: Vec::new(), packed: Vec::new() };
        for _ in 0..wanted {
            if batch.packed.len() == READ_AHEAD {
                batch = Self { ciphertexts: threads.install(|| batch.unpack())?, packed: Vec::new() };
            }
            batch.packed.push(PackedCiphertext::read(reader, params)?);
        }
        Ok(batch)
    }

    /// Unpacks what is packed, on the threads of the pool that the current thread belongs to.
    ///
    /// # Errors
    /// [`DecodeError::Residue`].
    pub fn unpack(self) -> Result<Vec<Ciphertext>, DecodeError> {
        let Self { mut ciphertexts, packed } = self;
        ciphertexts.extend(parallel::try_map(packed, PackedCiphertext::unpack)?);
        Ok(ciphertexts)
    }
}

/// Reads the ciphertexts of one batch: bytes on the calling thread, residues and seeds on `threads`.
///
/// # Errors
/// [`DecodeError`] if one of them is wrong.
pub fn read_batch(
    reader: &mut Reader<impl Read>,
    params: &CkksParams,
    header: &BatchHeader,
    threads: &rayon::ThreadPool,
) -> Result<Vec<Ciphertext>, DecodeError> {
    read_ciphertexts(reader, params, header.ciphertexts, threads)
}

fn read_ciphertexts(
    reader: &mut Reader<impl Read>,
    params: &CkksParams,
    wanted: usize,
    threads: &rayon::ThreadPool,
) -> Result<Vec<Ciphertext>, DecodeError> {
    let batch = PackedBatch::read_ciphertexts(reader, params, wanted, threads)?;
    threads.install(|| batch.unpack())
}

/// Bytes of one ciphertext of a request: seeded, two components.
pub fn request_ciphertext_bytes(params: &CkksParams, level: Level, scale: &Scale) -> u64 {
    3 + scheme::scale_bytes(scale) + scheme::poly_bytes(params, level) + 32
}

/// Bytes of one ciphertext of two components that is neither seeded nor compressed.
pub fn response_ciphertext_bytes(params: &CkksParams, level: Level, scale: &Scale) -> u64 {
    3 + scheme::scale_bytes(scale) + 2 * scheme::poly_bytes(params, level)
}

/// Bytes of one ciphertext of a program's response.
pub fn result_bytes(program: &Program) -> u64 {
    let (params, output) = (program.params(), program.output_type());
    let Some(Compression { slots, bits }) = program.compression() else {
        return response_ciphertext_bytes(params, output.level, &output.scale);
    };
    let switched = params.basis(output.level).moduli();
    let scale = switched.fold(output.scale.mul(&Scale::power_of_two(bits as i32)), |s, q| s.divide_by(q.value()));
    let kept = slots * params.degree() / params.slots();
    scheme::scale_bytes(&scale) + 2 + packed_bytes(kept, bits) + packed_bytes(params.degree(), bits)
}
