//! Bytes of programs, client specifications, requests and responses.
//!
//! A program is the preamble of [`nightloom_he::wire`], its parameters as JSON, then the operations. A client
//! specification is the preamble and JSON. Requests and responses are a preamble and batches of ciphertexts, written and
//! read one ciphertext at a time.

use std::io::{Read, Write};

use nightloom_he::wire::{self as scheme, PackedCiphertext, VERSION, write_preamble};
use nightloom_he::{Ciphertext, CkksParams, Level, ParamsId, Scale};
use nightloom_ring::IntegerMatrix;
use nightloom_wire::{DecodeError, Header, Kind, Reader, Writer};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::manifest::{ClientSpecJson, ParametersJson};
use crate::{ClientSpec, Op, Program, ProgramId, Source, ValueId};

/// Most features of one value.
pub const MAX_FEATURES: usize = 1 << 20;
/// Most bytes of a program or a client specification.
pub const MAX_PROGRAM_BYTES: u64 = 1 << 32;
const MAX_TEXT_BYTES: usize = 1 << 20;
const MAX_OPS: usize = 1 << 16;
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
    writer.u32(program.output().0 as u32)
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
    }
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
    let (_, mut reader) = Header::open(source, Kind::Program, VERSION, MAX_PROGRAM_BYTES)?;
    let found = ParamsId(reader.bytes()?);
    let json = reader.byte_string("parameters", MAX_TEXT_BYTES)?;
    let parameters: ParametersJson = from_json("parameters", &json)?;
    let (spec, insecure) = parameters.spec();
    let params = if insecure { spec.validate_insecure() } else { spec.validate() };
    let params = params.map_err(|error| DecodeError::Text { what: "parameters", problem: error.to_string() })?;
    check_id(found, &params)?;
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
    reader.finish()?;
    let program = Program::new(&params, ops, names, output)
        .map_err(|error| DecodeError::Text { what: "program", problem: error.to_string() })?;
    Ok((program, insecure))
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
        found => return Err(DecodeError::Value { what: "operation", found: found.into(), wanted: "0 to 7" }),
    })
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

/// Reads a client specification and checks its parameters.
///
/// # Errors
/// [`DecodeError`] for every way in which the bytes can be wrong.
pub fn read_client_spec(source: impl Read) -> Result<(ClientSpec, CkksParams), DecodeError> {
    let (header, mut reader) = Header::open(source, Kind::ClientSpec, VERSION, MAX_TEXT_BYTES as u64)?;
    let found = ParamsId(reader.bytes()?);
    let mut json = vec![0; (header.length - 32) as usize];
    reader.fill(&mut json)?;
    reader.finish()?;
    let json: ClientSpecJson = from_json("client specification", &json)?;
    let malformed = || DecodeError::Text {
        what: "client specification",
        problem: "program identifier, scale or shape is malformed".into(),
    };
    let spec = json.spec().ok_or_else(malformed)?;
    let params = spec.params();
    let params = params.map_err(|error| DecodeError::Text { what: "parameters", problem: error.to_string() })?;
    check_id(found, &params)?;
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
    /// The header of `samples` samples, `slots` of them a batch.
    pub fn new(program: ProgramId, samples: u64, slots: usize, ciphertexts: usize) -> Self {
        Self { program, samples, batches: samples.div_ceil(slots as u64) as usize, ciphertexts }
    }

    /// Samples in one batch.
    pub fn samples_in(&self, batch: usize, slots: usize) -> usize {
        (self.samples - (batch * slots) as u64).min(slots as u64) as usize
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

/// Reads the head of a request or response; the reader that comes back stands at the first ciphertext.
///
/// # Errors
/// [`DecodeError`] if the bytes are not such a head, or its counts do not fit each other.
pub fn read_batch_header<R: Read>(
    source: R,
    kind: Kind,
    params: &CkksParams,
) -> Result<(BatchHeader, Reader<R>), DecodeError> {
    let mut reader = scheme::open(source, kind, params, u64::MAX)?;
    let program = ProgramId(reader.bytes()?);
    let samples = reader.u64()?;
    let batches = reader.count("batches", 0, MAX_BATCHES)?;
    let ciphertexts = reader.count("ciphertexts", 0, MAX_FEATURES)?;
    if samples.div_ceil(params.slots() as u64) != batches as u64 {
        let wanted = "as many samples as the batches have room for";
        return Err(DecodeError::Value { what: "samples", found: samples, wanted });
    }
    // The least ciphertext is a level, a scale, its form and one polynomial.
    let least = 8 + scheme::poly_bytes(params, Level(0));
    reader.demand(batches as u64 * ciphertexts as u64 * least)?;
    Ok((BatchHeader { program, samples, batches, ciphertexts }, reader))
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
    // Grows with what arrives, not with what the header claims.
    let mut batch = Vec::new();
    while batch.len() < header.ciphertexts {
        let count = READ_AHEAD.min(header.ciphertexts - batch.len());
        let packed =
            (0..count).map(|_| PackedCiphertext::read(reader, params)).collect::<Result<Vec<_>, DecodeError>>()?;
        let unpack = || packed.into_par_iter().map(PackedCiphertext::unpack).collect::<Result<Vec<_>, _>>();
        batch.extend(threads.install(unpack)?);
    }
    Ok(batch)
}

/// Bytes of one ciphertext of a request: seeded, two components.
pub fn request_ciphertext_bytes(params: &CkksParams, level: Level, scale: &Scale) -> u64 {
    3 + scheme::scale_bytes(scale) + scheme::poly_bytes(params, level) + 32
}

/// Bytes of one ciphertext of a response: two components.
pub fn response_ciphertext_bytes(params: &CkksParams, level: Level, scale: &Scale) -> u64 {
    3 + scheme::scale_bytes(scale) + 2 * scheme::poly_bytes(params, level)
}
