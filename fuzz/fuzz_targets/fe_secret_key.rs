//! [`nightloom_fe::wire::read`] of secret keys on foreign bytes, of every scheme.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fe::{MlweEncryptionKey, PadEncryptionKey};
use nightloom_fuzz::{SCHEMES, check_artefact, with_either_length};

fuzz_target!(|bytes: &[u8]| with_either_length(bytes, |bytes| {
    check_artefact::<PadEncryptionKey>(bytes, &SCHEMES.pad);
    check_artefact::<MlweEncryptionKey>(bytes, &SCHEMES.mlwe);
}));
