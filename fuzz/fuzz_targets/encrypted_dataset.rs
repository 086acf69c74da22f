//! [`EncryptedDataset`] on foreign bytes, under each agreement of the golden files.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use nightloom_fe::upload::EncryptedDataset;
use nightloom_fuzz::{AGREEMENTS, with_either_length};

fuzz_target!(|bytes: &[u8]| with_either_length(bytes, |bytes| {
    for agreement in AGREEMENTS.iter() {
        let Ok(mut dataset) = EncryptedDataset::open(Cursor::new(bytes), agreement) else { continue };
        if let Ok(again) = dataset.again() {
            assert_eq!(again, bytes);
        }
    }
}));
