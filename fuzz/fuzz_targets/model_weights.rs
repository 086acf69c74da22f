//! [`read_model_weights`] on foreign bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fuzz::{PREAMBLE_BYTES, is_quick, with_either_length};
use nightloom_program::wire::{model_weights_bytes, read_model_weights};

/// The JSON text and what follows it.
fn parts(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.get(PREAMBLE_BYTES..)?.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

fuzz_target!(|bytes: &[u8]| with_either_length(bytes, check));

fn check(bytes: &[u8]) {
    if !parts(bytes).is_none_or(|(json, _)| is_quick(json)) {
        return;
    }
    let Ok(weights) = read_model_weights(bytes) else { return };
    assert!(weights.arrays.iter().all(|array| array.level <= weights.params.top()));
    let again = model_weights_bytes(&weights).expect("what was read can be written");
    assert!(read_model_weights(&*again).expect("what was written can be read") == weights);
    // JSON has many spellings; everything else has one.
    assert_eq!(parts(&again).map(|(_, arrays)| arrays), parts(bytes).map(|(_, arrays)| arrays));
}
