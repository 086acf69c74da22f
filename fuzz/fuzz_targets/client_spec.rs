//! [`read_client_spec`] on foreign bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fuzz::{PREAMBLE_BYTES, is_quick, with_either_length};
use nightloom_program::wire::{Security, client_spec_bytes, read_client_spec};

fuzz_target!(|bytes: &[u8]| with_either_length(bytes, check));

fn check(bytes: &[u8]) {
    if !bytes.get(PREAMBLE_BYTES..).is_none_or(is_quick) {
        return;
    }
    let Ok((spec, params)) = read_client_spec(bytes, Security::Waived) else { return };
    assert_eq!(params.spec(), &spec.parameters);
    assert!(params.is_secure() || spec.insecure);
    assert_eq!(read_client_spec(bytes, Security::Required).is_ok(), !spec.insecure);
    assert!(spec.inputs() > 0 && spec.outputs() > 0);
    // JSON has many spellings, but what was read is written and read without loss.
    let again = client_spec_bytes(&spec, &params).expect("what was read can be written");
    assert_eq!(read_client_spec(&*again, Security::Waived).expect("what was written can be read"), (spec, params));
}
