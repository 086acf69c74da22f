//! What the fuzz targets share: the parameters of the golden files, and the checks that a decoder ignores nothing.

use std::sync::{Arc, LazyLock};

use nightloom_fe::agreement::Agreement;
use nightloom_fe::protocol::EnrolmentToken;
use nightloom_fe::wire::{self as functional, Artefact};
use nightloom_fe::{Bounds, Ddh, DdhAdaptive, Febo, Functionals, Mlwe, Pad, Rlwe};
use nightloom_he::wire as scheme;
use nightloom_he::{CkksParams, CkksSpec, Ring};
use nightloom_program::thread_pool;
use nightloom_program::wire::{BatchHeader, read_batch, read_batch_header, read_compressed_batch, write_batch_header};
use nightloom_wire::{DecodeError, HEADER_BYTES, Kind, Writer};
use rayon::ThreadPool;
use serde_json::Value;

/// Bytes of a header and a parameter identifier.
pub const PREAMBLE_BYTES: usize = HEADER_BYTES as usize + 32;

/// The parameters of `testdata/wire/v1` in both rings. Far below 128 bits.
pub static TOY_INSECURE: LazyLock<[CkksParams; 2]> = LazyLock::new(|| {
    [Ring::Standard, Ring::ConjugateInvariant].map(|ring| {
        let spec = CkksSpec { ring, log_degree: 10, prime_bits: vec![36, 28], special_bits: vec![36] };
        spec.validate_insecure().expect("the parameters of the golden files exist")
    })
});

/// The schemes of functional encryption of `testdata/wire/v1`. Those on lattices are far below 128 bits.
pub struct Schemes {
    /// Under DDH.
    pub ddh: Ddh,
    /// Under DDH, adaptive.
    pub adaptive: DdhAdaptive,
    /// Pads.
    pub pad: Pad,
    /// Under ring-LWE.
    pub rlwe: Rlwe,
    /// Under module-LWE.
    pub mlwe: Mlwe,
    /// Operations on single values.
    pub febo: Febo,
    /// The functionals of the golden function keys.
    pub asked: Functionals,
}

/// The one value of [`Schemes`].
pub static SCHEMES: LazyLock<Schemes> = LazyLock::new(|| {
    let bounds = Bounds::new(3, 20, 7).expect("the bounds of the golden files exist");
    Schemes {
        ddh: Ddh::new(bounds),
        adaptive: DdhAdaptive::new(bounds),
        pad: Pad::new(bounds),
        rlwe: Rlwe::with_degree_insecure(bounds, 7).expect("the parameters of the golden files exist"),
        mlwe: Mlwe::with_rank_insecure(bounds, 2).expect("the parameters of the golden files exist"),
        febo: Febo::new(20, 7).expect("the bounds of the golden files exist"),
        asked: Functionals::dense(3, &[1, -7, 0, 7, 3, -2]).expect("the functionals of the golden files exist"),
    }
});

/// The agreements of the golden files, from their tokens.
pub static AGREEMENTS: LazyLock<Vec<Arc<Agreement>>> = LazyLock::new(|| {
    let tokens: [&[u8]; 4] = [
        include_bytes!("../../testdata/wire/v1/enrolment_token/guarded.bin"),
        include_bytes!("../../testdata/wire/v1/enrolment_token/sealed.bin"),
        include_bytes!("../../testdata/wire/v1/enrolment_token/delegate.bin"),
        include_bytes!("../../testdata/wire/v1/enrolment_token/aggregate.bin"),
    ];
    tokens.map(|token| EnrolmentToken::read(token).expect("a golden file").agreement).into()
});

/// Decodes an artefact of functional encryption. Whatever is accepted must encode to the bytes that it was read from.
///
/// # Panics
/// If it does not.
pub fn check_artefact<'a, T: Artefact>(bytes: &[u8], context: T::Context<'a>) {
    if let Ok(value) = functional::read::<T>(bytes, context, bytes.len() as u64) {
        let mut writer = Writer::new(Vec::new());
        functional::write(&mut writer, &value, context).expect("what was read can be written");
        assert_eq!(writer.into_inner(), bytes);
    }
}

/// Runs a check on the bytes, and on the same with a header that states their length: what is inserted or removed would
/// otherwise get no further than the header.
pub fn with_either_length(bytes: &[u8], check: impl Fn(&[u8])) {
    check(bytes);
    if let Some(length) = (bytes.len() as u64).checked_sub(HEADER_BYTES) {
        let mut bytes = bytes.to_vec();
        bytes[8..16].copy_from_slice(&length.to_le_bytes());
        check(&bytes);
    }
}

/// Decodes under both parameter sets. Whatever is accepted must encode to the bytes that it was read from.
///
/// # Panics
/// If it does not: that is a finding.
pub fn check<T>(
    bytes: &[u8],
    decode: impl Fn(&[u8], &CkksParams) -> Result<T, DecodeError>,
    encode: impl Fn(&mut Writer<Vec<u8>>, &T) -> std::io::Result<()>,
) {
    for params in TOY_INSECURE.iter() {
        if let Ok(value) = decode(bytes, params) {
            let mut writer = Writer::new(Vec::new());
            encode(&mut writer, &value).expect("what was read can be written");
            assert_eq!(writer.into_inner(), bytes);
        }
    }
}

/// [`check`] of a whole request or response.
///
/// # Panics
/// As [`check`].
pub fn check_batches(bytes: &[u8], kind: Kind) {
    check(
        bytes,
        |bytes, params| {
            let (header, mut reader) = read_batch_header(bytes, kind, params, params.slots())?;
            let mut ciphertexts = Vec::new();
            for _ in 0..header.batches {
                ciphertexts.extend(read_batch(&mut reader, params, &header, &THREAD)?);
            }
            reader.finish()?;
            Ok((header, ciphertexts, params.clone()))
        },
        |writer, (header, ciphertexts, params)| {
            write_head(writer, kind, params, header, ciphertexts.iter().map(scheme::ciphertext_bytes).sum())?;
            ciphertexts.iter().try_for_each(|ciphertext| scheme::write_ciphertext(writer, ciphertext))
        },
    );
}

/// [`check`] of a whole response of compressed ciphertexts.
///
/// # Panics
/// As [`check`].
pub fn check_compressed_batches(bytes: &[u8]) {
    check(
        bytes,
        |bytes, params| {
            let (header, mut reader) = read_batch_header(bytes, Kind::Response, params, params.slots())?;
            let mut ciphertexts = Vec::new();
            for _ in 0..header.batches {
                ciphertexts.extend(read_compressed_batch(&mut reader, params, &header)?);
            }
            reader.finish()?;
            Ok((header, ciphertexts, params.clone()))
        },
        |writer, (header, ciphertexts, params)| {
            let body = ciphertexts.iter().map(scheme::compressed_ciphertext_bytes).sum();
            write_head(writer, Kind::Response, params, header, body)?;
            ciphertexts.iter().try_for_each(|ciphertext| scheme::write_compressed_ciphertext(writer, ciphertext))
        },
    );
}

/// Writes the head of a request or response. The ciphertexts of a foreign one need not have one size, so `body` is that of
/// all together.
fn write_head(
    writer: &mut Writer<Vec<u8>>,
    kind: Kind,
    params: &CkksParams,
    header: &BatchHeader,
    body: u64,
) -> std::io::Result<()> {
    let mut head = Writer::new(Vec::new());
    write_batch_header(&mut head, kind, params, header, 0)?;
    let mut head = head.into_inner();
    let length = head.len() as u64 - HEADER_BYTES + body;
    head[8..16].copy_from_slice(&length.to_le_bytes());
    writer.bytes(&head)
}

/// A pool of one thread.
pub static THREAD: LazyLock<ThreadPool> = LazyLock::new(|| thread_pool(1).expect("one thread can be started"));

/// Whether the parameters in a JSON text are quickly validated. Larger ones are no different, but slow.
pub fn is_quick(json: &[u8]) -> bool {
    let Ok(json) = serde_json::from_slice::<Value>(json) else { return true };
    let parameters = json.get("parameters").unwrap_or(&json);
    let log_degree = parameters.get("log_degree").and_then(Value::as_u64).unwrap_or(0);
    let primes = |name| parameters.get(name).and_then(Value::as_array).map_or(0, Vec::len);
    log_degree <= 11 && primes("prime_bits") + primes("special_bits") <= 6
}
