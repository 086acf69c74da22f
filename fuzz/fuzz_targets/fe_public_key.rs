//! [`nightloom_fe::wire::read`] of public keys on foreign bytes, of every scheme.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fe::{DdhAdaptivePublicKey, DdhPublicKey, FeboPublicKey, RlwePublicKey};
use nightloom_fuzz::{SCHEMES, check_artefact, with_either_length};

fuzz_target!(|bytes: &[u8]| with_either_length(bytes, |bytes| {
    check_artefact::<DdhPublicKey>(bytes, &SCHEMES.ddh);
    check_artefact::<DdhAdaptivePublicKey>(bytes, &SCHEMES.adaptive);
    check_artefact::<RlwePublicKey>(bytes, &SCHEMES.rlwe);
    check_artefact::<FeboPublicKey>(bytes, &SCHEMES.febo);
}));
