//! What the fuzz targets share: the parameters of the golden files, and the check that a decoder ignores nothing.

use std::sync::LazyLock;

use nightloom_he::{CkksParams, CkksSpec, Ring};
use nightloom_wire::{DecodeError, Writer};

/// The parameters of `testdata/wire/v1` in both rings. Far below 128 bits.
pub static TOY_INSECURE: LazyLock<[CkksParams; 2]> = LazyLock::new(|| {
    [Ring::Standard, Ring::ConjugateInvariant].map(|ring| {
        let spec = CkksSpec { ring, log_degree: 10, prime_bits: vec![36, 28], special_bits: vec![36] };
        spec.validate_insecure().expect("the parameters of the golden files exist")
    })
});

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
            let again = writer.into_inner();
            // The source may go on after the stated length of an artefact.
            assert_eq!(again, bytes[..again.len()]);
        }
    }
}
