//! [`Trainer::read`] on foreign bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fe::learn::Trainer;
use nightloom_fuzz::with_either_length;

fuzz_target!(|bytes: &[u8]| with_either_length(bytes, check));

fn check(bytes: &[u8]) {
    let Ok(trainer) = Trainer::read(bytes) else { return };
    // The specification is JSON, which has many spellings, but what was read is written and read without loss.
    let again = encode(&trainer);
    let trainer = Trainer::read(&*again).expect("what was written can be read");
    assert_eq!(encode(&trainer), again);
}

fn encode(trainer: &Trainer) -> Vec<u8> {
    let mut bytes = Vec::new();
    trainer.write(&mut bytes).expect("what was read can be written");
    bytes
}
