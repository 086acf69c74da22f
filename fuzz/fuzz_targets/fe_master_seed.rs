//! [`nightloom_fe::wire::read_master_seed`] on foreign bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fe::wire;
use nightloom_wire::Writer;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(seed) = wire::read_master_seed(bytes) {
        let mut writer = Writer::new(Vec::new());
        wire::write_master_seed(&mut writer, &seed).expect("what was read can be written");
        assert_eq!(writer.into_inner(), bytes);
    }
});
