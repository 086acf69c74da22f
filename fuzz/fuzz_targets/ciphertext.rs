//! [`wire::read_ciphertext`] on foreign bytes, and the scale of what it returns.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fuzz::check;
use nightloom_he::wire;
use nightloom_wire::Kind;

fuzz_target!(|bytes: &[u8]| {
    check(
        bytes,
        |bytes, params| {
            let mut reader = wire::open(bytes, Kind::Ciphertext, params, bytes.len() as u64)?;
            let ciphertext = wire::read_ciphertext(&mut reader, params)?;
            reader.finish()?;
            // A scale of any size has a value, be it zero or infinite, and powers.
            assert!(!ciphertext.scale().square().to_f64().is_nan());
            Ok(ciphertext)
        },
        |writer, ciphertext| {
            let id = ciphertext.params().id();
            wire::write_preamble(writer, Kind::Ciphertext, id, wire::ciphertext_bytes(ciphertext))?;
            wire::write_ciphertext(writer, ciphertext)
        },
    );
});
