//! One suite for every kernel: each method against its definition in wide integers, at the ends of its ranges too.

use num_bigint::BigInt;
use proptest::prelude::*;

use super::{Kernel, available};
use crate::linear::MatrixScratch;
use crate::{IntegerMatrix, Modulus, NttTable, Pool, Ring, prime};

/// Primes of all sizes; the last ones are 1 modulo `2^19`, so that every transform exists.
fn moduli() -> Vec<Modulus> {
    let mut primes = vec![3, 257, 12289];
    for bits in [25, 30, 49, 50] {
        primes.extend(prime::largest_primes(bits, 1 << 19, 1, &[]).unwrap());
    }
    primes.into_iter().map(|p| Modulus::new(p).unwrap()).collect()
}

fn lengths() -> impl Strategy<Value = usize> {
    // Around four and eight lanes.
    prop_oneof![Just(0usize), Just(1), Just(3), Just(4), Just(5), Just(7), Just(8), Just(9), Just(16), 6usize..70]
}

/// Canonical residues with many at the ends of the range.
fn residues(q: Modulus, words: &[u64]) -> Vec<f64> {
    let p = q.value();
    words
        .iter()
        .map(|&word| {
            q.center(match word % 8 {
                0 => p / 2,
                1 => p / 2 + 1,
                2 => 0,
                3 => p - 1,
                _ => (word >> 3) % p,
            })
        })
        .collect()
}

fn wide(x: f64) -> i128 {
    x as i128
}

/// The definition of canonical.
fn canonical(q: Modulus, x: i128) -> f64 {
    q.center(x.rem_euclid(i128::from(q.value())) as u64)
}

fn for_each(test: impl Fn(&'static dyn Kernel, Modulus)) {
    for kernel in available() {
        for q in moduli() {
            test(kernel, q);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn elementwise_operations_match_wide_integers(
        (a, b, c) in lengths().prop_flat_map(|n| {
            let words = move || proptest::collection::vec(any::<u64>(), n);
            (words(), words(), words())
        }),
        scalar: u64,
    ) {
        for_each(|kernel, q| {
            let (a, b, c) = (residues(q, &a), residues(q, &b), residues(q, &c));
            let w = residues(q, &[scalar])[0];
            let check = |name: &str, found: &[f64], expected: &dyn Fn(usize) -> i128| {
                for (i, found) in found.iter().enumerate() {
                    assert_eq!(*found, canonical(q, expected(i)), "{name} {} {q:?} [{i}]", kernel.name());
                }
            };
            let (x, y, z) = (|i: usize| wide(a[i]), |i: usize| wide(b[i]), |i: usize| wide(c[i]));
            let run = |f: &dyn Fn(&mut [f64])| { let mut out = a.clone(); f(&mut out); out };
            check("add", &run(&|out| kernel.add(q, out, &b)), &|i| x(i) + y(i));
            check("sub", &run(&|out| kernel.sub(q, out, &b)), &|i| x(i) - y(i));
            check("add_scalar", &run(&|out| kernel.add_scalar(q, out, w)), &|i| x(i) + wide(w));
            check("mul", &run(&|out| kernel.mul(q, out, &b, &c)), &|i| y(i) * z(i));
            check("mul_add", &run(&|out| kernel.mul_add(q, out, &b, &c)), &|i| x(i) + y(i) * z(i));
            check("mul_scalar", &run(&|out| kernel.mul_scalar(q, out, w)), &|i| x(i) * wide(w));
            check("mul_scalar_add", &run(&|out| kernel.mul_scalar_add(q, out, &b, w)), &|i| x(i) + y(i) * wide(w));
            check("sub_mul_scalar", &run(&|out| kernel.sub_mul_scalar(q, out, &b, w)), &|i| (x(i) - y(i)) * wide(w));
            let (mut s0, mut s1, mut s2) = (a.clone(), b.clone(), c.clone());
            kernel.square(q, &mut s0, &mut s1, &mut s2);
            check("square 0", &s0, &|i| x(i) * x(i));
            check("square 1", &s1, &|i| 2 * x(i) * y(i));
            check("square 2", &s2, &|i| y(i) * y(i));
            for terms in [0, 1, 3, 8, 9, 16, 29] {
                let pairs: Vec<(&[f64], &[f64])> = (0..terms).map(|t| if t % 3 == 0 { (&*a, &*a) } else { (&*b, &*c) }).collect();
                let expected = |i: usize| {
                    let square = (0..terms).filter(|t| t % 3 == 0).count() as i128;
                    square * (x(i) * x(i) % i128::from(q.value())) + (terms as i128 - square) * (y(i) * z(i) % i128::from(q.value()))
                };
                check("dot", &run(&|out| kernel.dot(q, out, &pairs)), &expected);
            }
        });
    }

    #[test]
    fn integers_of_49_bits_reduce_and_combine(words in lengths().prop_flat_map(|n| proptest::collection::vec(any::<u64>(), n)), scalar: u64) {
        let bound = (1i64 << 49) - 1;
        let integers: Vec<f64> = words.iter().map(|w| match w % 4 { 0 => bound, 1 => -bound, _ => (*w as i64) >> 15 } as f64).collect();
        assert!(integers.iter().all(|x| x.abs() <= bound as f64));
        for_each(|kernel, q| {
            let mut out = vec![0.0; integers.len()];
            kernel.reduce(q, &mut out, &integers);
            for (x, found) in integers.iter().zip(&out) {
                assert_eq!(*found, canonical(q, wide(*x)), "reduce {} {q:?} {x}", kernel.name());
            }
            let scalars = residues(q, &[scalar, 0, 1, scalar >> 1, scalar >> 2]);
            for terms in [0, 1, 2, 5, 8, 9, 17] {
                let pairs: Vec<(&[f64], f64)> = (0..terms).map(|t| (&*integers, scalars[t % 5])).collect();
                kernel.combine(q, &mut out, &pairs);
                let sum: i128 = (0..terms).map(|t| wide(scalars[t % 5])).sum();
                for (x, found) in integers.iter().zip(&out) {
                    assert_eq!(*found, canonical(q, wide(*x) * sum), "combine {} {q:?} {x}", kernel.name());
                }
            }
        });
    }

    #[test]
    fn matrices_match_wide_integers(
        seed: u64, rows in 1usize..30, columns in 0usize..40, many_columns: bool, density in 1u64..8, bits in 1u32..18, vectors in 0usize..12,
    ) {
        let columns = if many_columns { columns * 40 } else { columns };
        let mut state = seed;
        let mut next = move || { state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); state >> 20 };
        let pattern: Vec<u64> = (0..columns).map(|_| next()).collect();
        let lists: Vec<Vec<(u32, i32)>> = (0..rows).map(|row| {
            let kept = (0..columns).filter(|c| (pattern[*c] + row as u64 / 7) % 8 < density);
            kept.map(|c| (c as u32, (next() % (1 << bits)) as i32 - (1 << bits >> 1))).collect()
        }).collect();
        let matrix = IntegerMatrix::new(columns, &lists).unwrap();
        let width = 4 * vectors;
        for_each(|kernel, q| {
            let words: Vec<u64> = (0..columns * width).map(|i| seed.wrapping_mul(i as u64 * 2 + 1)).collect();
            let input = residues(q, &words);
            let mut output = vec![0.0; rows * width];
            kernel.matrix(q, &matrix, &input, &mut output, width, &mut MatrixScratch::new(&Pool::new()));
            for (row, list) in lists.iter().enumerate() {
                for j in 0..width {
                    let sum = list.iter().map(|(c, w)| i128::from(*w) * wide(input[*c as usize * width + j])).sum();
                    assert_eq!(output[row * width + j], canonical(q, sum), "matrix {} {q:?}", kernel.name());
                }
            }
        });
    }
}

#[test]
fn inversions_count_the_bounds_that_are_reached() {
    let bounds = [1, 5, 5, 1 << 40, i64::MAX - 1, i64::MAX];
    let uniforms = [0, 1, 4, 5, 6, (1 << 40) - 1, 1 << 40, i64::MAX - 2, i64::MAX - 1, i64::MAX];
    for length in [0, 1, 15, 16, 17, 40] {
        let words: Vec<u64> =
            (0..length).map(|i| (uniforms[i % uniforms.len()] as u64) << 1 | (i as u64 / 3 % 2)).collect();
        for kernel in available() {
            let mut out = vec![0.5; length];
            kernel.invert_cumulative(&bounds, &words, &mut out);
            for (word, found) in words.iter().zip(out) {
                let count = bounds.iter().filter(|bound| **bound as u64 <= word >> 1).count() as f64;
                assert_eq!(found, if word % 2 == 1 { -count } else { count }, "{} {word}", kernel.name());
            }
        }
    }
}

#[test]
fn a_row_at_the_bound_is_exact_and_beyond_it_refused() {
    let row: Vec<(u32, i32)> = (0..1024).map(|c| (c, 1 << 17)).collect();
    let matrix = IntegerMatrix::new(1024, std::slice::from_ref(&row)).unwrap();
    for_each(|kernel, q| {
        for x in [q.center(q.value() / 2), q.center(q.value() / 2 + 1)] {
            let mut output = [0.0; 4];
            let input = vec![x; 4096];
            kernel.matrix(q, &matrix, &input, &mut output, 4, &mut MatrixScratch::new(&Pool::new()));
            assert_eq!(output, [canonical(q, wide(x) << 27); 4], "{}", kernel.name());
        }
    });
    let mut larger = row;
    larger[0].1 += 1;
    assert!(IntegerMatrix::new(1024, &[larger]).is_err());
}

/// Both matrix algorithms at the ends of their ranges: rows at the bound of one panel of 16-bit entries and just beyond, for
/// residues whose digits in base `2^13` are all as low, or as high, as balanced digits get.
#[test]
fn rows_of_16_bit_entries_are_exact_at_their_bound() {
    let extreme = |weight: i32, rest: i32| -> Vec<(u32, i32)> {
        (0..16).map(|c| (c, weight)).chain([(16, rest), (17, weight.signum())]).collect()
    };
    for rest in [14, 15, 16] {
        let rows =
            [extreme(i32::from(i16::MAX), rest), extreme(-i32::from(i16::MAX), -rest), extreme(-32768, 1), vec![]];
        let matrix = IntegerMatrix::new(19, &rows).unwrap();
        let lowest = -((1i64 << 12) + (1 << 25) + (1 << 38)) as f64;
        let highest = (((1i64 << 12) - 1) * (1 + (1 << 13) + (1 << 26))) as f64;
        let half = (moduli().pop().unwrap().value() / 2) as f64;
        for_each(|kernel, q| {
            for x in [lowest, highest, half, -half] {
                let x = canonical(q, wide(x));
                let input = vec![x; 19 * 12];
                let mut output = vec![1.0; rows.len() * 12];
                kernel.matrix(q, &matrix, &input, &mut output, 12, &mut MatrixScratch::new(&Pool::new()));
                for (row, output) in rows.iter().zip(output.chunks_exact(12)) {
                    let sum: i128 = row.iter().map(|(_, w)| i128::from(*w) * wide(x)).sum();
                    assert_eq!(output, [canonical(q, sum); 12], "{} {q:?} {x}", kernel.name());
                }
            }
        });
    }
}

/// The largest sums that a dot product or a combination may meet between two reductions.
#[test]
fn sums_of_the_largest_products_are_exact() {
    let bound = ((1i64 << 49) - 1) as f64;
    for_each(|kernel, q| {
        let largest = q.center(q.value() / 2);
        for terms in [7, 8, 9, 16, 17] {
            for signs in [[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]] {
                let a: Vec<Vec<f64>> = (0..terms).map(|t| vec![signs[t % 2] * largest; 21]).collect();
                let b = vec![largest; 21];
                let mut out = vec![0.0; 21];
                let pairs: Vec<(&[f64], &[f64])> = a.iter().map(|a| (&**a, &*b)).collect();
                kernel.dot(q, &mut out, &pairs);
                let sum: i128 = a.iter().map(|a| wide(a[0]) * wide(largest)).sum();
                assert_eq!(out, [canonical(q, sum); 21], "dot {} {q:?}", kernel.name());

                let a: Vec<Vec<f64>> = (0..terms).map(|t| vec![signs[t % 2] * bound; 21]).collect();
                let pairs: Vec<(&[f64], f64)> = a.iter().map(|a| (&**a, largest)).collect();
                kernel.combine(q, &mut out, &pairs);
                let sum: i128 = a.iter().map(|a| wide(a[0]) * wide(largest)).sum();
                assert_eq!(out, [canonical(q, sum); 21], "combine {} {q:?}", kernel.name());
            }
        }
    });
}

/// `X^j` evaluated at the root of each position, by Horner on the definition: the value of `a` at `zeta^e` where the
/// leaf exponents come from the tree of `NttTable`.
fn definition(table: &NttTable, a: &[f64]) -> Vec<f64> {
    let (q, n) = (table.modulus(), a.len());
    let order = table.ring().root_order(n);
    let zeta =
        (2..).map(|g| q.pow(g, (q.value() - 1) / order)).find(|z| q.pow(*z, order / 2) == q.value() - 1).unwrap();
    let exponent = |position: usize| {
        let path = (0..n.trailing_zeros()).rev().map(|bit| position >> bit & 1);
        path.fold(n as u64, |e, right| e / 2 + right as u64 * order / 2)
    };
    (0..n)
        .map(|position| {
            let point = q.pow(zeta, exponent(position));
            let horner = |point: u64| a.iter().rev().fold(0, |sum, x| q.add(q.mul(sum, point), q.lift(*x)));
            q.center(match table.ring() {
                Ring::Standard => horner(point),
                // a_0 + sum a_j (x^j + x^-j).
                Ring::ConjugateInvariant => q.sub(q.add(horner(point), horner(q.inverse(point))), q.lift(a[0])),
            })
        })
        .collect()
}

fn noise(q: Modulus, n: usize, seed: u64) -> Vec<f64> {
    let words: Vec<u64> = (1..=n as u64)
        .map(|i| (i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(i | 1))
        .collect();
    residues(q, &words)
}

#[test]
fn transforms_match_their_definition() {
    for q in moduli().into_iter().filter(|q| q.value() % (1 << 19) == 1) {
        for ring in [Ring::Standard, Ring::ConjugateInvariant] {
            for n in [16, 32, 64, 128, 512, 1024] {
                let table = NttTable::new(q, n, ring).unwrap();
                let a = noise(q, n, 1);
                let expected = definition(&table, &a);
                for kernel in available() {
                    let mut found = a.clone();
                    kernel.ntt_forward(&table, &mut found);
                    assert_eq!(found, expected, "{} {n} {ring}", kernel.name());
                    kernel.ntt_inverse(&table, &mut found);
                    assert_eq!(found, a, "{} {n} {ring}", kernel.name());
                }
            }
        }
    }
}

#[test]
fn transforms_of_all_sizes_agree_and_invert() {
    for q in moduli().into_iter().filter(|q| q.value() % (1 << 19) == 1) {
        for (log, ring) in (4..=17).flat_map(|log| [(log, Ring::Standard), (log, Ring::ConjugateInvariant)]) {
            let table = NttTable::new(q, 1 << log, ring).unwrap();
            let largest = vec![q.center(q.value() / 2); 1 << log];
            let alternating: Vec<f64> =
                largest.iter().enumerate().map(|(i, x)| if i % 2 == 0 { *x } else { -x }).collect();
            for a in [noise(q, 1 << log, 2), largest, alternating] {
                let results: Vec<Vec<f64>> = available()
                    .iter()
                    .map(|kernel| {
                        let mut x = a.clone();
                        kernel.ntt_forward(&table, &mut x);
                        let transformed = x.clone();
                        kernel.ntt_inverse(&table, &mut x);
                        assert!(x == a, "{} 2^{log} {ring} does not invert", kernel.name());
                        transformed
                    })
                    .collect();
                assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "kernels differ at 2^{log} {ring}");
            }
        }
    }
}

/// Transforms merged with what comes before or after them, from the largest integers at every degree.
#[test]
fn merged_transforms_are_those_of_their_parts() {
    let largest = ((1i64 << 49) - 1) as f64;
    for q in moduli().into_iter().filter(|q| q.value() % (1 << 19) == 1) {
        let half = q.center(q.value() / 2);
        for (log, ring) in (4..=13).flat_map(|log| [(log, Ring::Standard), (log, Ring::ConjugateInvariant)]) {
            let n = 1 << log;
            let table = NttTable::new(q, n, ring).unwrap();
            let small = noise(q, n, 5);
            let mixed: Vec<f64> =
                small.iter().enumerate().map(|(i, x)| [largest, -largest, *x, 0.0][(i ^ i >> 3) % 4]).collect();
            let sources = [vec![largest; n], vec![-largest; n], mixed];
            let weights = [half, -half, small[1]];
            for terms in 1..=5 {
                let of = |shift: usize| -> Vec<(&[f64], f64)> {
                    (0..terms).map(|t| (&*sources[(t + shift) % 3], weights[(t * shift) % 3])).collect()
                };
                let signs: Vec<f64> = (0..n).map(|i| [1.0, -1.0, 0.0][i % 3] * terms as f64).collect();
                for (terms, correction) in [
                    (of(0), Some((&*signs, half))),
                    (of(0), Some((&*signs, -half))),
                    (of(1), Some((&*signs, half))),
                    (of(2), None),
                    (vec![(&*sources[2], 1.0)], None),
                ] {
                    let mut results = available().into_iter().map(|kernel| {
                        let mut out = vec![0.5; n];
                        kernel.combine_forward(&table, &mut out, &terms, correction);
                        out
                    });
                    let mut parts = vec![0.0; n];
                    let all: Vec<(&[f64], f64)> = terms.iter().copied().chain(correction).collect();
                    available()[0].combine(q, &mut parts, &all);
                    available()[0].ntt_forward(&table, &mut parts);
                    assert!(results.all(|result| result == parts), "{q:?} 2^{log} {ring}, {} terms", all.len());
                }
            }
            for w in [half, -half, 1.0] {
                for kernel in available() {
                    let (mut merged, mut parts) = (small.clone(), small.clone());
                    kernel.ntt_inverse_scaled(&table, &mut merged, w);
                    available()[0].ntt_inverse(&table, &mut parts);
                    available()[0].mul_scalar(q, &mut parts, w);
                    assert!(merged == parts, "{} 2^{log} {ring}", kernel.name());
                }
            }
        }
    }
}

/// Short factors among long ones, as many terms as need several reductions, at the ends of the range.
#[test]
fn short_factors_stand_for_several_positions() {
    for_each(|kernel, q| {
        // Lengths that are no multiple of eight have room for repetitions of four only.
        let every = [1, 4, 8, 16].as_slice();
        for (length, repeats) in [(0, every), (4, &[4, 1]), (12, &[1, 4]), (16, every), (64, every), (80, every)] {
            let a = noise(q, length, 6);
            let largest = vec![q.center(q.value() / 2); length];
            for terms in [0, 1, 2, 9, 17] {
                let factor = |t: usize| -> Vec<f64> {
                    let repeat = repeats[t % repeats.len()];
                    noise(q, length / repeat, t as u64).iter().map(|x| [largest[0], *x, -*x][t % 3]).collect()
                };
                let short: Vec<Vec<f64>> = (0..terms).map(factor).collect();
                let pairs: Vec<(&[f64], &[f64])> = short
                    .iter()
                    .enumerate()
                    .map(|(t, b)| (if t % 2 == 0 { &*largest } else { &*a }, &**b))
                    .filter(|(a, b)| b.is_empty() == a.is_empty())
                    .collect();
                let mut found = vec![1.0; length];
                kernel.dot_repeated(q, &mut found, &pairs);
                for (i, found) in found.iter().enumerate() {
                    let product = |(a, b): &(&[f64], &[f64])| wide(a[i]) * wide(b[i * b.len() / length]);
                    let sum: i128 = pairs.iter().map(|pair| product(pair) % i128::from(q.value())).sum();
                    assert_eq!(*found, canonical(q, sum), "{} {q:?} {length}, {terms} terms", kernel.name());
                }
            }
        }
    });
}

#[test]
#[should_panic(expected = "8 values for 16 positions")]
fn two_positions_are_not_repeated() {
    let q = moduli()[0];
    available().pop().unwrap().dot_repeated(q, &mut [0.0; 16], &[(&[1.0; 16], &[1.0; 8])]);
}

#[test]
fn sums_are_rounded_in_the_order_of_their_terms() {
    for length in [0, 1, 3, 4, 17, 64] {
        let source = |seed: u64| -> Vec<f64> {
            let word = |i: u64| (i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64 >> 15;
            (0..length).map(|i| word(i) as f64).collect()
        };
        for terms in [0, 1, 2, 7] {
            let sources: Vec<Vec<f64>> = (0..terms).map(source).collect();
            // Halves, so that there are ties; and what no binary fraction is.
            let factors: Vec<f64> =
                (0..terms).map(|t| [1.5 / 2f64.powi(48), 0.5f64.powi(48) / 3.0][t as usize % 2]).collect();
            let pairs: Vec<(&[f64], f64)> = sources.iter().map(|a| &**a).zip(factors.iter().copied()).collect();
            for kernel in available() {
                let mut out = vec![9.0; length as usize];
                kernel.round_sum(&mut out, &pairs);
                for (i, found) in out.iter().enumerate() {
                    let sum = pairs.iter().fold(0.0, |sum, (a, r)| sum + a[i] * r);
                    assert_eq!(*found, sum.round_ties_even(), "{}", kernel.name());
                }
            }
        }
    }
    for kernel in available() {
        let mut out = [0.0; 4];
        kernel.round_sum(&mut out, &[(&[1.0, 3.0, -5.0, 7.0], 0.5)]);
        assert_eq!(out, [0.0, 2.0, -2.0, 4.0], "{}", kernel.name());
    }
}

#[test]
fn transforms_turn_ring_products_into_pointwise_ones() {
    let q = moduli().pop().unwrap();
    let n = 64;
    for ring in [Ring::Standard, Ring::ConjugateInvariant] {
        let table = NttTable::new(q, n, ring).unwrap();
        let (a, b) = (noise(q, n, 3), noise(q, n, 4));
        let product = schoolbook(ring, &a, &b);
        for kernel in available() {
            let (mut x, mut y, mut z) = (a.clone(), b.clone(), vec![0.0; n]);
            kernel.ntt_forward(&table, &mut x);
            kernel.ntt_forward(&table, &mut y);
            kernel.mul(q, &mut z, &x, &y);
            kernel.ntt_inverse(&table, &mut z);
            let modulus = BigInt::from(q.value());
            for (found, expected) in z.iter().zip(&product) {
                let expected = ((expected % &modulus) + &modulus) % &modulus;
                assert_eq!(BigInt::from(q.lift(*found)), expected, "{} {ring}", kernel.name());
            }
        }
    }
}

/// The product in `Z[X]/(X^N + 1)`, or of two elements of its conjugate-invariant relative computed in degree `2N`.
fn schoolbook(ring: Ring, a: &[f64], b: &[f64]) -> Vec<BigInt> {
    let n = a.len();
    let lift = |a: &[f64]| -> Vec<BigInt> {
        let integer = |x: f64| BigInt::from(x as i64);
        match ring {
            Ring::Standard => a.iter().map(|x| integer(*x)).collect(),
            Ring::ConjugateInvariant => {
                let mirrored = (1..n).rev().map(|j| -integer(a[j]));
                a.iter().map(|x| integer(*x)).chain([BigInt::ZERO]).chain(mirrored).collect()
            }
        }
    };
    let (a, b) = (lift(a), lift(b));
    let degree = a.len();
    let mut product = vec![BigInt::ZERO; degree];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            if i + j < degree { product[i + j] += x * y } else { product[i + j - degree] -= x * y }
        }
    }
    product.truncate(n);
    product
}
