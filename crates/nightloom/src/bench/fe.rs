//! The `fe` suite: functional encryption of inner products.

use std::fmt;
use std::hint::black_box;
use std::time::Instant;

use chacha20::ChaCha20Rng;
use nightloom_fe::{
    Bounds, Ddh, DdhAdaptive, Febo, Functionals, InnerProduct, Label, MasterSeed, Mlwe, Operation, Pad, Rlwe, Scheme,
    Windows,
};
use nightloom_ring::kernels;
use rand_core::{Rng, SeedableRng};
use serde::Serialize;

use super::{BenchError, Conditions, Options, Timing, measure};

/// Runs of each operation of the suite, fewer for operations that take seconds.
pub const FE_RUNS: usize = 21;
/// Runs of one operation end after about this many seconds.
const BUDGET_S: f64 = 2.0;
/// Data are bytes, such as pixels.
const DATA_BOUND: u32 = 255;
/// Bits of a weight, with its sign.
const WEIGHT_BITS: u32 = 8;
/// Filters of the first layer of LeNet-5, and the keys of every measurement.
const KEYS: usize = 6;
/// Values that FEBO works on together.
const VALUES: usize = 256;
/// The first layer of LeNet-5 on MNIST.
const CONVOLUTION: Windows = Windows { channels: 1, height: 28, width: 28, kernel: 5, stride: 1, padding: 2 };

/// What the `fe` suite measures.
#[derive(Clone, Debug, Serialize)]
pub struct FeReport {
    /// Where and when.
    #[serde(flatten)]
    pub conditions: Conditions,
    /// Operations of every scheme.
    pub ops: Vec<FeRow>,
}

/// One operation of one scheme. Every measured decryption was first compared with the clear values.
#[derive(Clone, Debug, Serialize)]
pub struct FeRow {
    /// The scheme.
    pub scheme: &'static str,
    /// `setup`: master key and encryption key of a label; `derive`: a function key (under `pad`: of one sample);
    /// `encrypt`: a vector, with what can be prepared once for a label; `decrypt`: an inner product; `decrypt_windows`:
    /// one of the first layer of LeNet-5 on an image, from one ciphertext of the image under `ddh`, `ddh-adaptive` and
    /// `pad`, from one ciphertext of all windows under `mlwe`. Under `febo` all are of single values, multiplied.
    pub op: &'static str,
    /// Coordinates of a vector, or values of a window.
    pub dim: usize,
    /// Bits of a weight, with its sign. Data are within +-255.
    pub weight_bits: u32,
    /// Functionals that are opened together.
    pub keys: usize,
    /// Vectors that are encrypted and opened together.
    pub samples: usize,
    /// Microseconds of one operation, median over the runs.
    pub us: f64,
    /// Microseconds in the fastest run.
    pub min_us: f64,
    /// Number of runs.
    pub runs: usize,
}

impl fmt::Display for FeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { conditions, ops } = self;
        write!(f, "{conditions}\nMedian microseconds of one key, vector or inner product; {WEIGHT_BITS}-bit weights")?;
        write!(f, "\n\n{:<14} {:<16} {:>4} {:>6} {:>8} {:>14}", "scheme", "op", "dim", "keys", "samples", "us")?;
        for row in ops {
            let FeRow { scheme, op, dim, keys, samples, us, .. } = row;
            write!(f, "\n{scheme:<14} {op:<16} {dim:>4} {keys:>6} {samples:>8} {us:>14.4}")?;
        }
        Ok(())
    }
}

/// Measures every scheme at dimensions 25 and 784.
///
/// # Errors
/// [`BenchError`] if a scheme refuses, the kernel that the environment names does not exist, or the system has no
/// randomness.
pub fn fe(options: Options) -> Result<FeReport, BenchError> {
    let kernel = kernels::select()?;
    let mut suite = Suite { options, seed: MasterSeed::generate(&mut crate::system_rng()?), ops: Vec::new() };
    for (dimension, samples) in [(25, 16), (784, 4)] {
        let bounds = Bounds::new(dimension, DATA_BOUND, weight_bound())?;
        suite.scheme(&Ddh::new(bounds), samples, |key| key.prepare())?;
        suite.scheme(&DdhAdaptive::new(bounds), samples, |key| key.prepare())?;
        suite.scheme(&Pad::new(bounds), CONVOLUTION.count(), |_| ())?;
        let rlwe = Rlwe::new(bounds)?;
        suite.scheme(&rlwe, rlwe.degree(), |_| ())?;
        suite.scheme(&Mlwe::new(bounds)?, CONVOLUTION.count(), |_| ())?;
    }
    let bounds = Bounds::sparse(CONVOLUTION.image(), CONVOLUTION.dimension(), DATA_BOUND, weight_bound())?;
    suite.image(&Ddh::new(bounds))?;
    suite.image(&DdhAdaptive::new(bounds))?;
    suite.image(&Pad::new(bounds))?;
    suite.windows(&Mlwe::new(Bounds::new(CONVOLUTION.dimension(), DATA_BOUND, weight_bound())?)?)?;
    suite.febo(&Febo::new(DATA_BOUND, weight_bound())?)?;
    Ok(FeReport { conditions: Conditions::new("fe", kernel.name(), options), ops: suite.ops })
}

fn weight_bound() -> u32 {
    (1 << (WEIGHT_BITS - 1)) - 1
}

struct Suite {
    options: Options,
    seed: MasterSeed,
    ops: Vec<FeRow>,
}

impl Suite {
    /// Setup, keys, encryption and decryption of dense functionals.
    fn scheme<S>(
        &mut self,
        scheme: &S,
        samples: usize,
        prepare: impl Fn(&mut S::EncryptionKey) + Sync,
    ) -> Result<(), BenchError>
    where
        S: InnerProduct<MasterKey: Sync, FunctionKeys: Sync, Ciphertext: Sync, EncryptionKey: Send> + Sync,
    {
        let bounds = scheme.bounds();
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let data = integers(&mut rng, samples * bounds.dimension(), bounds.data());
        let weights = integers(&mut rng, KEYS * bounds.dimension(), bounds.weight());
        let functionals = Functionals::dense(bounds.dimension(), &weights)?;
        let label = Label::new("bench")?;
        let master = scheme.master_key(&self.seed, &label);
        let name = scheme.scheme();

        let seed = &self.seed;
        let setup = || {
            let master = scheme.master_key(seed, &label);
            black_box(scheme.encryption_key(&master));
        };
        let timing = time(self.options, || (), |()| setup());
        self.push(name, "setup", bounds, (KEYS, samples), 1, timing);

        let derive = || scheme.function_keys(&master, &functionals, samples);
        let keys = derive()?;
        let timing = time(self.options, || (), |()| drop(black_box(derive())));
        let derived = if name == Scheme::Pad { KEYS * samples } else { KEYS };
        self.push(name, "derive", bounds, (KEYS, samples), derived, timing);

        let ciphertext = scheme.encrypt(&mut scheme.encryption_key(&master), &data, &mut rng)?;
        let key = || {
            let mut key = scheme.encryption_key(&master);
            prepare(&mut key);
            (key, ChaCha20Rng::from_seed([2; 32]))
        };
        let encrypt = |(key, rng): &mut (S::EncryptionKey, ChaCha20Rng)| {
            drop(black_box(scheme.encrypt(key, &data, rng)));
        };
        let timing = time(self.options, key, encrypt);
        self.push(name, "encrypt", bounds, (KEYS, samples), samples, timing);

        let timing = self.decryption(scheme, &ciphertext, &keys, &functionals.evaluate(&data))?;
        self.push(name, "decrypt", bounds, (KEYS, samples), KEYS * samples, timing);
        Ok(())
    }

    /// The first layer of LeNet-5 from one ciphertext of an image.
    fn image<S>(&mut self, scheme: &S) -> Result<(), BenchError>
    where
        S: InnerProduct<FunctionKeys: Sync, Ciphertext: Sync> + Sync,
    {
        let (image, filters) = layer();
        let functionals = CONVOLUTION.functionals(&filters)?;
        let master = scheme.master_key(&self.seed, &Label::new("image")?);
        let keys = scheme.function_keys(&master, &functionals, 1)?;
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let ciphertext = scheme.encrypt(&mut scheme.encryption_key(&master), &image, &mut rng)?;
        let timing = self.decryption(scheme, &ciphertext, &keys, &functionals.evaluate(&image))?;
        let bounds = Bounds::new(CONVOLUTION.dimension(), DATA_BOUND, weight_bound())?;
        self.push(scheme.scheme(), "decrypt_windows", &bounds, (functionals.len(), 1), functionals.len(), timing);
        Ok(())
    }

    /// The first layer of LeNet-5 from one ciphertext of all windows of an image.
    fn windows<S>(&mut self, scheme: &S) -> Result<(), BenchError>
    where
        S: InnerProduct<FunctionKeys: Sync, Ciphertext: Sync> + Sync,
    {
        let (image, filters) = layer();
        let functionals = Functionals::dense(CONVOLUTION.dimension(), &filters)?;
        let windows = CONVOLUTION.samples(&image)?;
        let master = scheme.master_key(&self.seed, &Label::new("windows")?);
        let keys = scheme.function_keys(&master, &functionals, CONVOLUTION.count())?;
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let ciphertext = scheme.encrypt(&mut scheme.encryption_key(&master), &windows, &mut rng)?;
        let timing = self.decryption(scheme, &ciphertext, &keys, &functionals.evaluate(&windows))?;
        let shape = (KEYS, CONVOLUTION.count());
        self.push(scheme.scheme(), "decrypt_windows", scheme.bounds(), shape, shape.0 * shape.1, timing);
        Ok(())
    }

    /// Products of single values.
    fn febo(&mut self, febo: &Febo) -> Result<(), BenchError> {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let values = integers(&mut rng, VALUES, DATA_BOUND);
        let operands = integers(&mut rng, VALUES, weight_bound());
        let label = Label::new("febo")?;
        let setup = || {
            let master = febo.master_key(&self.seed, &label);
            let public = febo.public_key(&master);
            (master, public)
        };
        let (master, public) = setup();
        let encrypt = |rng: &mut ChaCha20Rng| febo.encrypt(&public, &values, rng);
        let ciphertext = encrypt(&mut rng)?;
        let request = ciphertext.request(Operation::Multiply, &operands)?;
        let keys = febo.function_keys(&master, &request)?;
        let expected: Vec<i64> = values.iter().zip(&operands).map(|(x, y)| i64::from(*x) * i64::from(*y)).collect();
        if febo.decrypt(&ciphertext, &keys)? != expected {
            return Err(BenchError::WrongValues { scheme: Scheme::Febo });
        }
        let options = self.options;
        let seeded = || ChaCha20Rng::from_seed([2; 32]);
        let timings = [
            ("setup", 1, time(options, || (), |()| drop(black_box(setup())))),
            ("derive", VALUES, time(options, || (), |()| drop(black_box(febo.function_keys(&master, &request))))),
            ("encrypt", VALUES, time(options, seeded, |rng| drop(black_box(encrypt(rng))))),
            ("decrypt", VALUES, time(options, || (), |()| drop(black_box(febo.decrypt(&ciphertext, &keys))))),
        ];
        for (op, count, timing) in timings {
            self.push(Scheme::Febo, op, febo.bounds(), (VALUES, VALUES), count, timing);
        }
        Ok(())
    }

    fn decryption<S>(
        &self,
        scheme: &S,
        ciphertext: &S::Ciphertext,
        keys: &S::FunctionKeys,
        expected: &[i64],
    ) -> Result<Timing, BenchError>
    where
        S: InnerProduct<FunctionKeys: Sync, Ciphertext: Sync> + Sync,
    {
        if scheme.decrypt(ciphertext, keys)? != expected {
            return Err(BenchError::WrongValues { scheme: scheme.scheme() });
        }
        Ok(time(self.options, || (), |()| drop(black_box(scheme.decrypt(ciphertext, keys)))))
    }

    /// Adds a row of an operation that was done `count` times at once, on `shape` keys and samples.
    fn push(
        &mut self,
        scheme: Scheme,
        op: &'static str,
        bounds: &Bounds,
        shape: (usize, usize),
        count: usize,
        timing: Timing,
    ) {
        let (dim, (keys, samples)) = (bounds.dimension(), shape);
        let [us, min_us] = [timing.median_ns, timing.min_ns].map(|ns| ns / 1e3 / count as f64);
        let (scheme, runs) = (scheme.info().name, timing.runs);
        self.ops.push(FeRow { scheme, op, dim, weight_bits: WEIGHT_BITS, keys, samples, us, min_us, runs });
    }
}

/// As [`measure`], with fewer runs if one takes long.
fn time<S>(options: Options, prepare: impl Fn() -> S + Sync, operation: impl Fn(&mut S) + Sync) -> Timing {
    let mut state = prepare();
    let start = Instant::now();
    operation(&mut state);
    let affordable = BUDGET_S / start.elapsed().as_secs_f64();
    let runs = options.runs.min((affordable as usize).max(1));
    measure(Options { runs, ..options }, prepare, operation)
}

/// An image and the filters of the first layer of LeNet-5, at random.
fn layer() -> (Vec<i32>, Vec<i32>) {
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let image = (0..CONVOLUTION.image()).map(|_| (rng.next_u32() & DATA_BOUND) as i32).collect();
    (image, integers(&mut rng, KEYS * CONVOLUTION.dimension(), weight_bound()))
}

/// Integers within `+-bound`.
fn integers(rng: &mut ChaCha20Rng, count: usize, bound: u32) -> Vec<i32> {
    let choices = u64::from(2 * bound + 1);
    (0..count).map(|_| (rng.next_u64() % choices) as i32 - bound as i32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fields;

    #[test]
    fn the_names_of_fields_schemes_and_operations_stay() {
        let options = Options { threads: 1, runs: 1 };
        let mut suite = Suite { options, seed: MasterSeed::from_bytes([1; 32]), ops: Vec::new() };
        let bounds = Bounds::new(3, 5, 7).unwrap();
        suite.scheme(&Ddh::new(bounds), 2, |key| key.prepare()).unwrap();
        suite.scheme(&DdhAdaptive::new(bounds), 2, |_| ()).unwrap();
        suite.scheme(&Pad::new(bounds), 2, |_| ()).unwrap();
        suite.scheme(&Rlwe::with_degree_insecure(bounds, 7).unwrap(), 2, |_| ()).unwrap();
        suite.scheme(&Mlwe::with_rank_insecure(bounds, 1).unwrap(), 2, |_| ()).unwrap();
        let report = FeReport { conditions: Conditions::new("fe", "portable", options), ops: suite.ops };
        assert_eq!(fields(&report), "date kernel machine ops suite threads version");
        for row in &report.ops {
            assert_eq!(fields(row), "dim keys min_us op runs samples scheme us weight_bits");
            assert!(row.min_us > 0.0 && (row.dim, row.keys, row.samples, row.weight_bits) == (3, KEYS, 2, 8));
        }
        let found: Vec<_> = report.ops.iter().map(|row| (row.scheme, row.op)).collect();
        let ops = ["setup", "derive", "encrypt", "decrypt"];
        let expected: Vec<_> = ["ddh", "ddh-adaptive", "pad", "rlwe", "mlwe"]
            .into_iter()
            .flat_map(|scheme| ops.map(|op| (scheme, op)))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(report.to_string().lines().count(), 4 + expected.len());
    }
}
