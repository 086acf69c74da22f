//! Answers of an authority on foreign bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fe::protocol::reply_again;
use nightloom_fuzz::with_either_length;

fuzz_target!(|bytes: &[u8]| with_either_length(bytes, |bytes| {
    // Refusals are JSON, which has many spellings, but what was read is written and read without loss.
    if let Ok(again) = reply_again(bytes) {
        assert_eq!(reply_again(&again).expect("what was written can be read"), again);
    }
}));
