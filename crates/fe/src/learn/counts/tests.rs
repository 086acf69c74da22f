use super::*;
use crate::learn::Seed;
use proptest::prelude::*;

fn forest(trees: usize, depth: u32, bins: &[usize], classes: usize) -> Forest {
    let spec = ForestSpec { classes, bins: bins.to_vec(), trees, depth };
    Forest::random(spec, &Seed::new([4; 32])).unwrap()
}

proptest! {
    /// What a scheme sums: zeros and ones, so many for each sample, and parts add up to the whole.
    #[test]
    fn counts_of_parts_add_up(samples in prop::collection::vec((0usize..3, 0usize..4, 0usize..2), 1..40), cut in 0usize..40) {
        let bins: Vec<([usize; 2], usize)> = samples.iter().map(|&(a, b, class)| ([a, b], class)).collect();
        let bayes = NaiveBayes::new(2, vec![3, 4]).unwrap();
        let forest = forest(5, 3, &[3, 4], 2);
        fn check(model: &impl Coordinates, each: usize, bins: &[([usize; 2], usize)], cut: usize) {
            let views = |part: &[([usize; 2], usize)]| count(model, part.iter().map(|(bins, class)| (&bins[..], *class)));
            let all = views(bins);
            assert_eq!(all.iter().sum::<i64>() as usize, each * bins.len());
            assert!(all.iter().all(|count| (0..=bins.len() as i64).contains(count)));
            let (left, right) = bins.split_at(cut.min(bins.len()));
            let sum: Vec<i64> = views(left).iter().zip(views(right)).map(|(a, b)| a + b).collect();
            assert_eq!(sum, all);
            for (bins, class) in bins {
                let places = model.of(bins, *class);
                assert!(places.is_sorted() && places.iter().all(|place| *place < model.len()));
            }
        }
        check(&bayes, 3, &bins, cut);
        check(&forest, 5, &bins, cut);
    }
}

#[test]
fn naive_bayes_is_the_product_of_smoothed_fractions() {
    let bayes = NaiveBayes::new(2, vec![2, 3]).unwrap();
    let samples: [([usize; 2], usize); 5] = [([0, 0], 0), ([0, 2], 0), ([1, 2], 0), ([1, 1], 1), ([1, 0], 1)];
    let counts = count(&bayes, samples.iter().map(|(bins, class)| (&bins[..], *class)));
    let model = bayes.train(&counts, 1.0).unwrap();
    let scores = model.scores(&[1, 0]);
    // P(0) = 4/7, P(bin 1 of the first | 0) = 2/5, P(bin 0 of the second | 0) = 2/6; for class 1: 3/7, 3/4, 2/5.
    let wanted = [4.0 / 7.0 * 2.0 / 5.0 * 2.0 / 6.0, 3.0 / 7.0 * 3.0 / 4.0 * 2.0 / 5.0];
    assert!(scores.iter().zip(wanted).all(|(found, wanted): (&f64, f64)| (found.exp() - wanted).abs() < 1e-12));
    assert_eq!((model.predict(&[1, 0]), model.predict(&[0, 2])), (1, 0));
    assert_eq!(bayes.train(&counts[1..], 1.0), Err(CountsError::Counts { found: 11, wanted: 12 }));
    assert!(bayes.train(&counts, 0.0).is_err());
    // Noise may push a count below zero.
    let noisy: Vec<i64> = counts.iter().map(|count| count - 3).collect();
    assert!(bayes.train(&noisy, 0.5).unwrap().scores(&[0, 1]).iter().all(|score| score.is_finite()));
}

#[test]
fn forests_of_one_feature_learn_a_threshold() {
    let forest = forest(30, 4, &[8], 2);
    assert_eq!(forest.len(), 30 * 16 * 2);
    let samples: Vec<([usize; 1], usize)> = (0..8).map(|bin| ([bin], usize::from(bin >= 5))).collect();
    let counts = count(&forest, samples.iter().map(|(bins, class)| (&bins[..], *class)));
    let model = forest.train(&counts, 0.01).unwrap();
    for (bins, class) in &samples {
        assert_eq!(model.predict(bins), *class, "{bins:?} {:?}", model.scores(bins));
        assert!((model.scores(bins).iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn absurd_models_are_refused() {
    let forest = |classes, bins: &[usize], trees, depth| {
        Forest::random(ForestSpec { classes, bins: bins.to_vec(), trees, depth }, &Seed::new([0; 32])).unwrap_err()
    };
    let setting = |error: &CountsError| matches!(error, CountsError::Setting { .. });
    assert!(setting(&forest(1, &[2], 1, 1)) && setting(&forest(2, &[1, 1], 1, 1)));
    assert!(setting(&forest(2, &[2], 0, 1)) && setting(&forest(2, &[2], 1, 21)) && setting(&forest(2, &[2], 1, 0)));
    assert_eq!(forest(2, &[2], usize::MAX, 20), CountsError::TooManyCoordinates);
    assert_eq!(NaiveBayes::new(2, vec![usize::MAX]).unwrap_err(), CountsError::TooManyCoordinates);
    assert!(NaiveBayes::new(1, vec![2]).is_err() && NaiveBayes::new(2, vec![]).is_err());
    assert!(NaiveBayes::new(2, vec![2, 0]).is_err());
}
