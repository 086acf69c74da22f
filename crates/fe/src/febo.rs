use std::sync::{Arc, OnceLock};

use curve25519_dalek::ristretto::RistrettoBasepointTable;
use curve25519_dalek::{RistrettoPoint, Scalar};
use nightloom_ring::parallel;
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::group::linear::random_scalar;
use crate::group::logarithm::NotWithinBound;
use crate::group::small_multiples::SmallMultiples;
use crate::{Bounds, DiscreteLogs, FeError, KeyId, Label, MasterSeed, ParamsId, Scheme, SchemeInfo};

pub(crate) const INFO: SchemeInfo = SchemeInfo {
    name: "febo",
    source: "Xu, Joshi, Li, \"CryptoNN: training neural networks over encrypted data\", ICDCS 2019 (arXiv 1904.07303), \
             section III-B",
    assumption: "decisional Diffie-Hellman in ristretto255",
    security: "ciphertexts without keys are ElGamal's; one key opens its value, as its operand is public; not \
             post-quantum",
    public_key: true,
};

/// What is done to an encrypted value `x` and a public operand `y`. The numbers are part of the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Operation {
    /// `x + y`
    Add = 1,
    /// `x - y`
    Subtract = 2,
    /// `x y`
    Multiply = 3,
    /// `x / y`, if that is an integer.
    Divide = 4,
}

impl Operation {
    /// Every operation, by number.
    pub const ALL: [Self; 4] = [Self::Add, Self::Subtract, Self::Multiply, Self::Divide];
}

/// Functional encryption of basic operations (FEBO) on single values: Xu, Joshi and Li, CryptoNN, ICDCS 2019, section
/// III-B, over ristretto255.
///
/// Master key `s`, public key `h = g^s`. A ciphertext of `x` is a commitment `g^r` and a body `h^r g^x`. A key belongs
/// to one ciphertext, by its commitment `c`, one operation and one operand `y`: `c^s g^-y` for `+`, `c^s g^y` for `-`,
/// `(c^s)^y` for `x`, `(c^s)^(1/y)` for `/`. The body over the key, where need be raised to `y` or `1/y`, is `g` to the
/// result.
///
/// **Assumption:** decisional Diffie-Hellman in ristretto255. **Security:** none beyond the first key: whoever has the
/// key for a public operand learns `x + y` and thereby `x`. What the keys protect is only who may open, and when.
#[derive(Debug)]
pub struct Febo {
    bounds: Bounds,
    logs: OnceLock<Arc<DiscreteLogs>>,
}

/// The secret of a label. Wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct FeboMasterKey {
    #[zeroize(skip)]
    id: KeyId,
    secret: Scalar,
}

/// What clients encrypt with: public.
#[derive(Clone)]
pub struct FeboPublicKey {
    pub(crate) id: KeyId,
    pub(crate) point: RistrettoPoint,
    table: RistrettoBasepointTable,
}

/// Encrypted values.
#[derive(Clone, Debug, PartialEq)]
pub struct FeboCiphertext {
    pub(crate) id: KeyId,
    pub(crate) commitments: Vec<RistrettoPoint>,
    pub(crate) bodies: Vec<RistrettoPoint>,
}

/// What is asked of the authority: one operand for each encrypted value, of which it sees the commitment only.
#[derive(Clone, Debug, PartialEq)]
pub struct FeboRequest {
    pub(crate) id: KeyId,
    pub(crate) operation: Operation,
    pub(crate) operands: Vec<i32>,
    pub(crate) commitments: Vec<RistrettoPoint>,
}

/// The answer: one key for each encrypted value.
#[derive(Clone, PartialEq)]
pub struct FeboFunctionKeys {
    pub(crate) id: KeyId,
    pub(crate) operation: Operation,
    pub(crate) operands: Vec<i32>,
    pub(crate) keys: Vec<RistrettoPoint>,
}

impl Febo {
    /// The scheme for values within `+-data` and operands within `+-operand`.
    ///
    /// # Errors
    /// [`FeError::Bounds`] if one of them is zero or too large.
    pub fn new(data: u32, operand: u32) -> Result<Self, FeError> {
        let bounds = Bounds::new(1, data, operand)?;
        Ok(Self { bounds, logs: OnceLock::new() })
    }

    /// The bounds on values (data) and operands (weights).
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Identifies the scheme and its bounds.
    pub fn params_id(&self) -> ParamsId {
        ParamsId::new(Scheme::Febo, &self.bounds, &[])
    }

    /// The largest absolute value of a result.
    pub fn result_bound(&self) -> u64 {
        // A sum exceeds every product where one of the bounds is 1.
        let (data, operand) = (u64::from(self.bounds.data()), u64::from(self.bounds.weight()));
        (data * operand).max(data + operand)
    }

    /// The logarithms, made now if they are not there.
    pub fn logarithms(&self) -> &Arc<DiscreteLogs> {
        self.logs.get_or_init(|| Arc::new(DiscreteLogs::new(self.result_bound())))
    }

    /// The master key of a label.
    pub fn master_key(&self, seed: &MasterSeed, label: &Label) -> FeboMasterKey {
        let label = seed.derive(self.params_id(), label);
        FeboMasterKey { id: label.id, secret: random_scalar(&mut label.generator(0)) }
    }

    /// The public key that belongs to a master key.
    pub fn public_key(&self, master: &FeboMasterKey) -> FeboPublicKey {
        FeboPublicKey::from_point(master.id, RistrettoPoint::mul_base(&master.secret))
    }

    /// Encrypts values. Constant time in them.
    ///
    /// # Errors
    /// [`FeError::Data`] if a value exceeds the bound.
    pub fn encrypt(
        &self,
        key: &FeboPublicKey,
        values: &[i32],
        rng: &mut impl CryptoRng,
    ) -> Result<FeboCiphertext, FeError> {
        self.bounds.check_samples(values)?;
        let scalars: Zeroizing<Vec<Scalar>> = Zeroizing::new(values.iter().map(|_| random_scalar(rng)).collect());
        let multiples = SmallMultiples::new(self.bounds.data());
        let mut pairs = vec![[RistrettoPoint::default(); 2]; values.len()];
        parallel::for_each(pairs.chunks_mut(CHUNK), |chunk, pairs| {
            let places = chunk * CHUNK..;
            for (([commitment, body], r), value) in pairs.iter_mut().zip(&scalars[places.clone()]).zip(&values[places])
            {
                *commitment = RistrettoPoint::mul_base(r);
                *body = &key.table * r + multiples.mul(*value);
            }
        });
        let (commitments, bodies) = pairs.into_iter().map(|[commitment, body]| (commitment, body)).unzip();
        Ok(FeboCiphertext { id: key.id, commitments, bodies })
    }

    /// The keys that a request asks for. Each opens its value: to hand one out is to hand out the value.
    ///
    /// # Errors
    /// [`FeError`] if the request is for another master key, has an operand beyond the bound, or divides by zero.
    pub fn function_keys(&self, master: &FeboMasterKey, request: &FeboRequest) -> Result<FeboFunctionKeys, FeError> {
        request.id.check("request", master.id)?;
        let operands = &request.operands;
        self.check(request.operation, operands)?;
        let inverses = inverses(request.operation, operands);
        let mut keys = vec![RistrettoPoint::default(); operands.len()];
        parallel::for_each(keys.chunks_mut(CHUNK), |chunk, keys| {
            for (key, index) in keys.iter_mut().zip(chunk * CHUNK..) {
                let (commitment, y) = (&request.commitments[index], operands[index]);
                *key = match request.operation {
                    Operation::Add => commitment * master.secret - RistrettoPoint::mul_base(&signed(y)),
                    Operation::Subtract => commitment * master.secret + RistrettoPoint::mul_base(&signed(y)),
                    Operation::Multiply => commitment * *Zeroizing::new(master.secret * signed(y)),
                    Operation::Divide => commitment * *Zeroizing::new(master.secret * inverses[index]),
                };
            }
        });
        Ok(FeboFunctionKeys { id: master.id, operation: request.operation, operands: operands.clone(), keys })
    }

    /// Opens the results, in order. Exact.
    ///
    /// # Errors
    /// [`FeError::OutOfRange`] if a result is not within the bounds, such as a quotient that is no integer.
    pub fn decrypt(&self, ciphertext: &FeboCiphertext, keys: &FeboFunctionKeys) -> Result<Vec<i64>, FeError> {
        keys.id.check("keys", ciphertext.id)?;
        if keys.keys.len() != ciphertext.bodies.len() {
            let (found, wanted) = (keys.keys.len(), ciphertext.bodies.len());
            return Err(FeError::Length { what: "keys", found, wanted });
        }
        self.check(keys.operation, &keys.operands)?;
        let inverses = inverses(keys.operation, &keys.operands);
        let logs = self.logarithms();
        let mut chunks: Vec<Result<Vec<i64>, NotWithinBound>> = vec![Ok(Vec::new()); keys.keys.len().div_ceil(CHUNK)];
        parallel::for_each(&mut chunks, |chunk, opened| {
            let point = |index: usize| {
                let body = &ciphertext.bodies[index];
                let raised = match keys.operation {
                    Operation::Add | Operation::Subtract => *body,
                    Operation::Multiply => small_multiple(body, keys.operands[index]),
                    Operation::Divide => body * inverses[index],
                };
                raised - keys.keys[index]
            };
            let places = chunk * CHUNK..keys.keys.len().min((chunk + 1) * CHUNK);
            *opened = logs.solve(&places.map(point).collect::<Vec<_>>());
        });
        let mut values = Vec::with_capacity(keys.keys.len());
        for (chunk, opened) in chunks.into_iter().enumerate() {
            values.append(&mut opened.map_err(|NotWithinBound(at)| FeError::OutOfRange {
                functional: 0,
                sample: chunk * CHUNK + at,
                bound: logs.bound(),
            })?);
        }
        Ok(values)
    }

    fn check(&self, operation: Operation, operands: &[i32]) -> Result<(), FeError> {
        let bound = self.bounds.weight();
        if let Some(functional) = operands.iter().position(|y| y.unsigned_abs() > bound) {
            return Err(FeError::Weight { functional, found: operands[functional].into(), bound });
        }
        match operands.iter().position(|y| *y == 0) {
            Some(index) if operation == Operation::Divide => Err(FeError::DivisionByZero { index }),
            _ => Ok(()),
        }
    }
}

/// Values that one task handles.
const CHUNK: usize = 256;

/// `y` modulo the order.
fn signed(y: i32) -> Scalar {
    let magnitude = Scalar::from(y.unsigned_abs());
    if y < 0 { -magnitude } else { magnitude }
}

/// `1/y` for every operand, all of them not zero, of a division.
fn inverses(operation: Operation, operands: &[i32]) -> Vec<Scalar> {
    if operation != Operation::Divide {
        return Vec::new();
    }
    let mut scalars: Vec<Scalar> = operands.iter().copied().map(signed).collect();
    Scalar::invert_batch_alloc(&mut scalars);
    scalars
}

/// `y point`, bit by bit. Variable time: both are public.
fn small_multiple(point: &RistrettoPoint, y: i32) -> RistrettoPoint {
    let magnitude = y.unsigned_abs();
    let bits = (0..u32::BITS - magnitude.leading_zeros()).rev();
    let product = bits.fold(RistrettoPoint::default(), |product, bit| {
        let doubled = product + product;
        if magnitude >> bit & 1 == 1 { doubled + point } else { doubled }
    });
    if y < 0 { -product } else { product }
}

impl FeboPublicKey {
    pub(crate) fn from_point(id: KeyId, point: RistrettoPoint) -> Self {
        Self { id, point, table: RistrettoBasepointTable::create(&point) }
    }

    /// The master key that this belongs to.
    pub fn id(&self) -> KeyId {
        self.id
    }
}

impl FeboCiphertext {
    /// The master key that this is encrypted under.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.bodies.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bodies.is_empty()
    }

    /// What to ask the authority for one operation with one operand for each value.
    ///
    /// # Errors
    /// [`FeError::Length`] unless there are as many operands as values.
    pub fn request(&self, operation: Operation, operands: &[i32]) -> Result<FeboRequest, FeError> {
        if operands.len() != self.len() {
            return Err(FeError::Length { what: "operands", found: operands.len(), wanted: self.len() });
        }
        let (operands, commitments) = (operands.to_vec(), self.commitments.clone());
        Ok(FeboRequest { id: self.id, operation, operands, commitments })
    }
}

impl FeboRequest {
    /// The master key of the values.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What is to be done.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The operands in the order of the values.
    pub fn operands(&self) -> &[i32] {
        &self.operands
    }
}

impl FeboFunctionKeys {
    /// The master key that these belong to.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What the keys do.
    pub fn operation(&self) -> Operation {
        self.operation
    }
}

impl std::fmt::Debug for FeboMasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FeboMasterKey({}, contents hidden)", self.id)
    }
}

impl std::fmt::Debug for FeboPublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FeboPublicKey({})", self.id)
    }
}

impl std::fmt::Debug for FeboFunctionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FeboFunctionKeys({}, {} keys, contents hidden)", self.id, self.keys.len())
    }
}

impl PartialEq for FeboPublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.point == other.point
    }
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn keys(febo: &Febo, label: &str) -> (FeboMasterKey, FeboPublicKey) {
        let master = febo.master_key(&MasterSeed::from_bytes([3; 32]), &Label::new(label).unwrap());
        let public = febo.public_key(&master);
        (master, public)
    }

    fn open(
        febo: &Febo,
        master: &FeboMasterKey,
        ciphertext: &FeboCiphertext,
        operation: Operation,
        operands: &[i32],
    ) -> Result<Vec<i64>, FeError> {
        let keys = febo.function_keys(master, &ciphertext.request(operation, operands)?)?;
        febo.decrypt(ciphertext, &keys)
    }

    #[test]
    fn every_operation_opens_its_results_exactly() {
        let febo = Febo::new(120, 50).unwrap();
        let (master, public) = keys(&febo, "a");
        let values: Vec<i32> = (-120..=120).collect();
        let operands: Vec<i32> = (0..241).map(|i| [50, -50, 1, -1, 7, -12, i % 50 + 1][i as usize % 7]).collect();
        let ciphertext = febo.encrypt(&public, &values, &mut ChaCha20Rng::from_seed([1; 32])).unwrap();
        let pairs = || values.iter().zip(&operands).map(|(x, y)| (i64::from(*x), i64::from(*y)));
        let open = |operation, operands: &[i32]| open(&febo, &master, &ciphertext, operation, operands);
        assert_eq!(open(Operation::Add, &operands).unwrap(), pairs().map(|(x, y)| x + y).collect::<Vec<_>>());
        assert_eq!(open(Operation::Subtract, &operands).unwrap(), pairs().map(|(x, y)| x - y).collect::<Vec<_>>());
        assert_eq!(open(Operation::Multiply, &operands).unwrap(), pairs().map(|(x, y)| x * y).collect::<Vec<_>>());
        assert_eq!(open(Operation::Multiply, &[0; 241]).unwrap(), [0; 241]);
        // Divisors of the values, with both signs.
        let divisors: Vec<i32> = values
            .iter()
            .map(|x| {
                let sign = if x % 2 == 0 { -1 } else { 1 };
                sign * (1..=50).rev().find(|d| x % d == 0).unwrap_or(1)
            })
            .collect();
        let quotients: Vec<i64> = values.iter().zip(&divisors).map(|(x, d)| i64::from(x / d)).collect();
        assert_eq!(open(Operation::Divide, &divisors).unwrap(), quotients);
    }

    #[test]
    fn what_has_no_result_is_refused() {
        let febo = Febo::new(10, 10).unwrap();
        let (master, public) = keys(&febo, "a");
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let ciphertext = febo.encrypt(&public, &[6, 7], &mut rng).unwrap();
        let open = |operation, operands: &[i32]| open(&febo, &master, &ciphertext, operation, operands);
        assert_eq!(open(Operation::Divide, &[3, 3]), Err(FeError::OutOfRange { functional: 0, sample: 1, bound: 100 }));
        assert_eq!(open(Operation::Divide, &[3, 0]), Err(FeError::DivisionByZero { index: 1 }));
        assert_eq!(open(Operation::Add, &[3, 11]), Err(FeError::Weight { functional: 1, found: 11, bound: 10 }));
        assert!(matches!(open(Operation::Add, &[3]), Err(FeError::Length { found: 1, wanted: 2, .. })));
        assert_eq!(febo.encrypt(&public, &[11], &mut rng), Err(FeError::Data { index: 0, bound: 10 }));
        assert!(Febo::new(0, 1).is_err() && Febo::new(1, crate::MAX_VALUE + 1).is_err());
        // Where one of the bounds is 1, a sum exceeds every product.
        let narrow = Febo::new(5, 1).unwrap();
        let (master, public) = keys(&narrow, "a");
        let ciphertext = narrow.encrypt(&public, &[5, -5], &mut rng).unwrap();
        let request = ciphertext.request(Operation::Add, &[1, -1]).unwrap();
        let keys = narrow.function_keys(&master, &request).unwrap();
        assert_eq!(narrow.decrypt(&ciphertext, &keys), Ok(vec![6, -6]));
    }

    #[test]
    fn keys_of_another_label_or_ciphertext_open_nothing() {
        let febo = Febo::new(10, 10).unwrap();
        let (master, public) = keys(&febo, "a");
        let (other, _) = keys(&febo, "b");
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let [first, second] = [[1, 2], [1, 2]].map(|values| febo.encrypt(&public, &values, &mut rng).unwrap());
        let request = first.request(Operation::Add, &[0, 0]).unwrap();
        assert!(matches!(febo.function_keys(&other, &request), Err(FeError::OtherMasterKey { what: "request", .. })));
        let keys = febo.function_keys(&master, &request).unwrap();
        assert_eq!(febo.decrypt(&first, &keys), Ok(vec![1, 2]));
        assert!(matches!(febo.decrypt(&second, &keys), Err(FeError::OutOfRange { sample: 0, .. })));
        // The identifier is a courtesy: the key itself does not fit.
        let forged = FeboRequest { id: other.id, ..request };
        let forged = FeboFunctionKeys { id: first.id, ..febo.function_keys(&other, &forged).unwrap() };
        assert!(matches!(febo.decrypt(&first, &forged), Err(FeError::OutOfRange { .. })));
    }
}
