//! [`wire::read_relinearization_key`] on foreign bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fuzz::check;
use nightloom_he::wire;

fuzz_target!(|bytes: &[u8]| {
    check(
        bytes,
        |bytes, params| wire::read_relinearization_key(bytes, params),
        |writer, key| wire::write_relinearization_key(writer, key),
    );
});
