//! Linearly homomorphic ElGamal in the exponent with `H` masks: what the schemes under DDH share.
//!
//! With bases `g_1, .., g_H`, secrets `s_(h,i)` and `h_i = prod_h g_h^(s_(h,i))`, a ciphertext of `x` is the heads
//! `g_h^r` and the body `h_i^r g^(x_i)`. The key of `y` is `k_h = sum_i y_i s_(h,i)`, and
//! `prod_i body_i^(y_i) / prod_h head_h^(k_h)` is `g^<x,y>`.

use curve25519_dalek::ristretto::RistrettoBasepointTable;
use curve25519_dalek::{RistrettoPoint, Scalar};
use nightloom_ring::parallel;
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::combination::Secrets;
use super::exponents;
use super::logarithm::{DiscreteLogs, NotWithinBound};
use super::multi_scalar::MultiScalar;
use super::small_multiples::SmallMultiples;
use crate::label::LabelKey;
use crate::{Bounds, FeError, Functionals, KeyId};

/// From this many samples on, the tables of [`PublicKey::prepare`] are made on the way, coordinate by coordinate.
const TABLE_SAMPLES: usize = 100;
/// Opened values whose logarithms are found together.
const LOGARITHMS: usize = 512;

/// The secrets of a label.
pub struct MasterKey<const H: usize> {
    pub(crate) id: KeyId,
    secrets: [Secrets; H],
}

/// What clients encrypt with: public.
#[derive(Clone)]
pub struct PublicKey<const H: usize> {
    pub(crate) id: KeyId,
    /// `h_i`, none of which is the identity.
    pub(crate) points: Vec<RistrettoPoint>,
    tables: Option<Vec<RistrettoBasepointTable>>,
}

/// Keys of functionals.
#[derive(Clone, PartialEq)]
pub struct FunctionKeys<const H: usize> {
    pub(crate) id: KeyId,
    pub(crate) functionals: Functionals,
    pub(crate) keys: Vec<[Scalar; H]>,
}

/// Encrypted samples.
#[derive(Clone, PartialEq)]
pub struct Ciphertext<const H: usize> {
    pub(crate) id: KeyId,
    pub(crate) dimension: usize,
    pub(crate) heads: Vec<[RistrettoPoint; H]>,
    /// Sample by sample.
    pub(crate) body: Vec<RistrettoPoint>,
}

impl<const H: usize> MasterKey<H> {
    /// Uniform secrets from the generators of a label, one stream for every base.
    pub(crate) fn derive(label: &LabelKey, dimension: usize) -> Self {
        let secrets = std::array::from_fn(|head| {
            let mut rng = label.generator(head as u64);
            let scalars: Vec<Scalar> = (0..dimension).map(|_| random_scalar(&mut rng)).collect();
            Secrets::new(&Zeroizing::new(scalars))
        });
        Self { id: label.id, secrets }
    }

    /// The master key whose public key this is.
    pub fn id(&self) -> KeyId {
        self.id
    }

    pub(crate) fn public_key(&self, dimension: usize, bases: &[&RistrettoBasepointTable; H]) -> PublicKey<H> {
        let point = |coordinate| {
            let secret = |head: usize| self.secrets[head].combine(std::iter::once((coordinate, 1)));
            let product = |head: usize| bases[head] * &*Zeroizing::new(secret(head));
            (0..H).map(product).sum()
        };
        PublicKey { id: self.id, points: (0..dimension).map(point).collect(), tables: None }
    }

    pub(crate) fn function_keys(&self, bounds: &Bounds, functionals: &Functionals) -> Result<FunctionKeys<H>, FeError> {
        functionals.check(bounds)?;
        let key = |row: usize| std::array::from_fn(|head| self.secrets[head].combine(functionals.row(row)));
        let keys = (0..functionals.len()).map(key).collect();
        Ok(FunctionKeys { id: self.id, functionals: functionals.clone(), keys })
    }
}

/// A uniform scalar, from 64 bytes.
pub(crate) fn random_scalar(rng: &mut impl CryptoRng) -> Scalar {
    let mut bytes = Zeroizing::new([0; 64]);
    rng.fill_bytes(&mut *bytes);
    Scalar::from_bytes_mod_order_wide(&bytes)
}

impl<const H: usize> PublicKey<H> {
    pub(crate) fn from_points(id: KeyId, points: Vec<RistrettoPoint>) -> Self {
        Self { id, points, tables: None }
    }

    /// The master key that this belongs to.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Makes tables, 30 kB and a millisecond a coordinate, that take a third off the time of encryption. Without them,
    /// they are made and dropped when many samples are encrypted at once.
    pub fn prepare(&mut self) {
        if self.tables.is_none() {
            let mut tables: Vec<_> = self.points.iter().map(|point| (point, None)).collect();
            parallel::for_each(&mut tables, |_, (point, table)| *table = Some(RistrettoBasepointTable::create(point)));
            self.tables = tables.into_iter().map(|(_, table)| table).collect();
        }
    }

    pub(crate) fn encrypt(
        &self,
        bounds: &Bounds,
        bases: &[&RistrettoBasepointTable; H],
        samples: &[i32],
        rng: &mut impl CryptoRng,
    ) -> Result<Ciphertext<H>, FeError> {
        let (count, dimension) = (bounds.check_samples(samples)?, bounds.dimension());
        let scalars: Zeroizing<Vec<Scalar>> = Zeroizing::new((0..count).map(|_| random_scalar(rng)).collect());
        let heads = scalars.iter().map(|scalar| std::array::from_fn(|head| bases[head] * scalar)).collect();
        let multiples = SmallMultiples::new(bounds.data());
        let mut columns = vec![Vec::new(); dimension];
        parallel::for_each(&mut columns, |coordinate, column: &mut Vec<RistrettoPoint>| {
            let made;
            let table = match &self.tables {
                Some(tables) => Some(&tables[coordinate]),
                None if count >= TABLE_SAMPLES => {
                    made = RistrettoBasepointTable::create(&self.points[coordinate]);
                    Some(&made)
                }
                None => None,
            };
            let mask = |sample: usize| match table {
                Some(table) => table * &scalars[sample],
                None => self.points[coordinate] * scalars[sample],
            };
            let value = |sample: usize| samples[sample * dimension + coordinate];
            column.extend((0..count).map(|sample| mask(sample) + multiples.mul(value(sample))));
        });
        let body = (0..count).flat_map(|sample| columns.iter().map(move |column| column[sample])).collect();
        Ok(Ciphertext { id: self.id, dimension, heads, body })
    }
}

impl<const H: usize> FunctionKeys<H> {
    /// The master key that these belong to.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What the keys open.
    pub fn functionals(&self) -> &Functionals {
        &self.functionals
    }
}

impl<const H: usize> Ciphertext<H> {
    /// The master key that this is encrypted under.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.heads.len()
    }

    pub(crate) fn decrypt(&self, keys: &FunctionKeys<H>, logs: &DiscreteLogs) -> Result<Vec<i64>, FeError> {
        keys.id.check("keys", self.id)?;
        if keys.functionals.dimension() != self.dimension {
            let (found, wanted) = (keys.functionals.dimension(), self.dimension);
            return Err(FeError::Length { what: "dimension of the functionals", found, wanted });
        }
        let (count, functionals) = (self.samples(), keys.keys.len());
        if functionals == 0 || count == 0 {
            return Ok(Vec::new());
        }
        let plan = MultiScalar::new(&keys.functionals);
        let opposite: Vec<[Scalar; H]> = keys.keys.iter().map(|key| key.map(|scalar| -scalar)).collect();
        // Samples are opened in groups, so that logarithms share their inversions.
        let group = LOGARITHMS.div_ceil(functionals);
        let mut groups = vec![Ok(Vec::new()); count.div_ceil(group)];
        let heads_and_groups = self.heads.chunks(group).zip(&mut groups);
        parallel::for_each(heads_and_groups, |index, (heads, opened)| {
            let bodies = self.body[index * group * self.dimension..].chunks_exact(self.dimension);
            let mut points = Vec::with_capacity(heads.len() * functionals);
            for (heads, body) in heads.iter().zip(bodies) {
                let first = points.len();
                points.append(&mut plan.evaluate(body));
                let masks = exponents::powers(heads, &opposite);
                points[first..].iter_mut().zip(masks).for_each(|(point, mask)| *point += mask);
            }
            *opened = logs.solve(&points);
        });
        let mut values = vec![0; count * functionals];
        for (index, opened) in groups.iter().enumerate() {
            let place = |at: usize| (at % functionals, index * group + at / functionals);
            let opened = opened.as_ref().map_err(|NotWithinBound(at)| {
                let (functional, sample) = place(*at);
                FeError::OutOfRange { functional, sample, bound: logs.bound() }
            })?;
            for (at, value) in opened.iter().enumerate() {
                let (functional, sample) = place(at);
                values[functional * count + sample] = *value;
            }
        }
        Ok(values)
    }
}

impl<const H: usize> std::fmt::Debug for MasterKey<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKey({}, contents hidden)", self.id)
    }
}

impl<const H: usize> std::fmt::Debug for PublicKey<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({}, dimension {})", self.id, self.points.len())
    }
}

impl<const H: usize> std::fmt::Debug for FunctionKeys<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FunctionKeys({}, {} functionals, contents hidden)", self.id, self.keys.len())
    }
}

impl<const H: usize> std::fmt::Debug for Ciphertext<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ciphertext({}, {} samples of {})", self.id, self.heads.len(), self.dimension)
    }
}

impl<const H: usize> PartialEq for PublicKey<H> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.points == other.points
    }
}

impl<const H: usize> Zeroize for FunctionKeys<H> {
    fn zeroize(&mut self) {
        self.keys.iter_mut().for_each(|key| key.zeroize());
    }
}
