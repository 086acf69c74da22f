//! What keys give away: these attacks succeed by the algebra of the schemes. They are why an authority must count what
//! it issues, and why labels have master keys of their own.

use curve25519_dalek::{RistrettoPoint, Scalar};

use super::{integers, master, rng};
use crate::words::Words;
use crate::{
    Bounds, Ddh, DdhFunctionKeys, FeError, Febo, Functionals, InnerProduct, Label, MasterSeed, Mlwe, MlweFunctionKeys,
    Operation, Pad, PadFunctionKeys, Rlwe, RlweFunctionKeys,
};

const DIMENSION: usize = 6;

fn bounds() -> Bounds {
    Bounds::new(DIMENSION, 20, 10).unwrap()
}

fn functionals(weights: &[i32]) -> Functionals {
    Functionals::dense(DIMENSION, weights).unwrap()
}

/// The solution of `matrix x = right` modulo the order, by Gaussian elimination; `None` if there is not exactly one.
fn solve(matrix: &[i32], right: &[Scalar]) -> Option<Vec<Scalar>> {
    let n = right.len();
    let signed = |y: i32| if y < 0 { -Scalar::from(y.unsigned_abs()) } else { Scalar::from(y.unsigned_abs()) };
    let mut rows: Vec<Vec<Scalar>> = matrix.chunks(n).map(|row| row.iter().copied().map(signed).collect()).collect();
    rows.iter_mut().zip(right).for_each(|(row, right)| row.push(*right));
    for column in 0..n {
        let pivot = (column..n).find(|&row| rows[row][column] != Scalar::ZERO)?;
        rows.swap(column, pivot);
        let inverse = rows[column][column].invert();
        rows[column].iter_mut().for_each(|x| *x *= inverse);
        let pivot = rows[column].clone();
        for (_, row) in rows.iter_mut().enumerate().filter(|(row, _)| *row != column) {
            let factor = row[column];
            row.iter_mut().zip(&pivot).for_each(|(x, p)| *x -= factor * p);
        }
    }
    Some(rows.iter().map(|row| row[n]).collect())
}

/// As many independent keys as there are coordinates are the master key: with it everything of the label opens,
/// coordinate by coordinate.
#[test]
fn independent_keys_recover_the_master_key() {
    let scheme = Ddh::new(bounds());
    let master = master(&scheme, "a");
    let mut public = scheme.encryption_key(&master);
    let secret = integers(&mut rng(1), DIMENSION, 20);
    let ciphertext = scheme.encrypt(&mut public, &secret, &mut rng(2)).unwrap();

    let weights = integers(&mut rng(3), DIMENSION * DIMENSION, 10);
    let keys = scheme.function_keys(&master, &functionals(&weights), 1).unwrap();
    let right: Vec<Scalar> = keys.keys.iter().map(|[key]| *key).collect();
    let recovered = solve(&weights, &right).unwrap();
    for (secret, point) in recovered.iter().zip(&public.points) {
        assert_eq!(RistrettoPoint::mul_base(secret), *point);
    }
    let identity: Vec<i32> = (0..DIMENSION * DIMENSION).map(|i| i32::from(i % (DIMENSION + 1) == 0)).collect();
    let forged = DdhFunctionKeys {
        functionals: functionals(&identity),
        keys: recovered.iter().map(|secret| [*secret]).collect(),
        id: keys.id,
    };
    let opened: Vec<i64> = secret.iter().copied().map(i64::from).collect();
    assert_eq!(scheme.decrypt(&ciphertext, &forged), Ok(opened));
}

/// Two keys make the keys of all their combinations, which nobody issued.
#[test]
fn keys_combine_to_keys_that_nobody_issued() {
    let scheme = Ddh::new(bounds());
    let master = master(&scheme, "a");
    let values = integers(&mut rng(1), 3 * DIMENSION, 20);
    let ciphertext = scheme.encrypt(&mut scheme.encryption_key(&master), &values, &mut rng(2)).unwrap();
    let issued = [1, 2, 0, -3, 0, 1, 0, 1, 1, 1, -2, 0];
    let keys = scheme.function_keys(&master, &functionals(&issued), 3).unwrap();
    let combined: Vec<i32> = (0..DIMENSION).map(|i| 2 * issued[i] - 3 * issued[DIMENSION + i]).collect();
    let [[first], [second]] = [keys.keys[0], keys.keys[1]];
    let key = first + first - second - second - second;
    let forged = DdhFunctionKeys { functionals: functionals(&combined), keys: vec![[key]], id: keys.id };
    assert_eq!(scheme.decrypt(&ciphertext, &forged), Ok(functionals(&combined).evaluate(&values)));
}

/// Labels stop both: keys of two labels are combinations of independent secrets.
#[test]
fn keys_of_different_labels_do_not_combine() {
    let scheme = Ddh::new(bounds());
    let (a, b) = (master(&scheme, "a"), master(&scheme, "b"));
    let values = integers(&mut rng(1), DIMENSION, 20);
    let ciphertext = scheme.encrypt(&mut scheme.encryption_key(&a), &values, &mut rng(2)).unwrap();
    let weights = [1, 2, 0, -3, 0, 1];
    let [of_a, of_b] = [&a, &b].map(|master| scheme.function_keys(master, &functionals(&weights), 1).unwrap());
    let doubled: Vec<i32> = weights.iter().map(|weight| 2 * weight).collect();
    let forge = |key: Scalar| DdhFunctionKeys { functionals: functionals(&doubled), keys: vec![[key]], id: of_a.id };
    let within = forge(of_a.keys[0][0] + of_a.keys[0][0]);
    assert_eq!(scheme.decrypt(&ciphertext, &within), Ok(functionals(&doubled).evaluate(&values)));
    let across = forge(of_a.keys[0][0] + of_b.keys[0][0]);
    assert!(matches!(scheme.decrypt(&ciphertext, &across), Err(FeError::OutOfRange { .. })));
}

/// Sharing `r` between vectors under the same `h_i` would give the differences of their coordinates away. The scheme
/// encrypts every vector with an `r` of its own, and an image is one vector.
#[test]
fn one_randomness_for_two_vectors_would_give_differences_away() {
    let scheme = Ddh::new(bounds());
    let master = master(&scheme, "a");
    let mut public = scheme.encryption_key(&master);
    let [x, z] = [1, 2].map(|seed| integers(&mut rng(seed), DIMENSION, 20));
    // The same generator makes the same `r`.
    let [first, second] = [&x, &z].map(|values| scheme.encrypt(&mut public, values, &mut rng(9)).unwrap());
    let quotients: Vec<RistrettoPoint> = first.body.iter().zip(&second.body).map(|(a, b)| a - b).collect();
    let differences: Vec<i64> = x.iter().zip(&z).map(|(x, z)| i64::from(x - z)).collect();
    assert_eq!(scheme.logarithms().solve(&quotients), Ok(differences.clone()));
    // Two vectors of one call do not share it.
    let both = scheme.encrypt(&mut public, &[x, z].concat(), &mut rng(9)).unwrap();
    let quotients: Vec<RistrettoPoint> = (0..DIMENSION).map(|i| both.body[i] - both.body[DIMENSION + i]).collect();
    assert!(scheme.logarithms().solve(&quotients).is_err());
}

/// A pad's keys are linear too: independent ones for one sample give its pad away, but no other's.
#[test]
fn independent_keys_recover_the_pad_of_their_sample_only() {
    let scheme = Pad::new(bounds());
    let master = master(&scheme, "a");
    let values = integers(&mut rng(1), 2 * DIMENSION, 20);
    let ciphertext = scheme.encrypt(&mut scheme.encryption_key(&master), &values, &mut rng(2)).unwrap();
    // Unit lower triangular, so that it can be inverted modulo a power of two.
    let weights: Vec<i32> = (0..DIMENSION * DIMENSION)
        .map(|i| match (i / DIMENSION).cmp(&(i % DIMENSION)) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => 1,
            std::cmp::Ordering::Greater => (i % 7) as i32 - 3,
        })
        .collect();
    let keys = scheme.function_keys(&master, &functionals(&weights), 1).unwrap();
    let Words::Narrow(mut pad) = keys.keys.clone() else { panic!("results of 32 bits") };
    for row in 0..DIMENSION {
        for column in 0..row {
            pad[row] = pad[row].wrapping_sub((weights[row * DIMENSION + column] as u32).wrapping_mul(pad[column]));
        }
    }
    let Words::Narrow(body) = &ciphertext.body else { panic!("results of 32 bits") };
    let opened: Vec<i32> = body.iter().zip(&pad).map(|(c, s)| c.wrapping_sub(*s) as i32).collect();
    assert_eq!(opened, values[..DIMENSION]);
    // The keys open no second sample, and the recovered pad does not fit it.
    assert!(matches!(scheme.decrypt(&ciphertext, &keys), Err(FeError::Samples { found: 2, wanted: 1 })));
    let reused: Vec<i32> = body[DIMENSION..].iter().zip(&pad).map(|(c, s)| c.wrapping_sub(*s) as i32).collect();
    assert!(reused.iter().all(|x| x.unsigned_abs() > 20));
}

/// A label that is used twice under `pad` gives the difference of the batches away: a label serves one batch.
#[test]
fn a_pad_that_is_used_twice_gives_differences_away() {
    let scheme = Pad::new(bounds());
    let [first, second] = ["a", "a"].map(|name| scheme.encryption_key(&master(&scheme, name)));
    let [x, z] = [1, 2].map(|seed| integers(&mut rng(seed), DIMENSION, 20));
    let bodies = [(first, &x), (second, &z)].map(|(mut key, values)| {
        let Words::Narrow(body) = scheme.encrypt(&mut key, values, &mut rng(3)).unwrap().body else {
            panic!("32 bits")
        };
        body
    });
    for (i, (a, b)) in bodies[0].iter().zip(&bodies[1]).enumerate() {
        assert_eq!(a.wrapping_sub(*b) as i32, x[i] - z[i]);
    }
}

#[test]
fn pad_keys_of_different_labels_do_not_combine() {
    let scheme = Pad::new(bounds());
    let (a, b) = (master(&scheme, "a"), master(&scheme, "b"));
    let values = integers(&mut rng(1), DIMENSION, 20);
    let ciphertext = scheme.encrypt(&mut scheme.encryption_key(&a), &values, &mut rng(2)).unwrap();
    let weights = functionals(&[1, 2, 0, -3, 0, 1]);
    let [of_a, of_b] = [&a, &b].map(|master| scheme.function_keys(master, &weights, 1).unwrap());
    let forged = PadFunctionKeys { keys: of_b.keys, ..of_a };
    assert!(matches!(scheme.decrypt(&ciphertext, &forged), Err(FeError::OutOfRange { .. })));
}

/// Lattices change nothing of it: keys add up, within a label.
#[test]
fn lattice_keys_combine_within_a_label_and_not_across() {
    let add = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
    let values = integers(&mut rng(1), 3 * DIMENSION, 20);
    let issued = functionals(&[1, 2, 0, -3, 0, 1, 0, 1, 1, 1, -2, 0]);
    let sum = functionals(&[1, 3, 1, -2, -2, 1]);
    let expected = sum.evaluate(&values);

    let scheme = Mlwe::new(bounds()).unwrap();
    let [a, b] = ["a", "b"].map(|name| master(&scheme, name));
    let ciphertext = scheme.encrypt(&mut scheme.encryption_key(&a), &values, &mut rng(2)).unwrap();
    let [of_a, of_b] = [&a, &b].map(|master| scheme.function_keys(master, &issued, 3).unwrap());
    let forge = |key| MlweFunctionKeys { id: of_a.id, functionals: sum.clone(), keys: vec![key] };
    assert_eq!(scheme.decrypt(&ciphertext, &forge(add(&of_a.keys[0], &of_a.keys[1]))), Ok(expected.clone()));
    let across = scheme.decrypt(&ciphertext, &forge(add(&of_a.keys[0], &of_b.keys[1])));
    assert!(matches!(across, Err(FeError::OutOfRange { .. })));

    let scheme = Rlwe::new(bounds()).unwrap();
    let [a, b] = ["a", "b"].map(|name| master(&scheme, name));
    let ciphertext = scheme.encrypt(&mut scheme.encryption_key(&a), &values, &mut rng(2)).unwrap();
    let [of_a, of_b] = [&a, &b].map(|master| scheme.function_keys(master, &issued, 3).unwrap());
    let forge = |key| RlweFunctionKeys { id: of_a.id, functionals: sum.clone(), keys: vec![key] };
    assert_eq!(scheme.decrypt(&ciphertext, &forge(add(&of_a.keys[0], &of_a.keys[1]))), Ok(expected));
    let across = scheme.decrypt(&ciphertext, &forge(add(&of_a.keys[0], &of_b.keys[1])));
    assert!(matches!(across, Err(FeError::OutOfRange { .. })));
}

/// One key with a public operand opens its value.
#[test]
fn one_febo_key_opens_its_ciphertext() {
    let febo = Febo::new(255, 10).unwrap();
    let master = febo.master_key(&MasterSeed::from_bytes([1; 32]), &Label::new("a").unwrap());
    let public = febo.public_key(&master);
    let values = [200, -13];
    let ciphertext = febo.encrypt(&public, &values, &mut rng(1)).unwrap();
    let operands = [7, -4];
    let keys = febo.function_keys(&master, &ciphertext.request(Operation::Subtract, &operands).unwrap()).unwrap();
    // Also without decrypting: the key is the mask `h^r`, times `g` to the public operand.
    let points: Vec<RistrettoPoint> = (0..2)
        .map(|i| {
            let operand = RistrettoPoint::mul_base(&Scalar::from(operands[i].unsigned_abs() as u8));
            ciphertext.bodies[i] - keys.keys[i] + if operands[i] < 0 { -operand } else { operand }
        })
        .collect();
    assert_eq!(febo.logarithms().solve(&points), Ok(vec![200, -13]));
}
