//! [`nightloom_fe::authority::read_ledger`] on foreign bytes, and on the same records with hashes that fit them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightloom_fe::MasterSeed;
use nightloom_fe::authority::{Authority, ledger_again, read_ledger, rechained};

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&rechained(bytes));
});

fn check(bytes: &[u8]) {
    let Ok(records) = read_ledger(bytes) else { return };
    let again = ledger_again(bytes).expect("what was read can be written");
    assert_eq!(again, bytes[..records.whole as usize]);
    assert_eq!(bytes.len() as u64, records.whole + records.torn);
    // Records in any order either lead to a state or are refused.
    let _ = Authority::restore(MasterSeed::from_bytes([0x51; 32]), records);
}
