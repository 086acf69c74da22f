//! [`read_encrypted_model`] on foreign bytes, for the golden program.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nightloom_fuzz::{THREAD, check};
use nightloom_he::Ring;
use nightloom_program::Program;
use nightloom_program::wire::{read_encrypted_model, read_program, write_encrypted_model};

static PROGRAMS: LazyLock<[Program; 2]> = LazyLock::new(|| {
    let read = |bytes: &[u8]| read_program(bytes).expect("a golden program can be read").0;
    [
        read(include_bytes!("../../testdata/wire/v1/program/standard-arrays.bin")),
        read(include_bytes!("../../testdata/wire/v1/program/conjugate-invariant-arrays.bin")),
    ]
});

fuzz_target!(|bytes: &[u8]| {
    check(
        bytes,
        |bytes, params| {
            let program = &PROGRAMS[usize::from(params.ring() == Ring::ConjugateInvariant)];
            Ok((read_encrypted_model(bytes, program, &THREAD)?, params.clone()))
        },
        |writer, (model, params)| write_encrypted_model(writer, params, model),
    );
});
