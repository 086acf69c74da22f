//! [`MaskedProducts::read`] on foreign bytes, under each agreement of the golden files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fe::delegate::MaskedProducts;
use nightloom_fuzz::{AGREEMENTS, with_either_length};

fuzz_target!(|bytes: &[u8]| with_either_length(bytes, |bytes| {
    for agreement in AGREEMENTS.iter() {
        let Ok(products) = MaskedProducts::read(bytes, agreement) else { continue };
        let mut again = Vec::new();
        products.write(&mut again).expect("what was read can be written");
        assert_eq!(again, bytes);
    }
}));
