use super::*;
use proptest::prelude::*;

proptest! {
    /// The mean of integers against the mean of numbers, whoever drops out.
    #[test]
    fn rounds_average_whoever_is_there(
        updates in prop::collection::vec((prop::collection::vec(-1.5f64..1.5, 4), 1u32..=100, any::<bool>()), 3..8),
        bits in 8u32..=32,
    ) {
        let encoding = UpdateEncoding::new(1.0, bits, 100, 10).unwrap();
        let mut round = Round::new(encoding, 4);
        let (mut sums, mut weights, mut count) = ([0.0; 4], 0.0, 0);
        for (update, weight, drops_out) in &updates {
            let integers = encoding.encode(update, *weight).unwrap();
            if *drops_out {
                continue;
            }
            round.add(&integers).unwrap();
            sums.iter_mut().zip(update).for_each(|(sum, x)| *sum += x.clamp(-1.0, 1.0) * f64::from(*weight));
            weights += f64::from(*weight);
            count += 1;
        }
        if count < MIN_CONTRIBUTORS {
            prop_assert_eq!(round.mean(), Err(FederatedError::TooFew { found: count, wanted: 3 }));
            return Ok(());
        }
        let step = 1.0 / ((1i64 << (bits - 1)) - 1) as f64;
        for (found, sum) in round.mean().unwrap().iter().zip(sums) {
            prop_assert!((found - sum / weights).abs() <= step * 0.5 + 1e-9);
        }
        prop_assert!(round.sums.iter().all(|sum| sum.abs() <= encoding.sum_bound()));
    }
}

#[test]
fn what_no_client_may_send_is_refused() {
    let encoding = UpdateEncoding::new(1.0, 8, 2, 3).unwrap();
    assert_eq!(encoding.sum_bound(), 127 * 2 * 3);
    let mut round = Round::new(encoding, 2);
    assert_eq!(round.add(&[1, 2]), Err(FederatedError::Length { found: 2, wanted: 3 }));
    assert_eq!(round.add(&[255, 0, 1]), Err(FederatedError::Range { index: 0, found: 255, limit: 254 }));
    assert!(round.add(&[i64::MIN, 0, 1]).is_err());
    for _ in 0..3 {
        round.add(&[254, -254, 2]).unwrap();
    }
    assert_eq!(round.add(&[0, 0, 1]), Err(FederatedError::TooMany { limit: 3 }));
    assert_eq!(round.mean().unwrap(), [1.0, -1.0]);
    assert_eq!(round.contributors(), 3);
    assert!(matches!(encoding.encode(&[f64::NAN], 1), Err(FederatedError::NotFinite { index: 0, .. })));
    assert!(encoding.encode(&[0.0], 3).is_err() && encoding.encode(&[0.0], 0).is_err());
    assert!(encoding.decode(&[]).is_err() && encoding.decode(&[5, 0]).is_err());
    assert!(UpdateEncoding::new(0.0, 8, 1, 1).is_err() && UpdateEncoding::new(1.0, 33, 1, 1).is_err());
    assert_eq!(UpdateEncoding::new(1.0, 32, u32::MAX, 2), Err(FederatedError::Sum { bits: 64 }));
}
