//! A whole request of foreign bytes: [`nightloom_program::wire::read_batch_header`], then every batch.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fuzz::{check_batches, with_either_length};
use nightloom_wire::Kind;

fuzz_target!(|bytes: &[u8]| with_either_length(bytes, |bytes| check_batches(bytes, Kind::Request)));
