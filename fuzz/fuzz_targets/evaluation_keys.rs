//! [`wire::read_evaluation_keys`] on foreign bytes, of either version.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fuzz::{check, with_either_length};
use nightloom_he::wire;
use nightloom_wire::Header;

fuzz_target!(|bytes: &[u8]| with_either_length(bytes, |bytes| {
    check(
        bytes,
        |bytes, params| {
            let version = Header::read(bytes)?.version;
            Ok((version, wire::read_evaluation_keys(bytes, params, bytes.len() as u64)?))
        },
        |writer, (version, keys)| match version {
            1 => wire::write_relinearization_key(writer, keys.relinearization().expect("all that version 1 holds")),
            _ => wire::write_evaluation_keys(writer, keys),
        },
    );
}));
