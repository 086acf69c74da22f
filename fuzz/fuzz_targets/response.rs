//! A whole response of foreign bytes: [`nightloom_program::wire::read_batch_header`], then every batch, as ciphertexts and
//! as compressed ones.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fuzz::{check_batches, check_compressed_batches, with_either_length};
use nightloom_wire::Kind;

fuzz_target!(|bytes: &[u8]| with_either_length(bytes, |bytes| {
    check_batches(bytes, Kind::Response);
    check_compressed_batches(bytes);
}));
