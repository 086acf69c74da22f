//! [`wire::read_spec`] on foreign bytes, and the validation of what it returns.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fuzz::check;
use nightloom_he::wire;
use nightloom_wire::Reader;

fuzz_target!(|bytes: &[u8]| {
    check(
        bytes,
        |bytes, _| {
            let mut reader = Reader::new(bytes, bytes.len() as u64);
            let spec = wire::read_spec(&mut reader)?;
            reader.finish()?;
            Ok(spec)
        },
        |writer, spec| wire::write_spec(writer, spec),
    );
    let Ok(spec) = wire::read_spec(&mut Reader::new(bytes, bytes.len() as u64)) else { return };
    // Larger ones are no different, but slow.
    if spec.log_degree <= 10 && spec.prime_bits.len() + spec.special_bits.len() <= 6 {
        let secure = spec.validate();
        let params = spec.validate_insecure();
        assert_eq!(secure.is_ok(), params.is_ok_and(|params| params.is_secure()));
    }
});
