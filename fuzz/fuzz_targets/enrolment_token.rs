//! [`EnrolmentToken::read`] on foreign bytes, with the agreement in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fe::protocol::EnrolmentToken;
use nightloom_fuzz::with_either_length;

fuzz_target!(|bytes: &[u8]| with_either_length(bytes, check));

fn check(bytes: &[u8]) {
    let Ok(token) = EnrolmentToken::read(bytes) else { return };
    let mut again = Vec::new();
    token.write(&mut again).expect("what was read can be written");
    assert_eq!(again, bytes);
}
