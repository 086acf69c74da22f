//! [`samples::decode`] on foreign bytes: NumPy, IDX, gzip and PNG, found by their first bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom::samples::{self, SampleValues, Scaling};

fuzz_target!(|bytes: &[u8]| {
    let Ok(samples) = samples::decode(bytes, "foreign") else { return };
    let width: usize = samples.shape().iter().product();
    assert!(width > 0 && !samples.is_empty());
    assert_eq!(samples.len() * width, samples.values().len());
    assert!(match samples.values() {
        SampleValues::Pixels(_) => true,
        SampleValues::Singles(values) => values.iter().all(|value| value.is_finite()),
        SampleValues::Doubles(values) => values.iter().all(|value| value.is_finite()),
    });
    let scaling = Scaling { scale: 1.0, offset: 0.0 };
    let features = samples.features(samples.shape(), scaling).expect("samples have their own shape");
    assert_eq!(features.row(samples.len() - 1).len(), width);
});
