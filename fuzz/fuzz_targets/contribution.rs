//! [`Contribution::read`] on foreign bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fe::aggregate::Contribution;
use nightloom_fuzz::with_either_length;

fuzz_target!(|bytes: &[u8]| with_either_length(bytes, |bytes| {
    let Ok(contribution) = Contribution::read(bytes) else { return };
    let mut again = Vec::new();
    contribution.write(&mut again).expect("what was read can be written");
    assert_eq!(again, bytes);
}));
