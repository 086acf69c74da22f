//! [`nightloom_fe::wire::read`] of requests for operations on foreign bytes, of every scheme.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fe::FeboRequest;
use nightloom_fuzz::{SCHEMES, check_artefact, with_either_length};

fuzz_target!(|bytes: &[u8]| with_either_length(bytes, |bytes| {
    check_artefact::<FeboRequest>(bytes, &SCHEMES.febo);
}));
