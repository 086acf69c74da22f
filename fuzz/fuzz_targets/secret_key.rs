//! [`wire::read_secret_key`] on foreign bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fuzz::check;
use nightloom_he::wire;

fuzz_target!(|bytes: &[u8]| {
    check(
        bytes,
        |bytes, params| wire::read_secret_key(bytes, params),
        |writer, key| wire::write_secret_key(writer, key),
    );
});
