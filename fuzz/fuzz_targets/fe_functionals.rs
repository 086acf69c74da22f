//! [`nightloom_fe::wire::read`] of functionals on foreign bytes, of every scheme.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fe::{Functionals, InnerProduct};
use nightloom_fuzz::{SCHEMES, check_artefact, with_either_length};

fuzz_target!(|bytes: &[u8]| with_either_length(bytes, |bytes| {
    let ddh = &SCHEMES.ddh;
    check_artefact::<Functionals>(bytes, (ddh.params_id(), ddh.bounds()));
}));
