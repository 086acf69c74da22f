//! Messages to an authority on foreign bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fe::protocol::request_again;
use nightloom_fuzz::with_either_length;

fuzz_target!(|bytes: &[u8]| with_either_length(bytes, |bytes| {
    if let Ok(again) = request_again(bytes) {
        assert_eq!(again, bytes);
    }
}));
