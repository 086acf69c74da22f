//! [`nightloom_fe::wire::read`] of ciphertexts on foreign bytes, of every scheme.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fe::{
    DdhAdaptiveCiphertext, DdhCiphertext, FeboCiphertext, MlweCiphertext, PadCiphertext, RlweCiphertext,
};
use nightloom_fuzz::{SCHEMES, check_artefact, with_either_length};

fuzz_target!(|bytes: &[u8]| with_either_length(bytes, |bytes| {
    check_artefact::<DdhCiphertext>(bytes, &SCHEMES.ddh);
    check_artefact::<DdhAdaptiveCiphertext>(bytes, &SCHEMES.adaptive);
    check_artefact::<PadCiphertext>(bytes, &SCHEMES.pad);
    check_artefact::<RlweCiphertext>(bytes, &SCHEMES.rlwe);
    check_artefact::<MlweCiphertext>(bytes, &SCHEMES.mlwe);
    check_artefact::<FeboCiphertext>(bytes, &SCHEMES.febo);
}));
