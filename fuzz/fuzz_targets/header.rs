//! [`Header::read`] on foreign bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_wire::{HEADER_BYTES, Header, Writer};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = Header::read(bytes) {
        let mut writer = Writer::new(Vec::new());
        header.write(&mut writer).expect("writing to memory does not fail");
        assert_eq!(writer.into_inner(), bytes[..HEADER_BYTES as usize]);
    }
});
