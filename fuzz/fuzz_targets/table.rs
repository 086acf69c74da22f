//! [`decode_table`] on foreign bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom::samples::{Missing, decode_table};

fuzz_target!(|bytes: &[u8]| {
    for missing in [Missing::Refuse, Missing::DropRow] {
        let Ok(mut table) = decode_table(bytes, "table", missing) else { continue };
        if let Ok((values, width)) = table.features() {
            assert_eq!(values.len(), width * table.rows());
            assert!(values.iter().all(|value| value.is_finite()));
        }
        let (labels, classes) = table.take_labels("-1").expect("there is a last column");
        assert!(labels.len() == table.rows() && labels.iter().all(|label| *label < classes.len()));
    }
});
