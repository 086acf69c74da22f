//! [`wire::read_compressed_ciphertext`] on foreign bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fuzz::check;
use nightloom_he::wire;
use nightloom_wire::Reader;

fuzz_target!(|bytes: &[u8]| {
    check(
        bytes,
        |bytes, params| {
            let mut reader = Reader::new(bytes, bytes.len() as u64);
            let ciphertext = wire::read_compressed_ciphertext(&mut reader, params)?;
            reader.finish()?;
            assert_eq!(wire::compressed_ciphertext_bytes(&ciphertext), bytes.len() as u64);
            Ok(ciphertext)
        },
        |writer, ciphertext| wire::write_compressed_ciphertext(writer, ciphertext),
    );
});
