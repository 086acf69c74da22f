//! [`Model::read`] on foreign bytes: networks and models from counts. What is read is written as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom::train::model::Model;

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = Model::read(bytes) else { return };
    let mut again = Vec::new();
    model.write(&mut again).expect("memory takes everything");
    // JSON has other spellings, but the one that is written is read as the same.
    let same = Model::read(&*again).expect("what was written can be read");
    let mut third = Vec::new();
    same.write(&mut third).expect("memory takes everything");
    assert_eq!(again, third);
    let _ = model.onnx();
});
