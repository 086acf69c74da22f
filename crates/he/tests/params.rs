//! Parameters: the security table, what is refused, and that a spec means the same primes and identifier everywhere.

use std::collections::HashSet;

use nightloom_he::{CkksSpec, Level, Ring, SpecError, security};
use nightloom_ring::{RingError, prime};

const RINGS: [Ring; 2] = [Ring::Standard, Ring::ConjugateInvariant];

fn spec(ring: Ring, log_degree: u32, prime_bits: &[u32], special_bits: &[u32]) -> CkksSpec {
    CkksSpec { ring, log_degree, prime_bits: prime_bits.to_vec(), special_bits: special_bits.to_vec() }
}

/// Primes of 20 to 50 bits each, `total` bits together, divided into chain and special primes where they are many.
fn of_bits(ring: Ring, log_degree: u32, total: u32) -> CkksSpec {
    let count = total.div_ceil(50);
    let mut sizes: Vec<u32> = (0..count).map(|index| (total + index) / count).rev().collect();
    assert_eq!(sizes.iter().sum::<u32>(), total);
    let special = if count > 64 { sizes.drain(..sizes.len() / 2 + 1).collect() } else { vec![] };
    spec(ring, log_degree, &sizes, &special)
}

#[test]
fn the_table_decides() {
    for ring in RINGS {
        for log_degree in security::log_degrees() {
            let max = security::max_log_qp(log_degree).unwrap();
            match of_bits(ring, log_degree, max + 1).validate() {
                Err(SpecError::InsecureModulus { log_degree: found, log_qp, max: limit }) => {
                    assert_eq!((found, limit), (log_degree, max));
                    assert!(log_qp > f64::from(max) && log_qp < f64::from(max + 1), "{log_qp}");
                }
                found => panic!("{ring} 2^{log_degree}: {found:?}"),
            }
            // The tables of larger degrees take seconds and are no different.
            if log_degree <= 14 {
                let params = of_bits(ring, log_degree, max).validate().unwrap();
                assert!(params.is_secure() && params.log_qp() <= f64::from(max));
                assert!(params.log_qp() > f64::from(max) - 0.5, "{}", params.log_qp());
            }
        }
    }
}

#[test]
fn the_table_is_that_of_the_guidelines() {
    let table: Vec<u32> = security::log_degrees().filter_map(security::max_log_qp).collect();
    assert_eq!(table, [26, 53, 106, 214, 430, 868, 1747, 3523]);
    assert_eq!(security::log_degrees().collect::<Vec<_>>(), (10..=17).collect::<Vec<_>>());
    assert_eq!((security::max_log_qp(9), security::max_log_qp(18)), (None, None));
}

#[test]
fn special_primes_count_against_the_table() {
    let chain = spec(Ring::Standard, 12, &[40, 40], &[]);
    assert!(chain.validate().is_ok());
    let with_special = CkksSpec { special_bits: vec![40], ..chain };
    assert!(matches!(with_special.validate(), Err(SpecError::InsecureModulus { max: 106, .. })));
}

#[test]
fn insecure_parameters_say_so() {
    let insecure = spec(Ring::ConjugateInvariant, 11, &[40, 40], &[]);
    assert!(matches!(insecure.validate(), Err(SpecError::InsecureModulus { .. })));
    assert!(!insecure.validate_insecure().unwrap().is_secure());
    // A degree outside the table is never secure, whatever the modulus.
    let small = spec(Ring::Standard, 9, &[20], &[]);
    assert_eq!(small.validate().unwrap_err(), SpecError::UnsupportedDegree { log_degree: 9 });
    assert!(!small.validate_insecure().unwrap().is_secure());
    // Security is a fact of the parameters and not of the function that made them.
    let secure = spec(Ring::Standard, 11, &[26, 26], &[]);
    assert!(secure.validate_insecure().unwrap().is_secure());
    assert_eq!(secure.validate_insecure().unwrap(), secure.validate().unwrap());
}

#[test]
fn impossible_specs_are_typed_errors() {
    let base = spec(Ring::Standard, 11, &[30, 30], &[30]);
    let with = |change: fn(&mut CkksSpec)| {
        let mut spec = base.clone();
        change(&mut spec);
        spec.validate_insecure().unwrap_err()
    };
    let count = |what, found, min| SpecError::PrimeCount { what, found, min, max: 64 };
    assert_eq!(with(|spec| spec.prime_bits.clear()), count("modulus chain", 0, 1));
    assert_eq!(with(|spec| spec.prime_bits = vec![30; 65]), count("modulus chain", 65, 1));
    assert_eq!(with(|spec| spec.special_bits = vec![30; 65]), count("special primes", 65, 0));
    let bits = |found| SpecError::PrimeBits { found, min: 20, max: 50 };
    assert_eq!(with(|spec| spec.prime_bits[1] = 19), bits(19));
    assert_eq!(with(|spec| spec.special_bits[0] = 51), bits(51));
    assert_eq!(with(|spec| spec.prime_bits[0] = u32::MAX), bits(u32::MAX));
    let small = SpecError::SpecialTooSmall { special: 30, digit: 31 };
    assert_eq!(with(|spec| spec.prime_bits[1] = 31), small);
    let small = SpecError::SpecialTooSmall { special: 55, digit: 60 };
    assert_eq!(with(|spec| spec.special_bits = vec![30, 25]), small);
    for log_degree in [0, 3, 18, 30, 62, 63, 64, u32::MAX] {
        let found = spec(Ring::ConjugateInvariant, log_degree, &[50], &[]).validate_insecure().unwrap_err();
        assert!(matches!(found, SpecError::Ring(RingError::Degree { .. })), "2^{log_degree}: {found}");
        let found = spec(Ring::Standard, log_degree, &[50], &[]).validate().unwrap_err();
        assert_eq!(found, SpecError::UnsupportedDegree { log_degree });
    }
    // 1 modulo 2^19 and below 2^20: only 2^19 + 1, which 3 divides.
    let scarce = spec(Ring::ConjugateInvariant, 17, &[20], &[]).validate().unwrap_err();
    assert!(matches!(scarce, SpecError::Ring(RingError::NotEnoughPrimes { bits: 20, .. })), "{scarce}");
}

#[test]
fn the_identifier_depends_on_everything() {
    let base = spec(Ring::Standard, 10, &[30, 25], &[31]);
    let mut specs = vec![base.clone()];
    specs.push(CkksSpec { ring: Ring::ConjugateInvariant, ..base.clone() });
    specs.push(CkksSpec { log_degree: 11, ..base.clone() });
    for prime_bits in [vec![30], vec![25, 30], vec![30, 26], vec![30, 25, 25], vec![30, 25, 31]] {
        specs.push(CkksSpec { prime_bits, ..base.clone() });
    }
    for special_bits in [vec![], vec![32], vec![31, 30], vec![30, 31]] {
        specs.push(CkksSpec { special_bits, ..base.clone() });
    }
    let ids: HashSet<_> = specs.iter().map(|spec| spec.validate_insecure().unwrap().id()).collect();
    assert_eq!(ids.len(), specs.len());
    assert_eq!(base.validate_insecure().unwrap(), base.validate_insecure().unwrap());
}

/// Known answers: files name these identifiers, so a spec must mean these primes for ever.
#[test]
fn primes_and_identifiers_are_known() {
    let params = spec(Ring::ConjugateInvariant, 13, &[50, 50, 50], &[50]).validate().unwrap();
    assert_eq!(params.special_primes(), KNOWN_CONJUGATE_INVARIANT.0);
    assert_eq!(params.primes(), KNOWN_CONJUGATE_INVARIANT.1);
    assert_eq!(params.id().0, KNOWN_CONJUGATE_INVARIANT.2);
    let params = spec(Ring::Standard, 14, &[50, 40, 40], &[50, 40]).validate().unwrap();
    assert_eq!(params.special_primes(), KNOWN_STANDARD.0);
    assert_eq!(params.primes(), KNOWN_STANDARD.1);
    assert_eq!(params.id().0, KNOWN_STANDARD.2);
}

/// The largest primes of their size, special ones first.
#[test]
fn primes_are_the_largest_of_their_size() {
    for ring in RINGS {
        let params = spec(ring, 12, &[33, 30, 33], &[33]).validate_insecure().unwrap();
        let order = ring.root_order(params.degree());
        let of_33 = prime::largest_primes(33, order, 3, &[]).unwrap();
        let of_30 = prime::largest_primes(30, order, 1, &[]).unwrap();
        assert_eq!(params.special_primes(), [of_33[0]]);
        assert_eq!(params.primes(), [of_33[1], of_30[0], of_33[2]]);
    }
}

#[test]
fn levels_count_down_to_zero() {
    let params = spec(Ring::Standard, 10, &[30, 25, 26], &[31]).validate_insecure().unwrap();
    assert_eq!(params.top(), Level(2));
    for level in 0..=2 {
        let basis = params.basis(Level(level));
        assert_eq!(basis.len(), Level(level).limbs());
        assert_eq!(basis.moduli().map(|q| q.value()).collect::<Vec<_>>(), params.primes()[..=usize::from(level)]);
        let bits: f64 = params.primes()[..=usize::from(level)].iter().map(|p| (*p as f64).log2()).sum();
        assert!((params.log_q(Level(level)) - bits).abs() < 1e-9);
    }
    assert_eq!((Level(2).down(2), Level(2).down(3)), (Some(Level(0)), None));
    assert!((params.log_qp() - params.log_q(Level(2)) - 31.0).abs() < 0.1);
    assert_eq!((params.slots(), params.degree()), (512, 1024));
    let real = spec(Ring::ConjugateInvariant, 10, &[30], &[]).validate_insecure().unwrap();
    assert_eq!((real.slots(), real.degree()), (1024, 1024));
}

/// Special primes, chain, identifier.
const KNOWN_CONJUGATE_INVARIANT: ([u64; 1], [u64; 3], [u8; 32]) = (
    [1125899904679937],
    [1125899903991809, 1125899903827969, 1125899903795201],
    [
        0x40, 0xcc, 0xa1, 0x61, 0x2d, 0xd0, 0x51, 0x5b, 0xdb, 0x7c, 0xba, 0x82, 0x2f, 0xab, 0x8c, 0x0f, 0xf0, 0x19,
        0x9b, 0x2b, 0xc3, 0x33, 0x50, 0xd4, 0xa0, 0xd4, 0xad, 0x42, 0x93, 0x6c, 0xb8, 0x58,
    ],
);
const KNOWN_STANDARD: ([u64; 2], [u64; 3], [u8; 32]) = (
    [1125899904679937, 1099510054913],
    [1125899903991809, 1099508121601, 1099507695617],
    [
        0x87, 0xc2, 0x41, 0x6c, 0xb5, 0xac, 0xf0, 0x97, 0x65, 0x8a, 0xdf, 0x0b, 0xd8, 0x03, 0xaf, 0x56, 0x89, 0x2d,
        0x93, 0xac, 0x6e, 0x74, 0x2c, 0x96, 0xd0, 0x2b, 0x17, 0xd3, 0x97, 0xa5, 0xac, 0xc1,
    ],
);
