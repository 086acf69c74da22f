//! What concerns every scheme: one suite for all, and the attacks that they cannot stop.

mod attacks;
mod suite;

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::{Bounds, Functionals, InnerProduct, Label, MasterSeed};

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

fn label(name: &str) -> Label {
    Label::new(name).unwrap()
}

fn master<S: InnerProduct>(scheme: &S, name: &str) -> S::MasterKey {
    scheme.master_key(&MasterSeed::from_bytes([5; 32]), &label(name))
}

/// Integers within `+-bound`; every eighth is an end of the range.
fn integers(rng: &mut ChaCha20Rng, count: usize, bound: u32) -> Vec<i32> {
    let integer = |rng: &mut ChaCha20Rng| {
        let word = rng.next_u64();
        match word >> 60 {
            0 => bound as i32,
            1 => -(bound as i32),
            _ => ((word >> 8) % (2 * u64::from(bound) + 1)) as i32 - bound as i32,
        }
    };
    (0..count).map(|_| integer(rng)).collect()
}

/// Random samples with extreme ones before them, and random functionals after extreme ones: together they reach both
/// ends of the range of results.
fn corners(bounds: &Bounds, samples: usize, functionals: usize, seed: u8) -> (Vec<i32>, Functionals) {
    let (dimension, data, weight) = (bounds.dimension(), bounds.data() as i32, bounds.weight() as i32);
    let mut rng = rng(seed);
    let mut values: Vec<i32> = [data, -data, 0].into_iter().flat_map(|x| vec![x; dimension]).collect();
    values.extend(integers(&mut rng, samples * dimension, bounds.data()));
    let mut rows = Vec::new();
    for row in 0..functionals + 3 {
        let weights = match row {
            0 => vec![weight; bounds.terms()],
            1 => vec![-weight; bounds.terms()],
            2 => vec![0; bounds.terms()],
            _ => integers(&mut rng, bounds.terms(), bounds.weight()),
        };
        // Any rising coordinates.
        let first = row % (dimension - bounds.terms() + 1);
        rows.push((first as u32..).zip(weights).collect::<Vec<_>>());
    }
    (values, Functionals::sparse(dimension, rows).unwrap())
}
