//! The portable kernel: plain `u64` arithmetic on the same canonical residues. Written for clarity; the oracle of the
//! vector kernels.

use super::{Kernel, repeat_log};
use crate::{Automorphism, IntegerMatrix, Modulus, NttTable, Ring, linear::MatrixScratch};

/// `u64` arithmetic with Barrett reduction.
#[derive(Debug)]
pub(super) struct Portable;

/// Applies `f` to the representatives in `0..p` and stores the canonical residue of the result.
fn map2(q: Modulus, a: &mut [f64], b: &[f64], f: impl Fn(u64, u64) -> u64) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter_mut().zip(b) {
        *a = q.center(f(q.lift(*a), q.lift(*b)));
    }
}

fn map1(q: Modulus, a: &mut [f64], f: impl Fn(u64) -> u64) {
    for a in a {
        *a = q.center(f(q.lift(*a)));
    }
}

/// The representative in `0..p` of an integer below `2^53` in absolute value.
fn residue(q: Modulus, integer: f64) -> u64 {
    q.reduce_i64(integer as i64)
}

impl Kernel for Portable {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn add(&self, q: Modulus, a: &mut [f64], b: &[f64]) {
        map2(q, a, b, |a, b| q.add(a, b));
    }

    fn sub(&self, q: Modulus, a: &mut [f64], b: &[f64]) {
        map2(q, a, b, |a, b| q.sub(a, b));
    }

    fn add_scalar(&self, q: Modulus, a: &mut [f64], w: f64) {
        let w = q.lift(w);
        map1(q, a, |a| q.add(a, w));
    }

    fn mul(&self, q: Modulus, out: &mut [f64], a: &[f64], b: &[f64]) {
        out.copy_from_slice(a);
        map2(q, out, b, |a, b| q.mul(a, b));
    }

    fn mul_add(&self, q: Modulus, acc: &mut [f64], a: &[f64], b: &[f64]) {
        assert_eq!(acc.len(), a.len());
        assert_eq!(acc.len(), b.len());
        for ((acc, a), b) in acc.iter_mut().zip(a).zip(b) {
            *acc = q.center(q.add(q.lift(*acc), q.mul(q.lift(*a), q.lift(*b))));
        }
    }

    fn mul_scalar(&self, q: Modulus, a: &mut [f64], w: f64) {
        let w = q.lift(w);
        map1(q, a, |a| q.mul(a, w));
    }

    fn mul_scalar_add(&self, q: Modulus, acc: &mut [f64], a: &[f64], w: f64) {
        let w = q.lift(w);
        map2(q, acc, a, |acc, a| q.add(acc, q.mul(a, w)));
    }

    fn sub_mul_scalar(&self, q: Modulus, out: &mut [f64], b: &[f64], w: f64) {
        let w = q.lift(w);
        map2(q, out, b, |out, b| q.mul(q.sub(out, b), w));
    }

    fn square(&self, q: Modulus, c0: &mut [f64], c1: &mut [f64], c2: &mut [f64]) {
        self.mul(q, c2, c1, c1);
        map2(q, c1, c0, |c1, c0| q.mul(q.add(c0, c0), c1));
        map1(q, c0, |c0| q.mul(c0, c0));
    }

    fn dot(&self, q: Modulus, out: &mut [f64], terms: &[(&[f64], &[f64])]) {
        out.fill(0.0);
        for (a, b) in terms {
            self.mul_add(q, out, a, b);
        }
    }

    fn dot_repeated(&self, q: Modulus, out: &mut [f64], terms: &[(&[f64], &[f64])]) {
        out.fill(0.0);
        for (a, b) in terms {
            let repeat = 1 << repeat_log(out.len(), b.len());
            let repeated: Vec<f64> = b.iter().flat_map(|b| std::iter::repeat_n(*b, repeat)).collect();
            self.mul_add(q, out, a, &repeated);
        }
    }

    fn combine(&self, q: Modulus, out: &mut [f64], terms: &[(&[f64], f64)]) {
        out.fill(0.0);
        for &(a, w) in terms {
            assert_eq!(out.len(), a.len());
            let w = q.lift(w);
            for (out, a) in out.iter_mut().zip(a) {
                *out = q.center(q.add(q.lift(*out), q.mul(residue(q, *a), w)));
            }
        }
    }

    fn round_sum(&self, out: &mut [f64], terms: &[(&[f64], f64)]) {
        out.fill(0.0);
        for (a, r) in terms {
            assert_eq!(out.len(), a.len());
            out.iter_mut().zip(*a).for_each(|(out, a)| *out += a * r);
        }
        out.iter_mut().for_each(|out| *out = out.round_ties_even());
    }

    fn reduce(&self, q: Modulus, out: &mut [f64], a: &[f64]) {
        assert_eq!(out.len(), a.len());
        for (out, a) in out.iter_mut().zip(a) {
            *out = q.center(residue(q, *a));
        }
    }

    fn ntt_forward(&self, table: &NttTable, a: &mut [f64]) {
        assert_eq!(a.len(), table.degree());
        let q = table.modulus();
        if table.ring() == Ring::ConjugateInvariant {
            fold(q, a, q.lift(table.fold()), |q, near, far| q.sub(near, far));
        }
        // Cooley-Tukey over the tree of moduli X^M - zeta^e described at NttTable.
        let (mut nodes, mut half) = (1, a.len() / 2);
        while half >= 1 {
            for (node, block) in a.chunks_exact_mut(2 * half).enumerate() {
                let w = q.lift(table.root(nodes + node));
                let (low, high) = block.split_at_mut(half);
                for (x, y) in low.iter_mut().zip(high) {
                    let (u, v) = (q.lift(*x), q.mul(q.lift(*y), w));
                    (*x, *y) = (q.center(q.add(u, v)), q.center(q.sub(u, v)));
                }
            }
            nodes *= 2;
            half /= 2;
        }
    }

    fn ntt_inverse(&self, table: &NttTable, a: &mut [f64]) {
        assert_eq!(a.len(), table.degree());
        let q = table.modulus();
        let (mut nodes, mut half) = (a.len() / 2, 1);
        while nodes >= 1 {
            for (node, block) in a.chunks_exact_mut(2 * half).enumerate() {
                let w = q.lift(table.inverse_root(nodes + node));
                let (low, high) = block.split_at_mut(half);
                for (x, y) in low.iter_mut().zip(high) {
                    let (u, v) = (q.lift(*x), q.lift(*y));
                    (*x, *y) = (q.center(q.add(u, v)), q.center(q.mul(q.sub(u, v), w)));
                }
            }
            nodes /= 2;
            half *= 2;
        }
        // 1/N, and for the conjugate-invariant ring also the 1/2 of the unfolding.
        self.mul_scalar(q, a, table.inverse_scale());
        if table.ring() == Ring::ConjugateInvariant {
            fold(q, a, q.lift(table.fold()), |q, near, far| q.add(near, far));
            // b_0 = a_0 is not folded, so only the 1/2 is to be undone.
            a[0] = q.center(q.add(q.lift(a[0]), q.lift(a[0])));
        }
    }

    fn permute(&self, automorphism: &Automorphism, out: &mut [f64], a: &[f64]) {
        assert!(out.len() == automorphism.degree() && a.len() == automorphism.degree());
        for (position, out) in out.iter_mut().enumerate() {
            *out = a[automorphism.source(position)];
        }
    }

    fn matrix(
        &self,
        q: Modulus,
        matrix: &IntegerMatrix,
        input: &[f64],
        output: &mut [f64],
        width: usize,
        _scratch: &mut MatrixScratch,
    ) {
        assert_eq!(input.len(), matrix.columns() * width);
        assert_eq!(output.len(), matrix.rows() * width);
        if width == 0 {
            return;
        }
        let mut sums = vec![0i128; width];
        for (row, out) in output.chunks_exact_mut(width).enumerate() {
            sums.fill(0);
            for (column, weight) in matrix.row(row) {
                // |weight| < 2^28 and |x| < 2^49 leave room for 2^50 terms.
                for (sum, x) in sums.iter_mut().zip(&input[column * width..][..width]) {
                    *sum += i128::from(weight) * (*x as i64 as i128);
                }
            }
            for (out, sum) in out.iter_mut().zip(&sums) {
                *out = q.center(q.reduce_i128(*sum));
            }
        }
    }

    fn invert_cumulative(&self, bounds: &[i64], words: &[u64], out: &mut [f64]) {
        assert_eq!(words.len(), out.len());
        for (word, out) in words.iter().zip(out) {
            let uniform = (word >> 1) as i64;
            let magnitude: i64 = bounds.iter().map(|&bound| ((bound - 1 - uniform) as u64 >> 63) as i64).sum();
            let sign = -((word & 1) as i64);
            *out = ((magnitude ^ sign) - sign) as f64;
        }
    }
}

/// For each `j` in `1..N`: `a_j <- a_j (op) w a_(N-j)`, both sides read before either is written.
fn fold(q: Modulus, a: &mut [f64], w: u64, op: impl Fn(Modulus, u64, u64) -> u64) {
    let n = a.len();
    for j in 1..=n / 2 {
        let (x, y) = (q.lift(a[j]), q.lift(a[n - j]));
        a[j] = q.center(op(q, x, q.mul(y, w)));
        a[n - j] = q.center(op(q, y, q.mul(x, w)));
    }
}
