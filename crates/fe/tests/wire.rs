//! Readers on bytes that nobody should have written.

use std::path::PathBuf;

use nightloom_fe::wire::{self, Artefact};
use nightloom_fe::{
    Bounds, Ddh, DdhAdaptive, DdhAdaptiveCiphertext, DdhAdaptiveFunctionKeys, DdhAdaptivePublicKey, DdhCiphertext,
    DdhFunctionKeys, DdhPublicKey, Febo, FeboCiphertext, FeboFunctionKeys, FeboPublicKey, FeboRequest, Functionals,
    InnerProduct, Mlwe, MlweCiphertext, MlweEncryptionKey, MlweFunctionKeys, Pad, PadCiphertext, PadEncryptionKey,
    PadFunctionKeys, Rlwe, RlweCiphertext, RlweFunctionKeys, RlwePublicKey,
};
use nightloom_wire::{DecodeError, HEADER_BYTES, Kind, Writer};

/// Bytes of header, parameters and master key.
const PREAMBLE: usize = HEADER_BYTES as usize + 32 + 16;

struct Schemes {
    ddh: Ddh,
    adaptive: DdhAdaptive,
    pad: Pad,
    toy_insecure_rlwe: Rlwe,
    toy_insecure_mlwe: Mlwe,
    febo: Febo,
    asked: Functionals,
}

/// Those of the golden files.
fn schemes() -> Schemes {
    let bounds = Bounds::new(3, 20, 7).unwrap();
    Schemes {
        ddh: Ddh::new(bounds),
        adaptive: DdhAdaptive::new(bounds),
        pad: Pad::new(bounds),
        toy_insecure_rlwe: Rlwe::with_degree_insecure(bounds, 7).unwrap(),
        toy_insecure_mlwe: Mlwe::with_rank_insecure(bounds, 2).unwrap(),
        febo: Febo::new(20, 7).unwrap(),
        asked: Functionals::dense(3, &[1, -7, 0, 7, 3, -2]).unwrap(),
    }
}

fn golden(path: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/wire/v1").join(path);
    std::fs::read(path.with_extension("bin")).unwrap()
}

/// What reading and writing again gives.
type Again<'a> = Box<dyn Fn(&[u8]) -> Result<Vec<u8>, DecodeError> + 'a>;

fn again<'a, T: Artefact + 'a>(context: T::Context<'a>) -> Again<'a> {
    Box::new(move |bytes| {
        let value = wire::read::<T>(bytes, context, bytes.len() as u64)?;
        let mut written = Vec::new();
        wire::write(&mut Writer::new(&mut written), &value, context).unwrap();
        Ok(written)
    })
}

/// Every decoder with its golden file.
fn decoders(s: &Schemes) -> Vec<(&'static str, Again<'_>)> {
    let asked = &s.asked;
    let (rlwe, mlwe) = (&s.toy_insecure_rlwe, &s.toy_insecure_mlwe);
    vec![
        ("fe_public_key/ddh", again::<DdhPublicKey>(&s.ddh)),
        ("fe_public_key/ddh-adaptive", again::<DdhAdaptivePublicKey>(&s.adaptive)),
        ("fe_public_key/rlwe", again::<RlwePublicKey>(rlwe)),
        ("fe_public_key/febo", again::<FeboPublicKey>(&s.febo)),
        ("fe_secret_key/pad", again::<PadEncryptionKey>(&s.pad)),
        ("fe_secret_key/mlwe", again::<MlweEncryptionKey>(mlwe)),
        ("fe_functionals/functionals", again::<Functionals>((s.ddh.params_id(), s.ddh.bounds()))),
        ("fe_function_keys/ddh", again::<DdhFunctionKeys>((&s.ddh, asked))),
        ("fe_function_keys/ddh-adaptive", again::<DdhAdaptiveFunctionKeys>((&s.adaptive, asked))),
        ("fe_function_keys/pad", again::<PadFunctionKeys>((&s.pad, asked))),
        ("fe_function_keys/rlwe", again::<RlweFunctionKeys>((rlwe, asked))),
        ("fe_function_keys/mlwe", again::<MlweFunctionKeys>((mlwe, asked))),
        ("fe_function_keys/febo", again::<FeboFunctionKeys>(&s.febo)),
        ("fe_ciphertext/ddh", again::<DdhCiphertext>(&s.ddh)),
        ("fe_ciphertext/ddh-adaptive", again::<DdhAdaptiveCiphertext>(&s.adaptive)),
        ("fe_ciphertext/pad", again::<PadCiphertext>(&s.pad)),
        ("fe_ciphertext/rlwe", again::<RlweCiphertext>(rlwe)),
        ("fe_ciphertext/mlwe", again::<MlweCiphertext>(mlwe)),
        ("fe_ciphertext/febo", again::<FeboCiphertext>(&s.febo)),
        ("fe_operand_request/febo", again::<FeboRequest>(&s.febo)),
    ]
}

/// The bytes with the length that they have in their header.
fn with_length(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.len() as u64 - HEADER_BYTES;
    bytes[8..16].copy_from_slice(&length.to_le_bytes());
    bytes
}

#[test]
fn what_is_too_short_or_too_long_is_refused() {
    let schemes = schemes();
    for (path, again) in decoders(&schemes) {
        let bytes = golden(path);
        for length in (0..bytes.len()).step_by(1 + bytes.len() / 100) {
            assert!(again(&bytes[..length]).is_err(), "{path} {length}");
            if length >= HEADER_BYTES as usize {
                assert!(again(&with_length(bytes[..length].to_vec())).is_err(), "{path} {length}");
            }
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(again(&longer), Err(DecodeError::Continues)), "{path}");
        assert!(matches!(again(&with_length(longer)), Err(DecodeError::Trailing(1))), "{path}");
    }
}

/// One value has one encoding: whatever is accepted encodes to the bytes that it was read from.
#[test]
fn changed_bytes_are_refused_or_mean_what_they_say() {
    let schemes = schemes();
    for (path, again) in decoders(&schemes) {
        let bytes = golden(path);
        for at in (0..bytes.len()).step_by(1 + bytes.len() / 150) {
            for change in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                if let Ok(written) = again(&changed) {
                    assert!(written == changed, "{path} {at}");
                }
            }
        }
    }
}

#[test]
fn other_kinds_parameters_and_versions_are_refused() {
    let schemes = schemes();
    for (path, again) in decoders(&schemes) {
        let bytes = golden(path);
        let mut other = bytes.clone();
        other[4] = Kind::Ciphertext as u8;
        assert!(matches!(again(&other), Err(DecodeError::WrongKind { .. })), "{path}");
        let mut other = bytes.clone();
        other[6] = 2;
        assert!(matches!(again(&other), Err(DecodeError::UnknownVersion { .. })), "{path}");
        let mut other = bytes.clone();
        other[16] ^= 1;
        assert!(matches!(again(&other), Err(DecodeError::ParamsMismatch { .. })), "{path}");
    }
    // Other bounds are other parameters.
    let other = Ddh::new(Bounds::new(3, 21, 7).unwrap());
    let bytes = golden("fe_public_key/ddh");
    assert!(matches!(wire::read::<DdhPublicKey>(&*bytes, &other, 1000), Err(DecodeError::ParamsMismatch { .. })));
    assert!(matches!(wire::read::<DdhPublicKey>(&*bytes, &other, 10), Err(DecodeError::TooLarge { .. })));
}

/// The identity, encodings that are not canonical, and bytes that are no point at all, at every place of a point.
#[test]
fn bad_points_are_refused() {
    let schemes = schemes();
    let identity = [0; 32];
    let mut not_canonical = [0xff; 32];
    (not_canonical[0], not_canonical[31]) = (0xed, 0x7f);
    let mut negative = [0; 32];
    negative[0] = 1;
    let no_point = [0x55; 32];
    let decoders = decoders(&schemes);
    for (path, first) in [
        ("fe_public_key/ddh", PREAMBLE),
        ("fe_public_key/ddh-adaptive", PREAMBLE),
        ("fe_public_key/febo", PREAMBLE),
        ("fe_ciphertext/ddh", PREAMBLE + 4),
        ("fe_ciphertext/ddh-adaptive", PREAMBLE + 4),
        ("fe_ciphertext/febo", PREAMBLE + 4),
        ("fe_operand_request/febo", PREAMBLE + 5 + 24),
        ("fe_function_keys/febo", PREAMBLE + 5 + 24),
    ] {
        let (_, again) = decoders.iter().find(|(name, _)| *name == path).unwrap();
        let bytes = golden(path);
        assert!((bytes.len() - first).is_multiple_of(32), "{path}");
        for at in (first..bytes.len()).step_by(32) {
            // The third operand of the golden request is zero, and the key of a product with zero is the identity.
            let vanishes = path == "fe_function_keys/febo" && at == first + 2 * 32;
            for bad in [identity, not_canonical, negative, no_point] {
                let mut changed = bytes.clone();
                changed[at..at + 32].copy_from_slice(&bad);
                if vanishes && bad == identity {
                    assert_eq!(again(&changed).unwrap(), bytes);
                } else {
                    assert!(matches!(again(&changed), Err(DecodeError::Value { what: "point", .. })), "{path} {at}");
                }
            }
        }
    }
}

#[test]
fn scalars_residues_and_coefficients_beyond_their_range_are_refused() {
    let schemes = schemes();
    let decoders = decoders(&schemes);
    let refused = |path: &str, at: usize, length: usize| {
        let (_, again) = decoders.iter().find(|(name, _)| *name == path).unwrap();
        let mut bytes = golden(path);
        bytes[at..at + length].fill(0xff);
        again(&bytes).unwrap_err()
    };
    for path in ["fe_function_keys/ddh", "fe_function_keys/ddh-adaptive"] {
        assert!(matches!(refused(path, PREAMBLE, 32), DecodeError::Value { what: "scalar", .. }));
    }
    for path in ["fe_function_keys/rlwe", "fe_function_keys/mlwe"] {
        assert!(matches!(refused(path, PREAMBLE, 8), DecodeError::Value { what: "coefficient of a key", .. }));
    }
    assert!(matches!(refused("fe_public_key/rlwe", PREAMBLE + 32, 8), DecodeError::Residue { limb: 0, index: 0, .. }));
    assert!(matches!(refused("fe_ciphertext/rlwe", PREAMBLE + 4, 8), DecodeError::Residue { limb: 0, index: 0, .. }));
    let body = PREAMBLE + 4 + 32;
    assert!(matches!(refused("fe_ciphertext/mlwe", body, 8), DecodeError::Residue { limb: 0, index: 0, .. }));
}

/// Counts that no bytes stand behind are refused before anything is allocated for them.
#[test]
fn claims_without_bytes_are_refused() {
    let schemes = schemes();
    let decoders = decoders(&schemes);
    for (path, at) in [
        ("fe_ciphertext/ddh", PREAMBLE),
        ("fe_ciphertext/ddh-adaptive", PREAMBLE),
        ("fe_ciphertext/pad", PREAMBLE + 8),
        ("fe_ciphertext/rlwe", PREAMBLE),
        ("fe_ciphertext/mlwe", PREAMBLE),
        ("fe_ciphertext/febo", PREAMBLE),
        ("fe_function_keys/pad", PREAMBLE),
        ("fe_function_keys/febo", PREAMBLE + 1),
        ("fe_operand_request/febo", PREAMBLE + 1),
        ("fe_functionals/functionals", PREAMBLE - 16),
    ] {
        let (_, again) = decoders.iter().find(|(name, _)| *name == path).unwrap();
        for claim in [u32::MAX, 1 << 25, 1 << 20] {
            let mut bytes = golden(path);
            bytes[at..at + 4].copy_from_slice(&claim.to_le_bytes());
            let refused = again(&bytes).unwrap_err();
            assert!(
                matches!(refused, DecodeError::TooLarge { .. } | DecodeError::Truncated { .. }),
                "{path} {refused}"
            );
        }
    }
}

#[test]
fn master_seeds_are_read_whole_or_not_at_all() {
    let bytes = golden("fe_master_seed/seed");
    assert_eq!(bytes.len() as u64, wire::master_seed_bytes());
    let seed = wire::read_master_seed(&*bytes).unwrap();
    let mut written = Vec::new();
    wire::write_master_seed(&mut Writer::new(&mut written), &seed).unwrap();
    assert_eq!(written, bytes);
    assert!(wire::read_master_seed(&bytes[..47]).is_err());
    assert!(wire::read_master_seed(&*[&bytes[..], &[0]].concat()).is_err());
    assert!(wire::read_master_seed(&*golden("fe_secret_key/pad")).is_err());
}

/// Functionals beyond the bounds are not written either: no reader would take them.
#[test]
fn functionals_are_packed_and_checked() {
    let bounds = Bounds::sparse(784, 25, 255, 127).unwrap();
    let ddh = Ddh::new(bounds);
    let context = (ddh.params_id(), ddh.bounds());
    let rows = (0..50u32).map(|row| (row..row + row % 26).map(|i| (i, 127 - 2 * (i % 127) as i32)).collect::<Vec<_>>());
    let functionals = Functionals::sparse(784, rows).unwrap();
    let again = again::<Functionals>(context);
    let mut bytes = Vec::new();
    wire::write(&mut Writer::new(&mut bytes), &functionals, context).unwrap();
    assert_eq!(again(&bytes).unwrap(), bytes);
    assert_eq!(wire::read::<Functionals>(&*bytes, context, 10_000).unwrap(), functionals);
    // 5, 10 and 8 bits, instead of 12 bytes.
    assert!(bytes.len() < 60 + 50 + functionals.entries() * 18 / 8);
    for beyond in [vec![(0, 128)], (0..26).map(|i| (i, 1)).collect()] {
        let functionals = Functionals::sparse(784, [beyond]).unwrap();
        let refused = wire::write(&mut Writer::new(Vec::new()), &functionals, context).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    }
}
