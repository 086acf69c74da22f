//! [`nightloom_fe::wire::read`] of function keys on foreign bytes, of every scheme.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fe::{
    DdhAdaptiveFunctionKeys, DdhFunctionKeys, FeboFunctionKeys, MlweFunctionKeys, PadFunctionKeys, RlweFunctionKeys,
};
use nightloom_fuzz::{SCHEMES, check_artefact, with_either_length};

fuzz_target!(|bytes: &[u8]| with_either_length(bytes, |bytes| {
    let asked = &SCHEMES.asked;
    check_artefact::<DdhFunctionKeys>(bytes, (&SCHEMES.ddh, asked));
    check_artefact::<DdhAdaptiveFunctionKeys>(bytes, (&SCHEMES.adaptive, asked));
    check_artefact::<PadFunctionKeys>(bytes, (&SCHEMES.pad, asked));
    check_artefact::<RlweFunctionKeys>(bytes, (&SCHEMES.rlwe, asked));
    check_artefact::<MlweFunctionKeys>(bytes, (&SCHEMES.mlwe, asked));
    check_artefact::<FeboFunctionKeys>(bytes, &SCHEMES.febo);
}));
