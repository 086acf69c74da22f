//! [`read_program`] on foreign bytes, and what a service asks of a program before it runs one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fuzz::{PREAMBLE_BYTES, is_quick, with_either_length};
use nightloom_program::wire::{program_bytes, program_id, read_program};

/// Values and weights above which an evaluation is slow.
const MANY: usize = 1 << 16;

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
    let Ok((program, insecure)) = read_program(bytes) else { return };
    let (again, id) = program_bytes(&program, insecure).expect("what was read can be written");
    assert_eq!(id, program_id(&again));
    assert_eq!(read_program(&*again).expect("what was written can be read"), (program.clone(), insecure));
    // JSON has many spellings; everything else has one.
    assert_eq!(parts(&again).map(|(_, ops)| ops), parts(bytes).map(|(_, ops)| ops));

    let (period, outputs) = (program.period(), program.output_type().features);
    let values = program.types().iter().map(|value| value.features).sum::<usize>().saturating_mul(period);
    if values.saturating_mul(outputs.max(1)) <= MANY && bytes.len() <= MANY {
        let input = vec![0.5; program.input_type().features * period];
        let model: Vec<Vec<f64>> = program.model().map(|(array, period)| vec![0.25; array.features * period]).collect();
        assert_eq!(program.evaluate_all(&input, &model)[program.output().0].len(), outputs * period);
        let bounds = program.output_bounds(&input, &model, (0..outputs).map(|feature| feature * period));
        assert_eq!(bounds.len(), outputs);
    }
    program.evaluation_keys();
    program.total_work();
}
