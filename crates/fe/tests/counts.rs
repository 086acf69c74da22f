//! Models from counts on tables: the embedded ones, and those beside the checkout.

mod common;

use common::{Table, shared, table};
use nightloom_fe::learn::Seed;
use nightloom_fe::learn::counts::{Bins, Coordinates, Forest, ForestSpec, NaiveBayes, count};

/// Every third row is for testing.
fn is_test(index: usize) -> bool {
    index % 3 == 2
}

struct Prepared {
    bins: Vec<usize>,
    classes: usize,
    train: Vec<(Vec<usize>, usize)>,
    test: Vec<(Vec<usize>, usize)>,
}

fn prepare(table: &Table, bins: usize) -> Prepared {
    let train_rows: Vec<f64> = (0..table.len()).filter(|&i| !is_test(i)).flat_map(|i| table.row(i)).copied().collect();
    let edges = Bins::quantiles(&train_rows, table.columns, bins).unwrap();
    let (test, train): (Vec<_>, Vec<_>) = (0..table.len()).partition(|&i| is_test(i));
    let of = |indices: Vec<usize>| indices.into_iter().map(|i| (edges.of(table.row(i)), table.labels[i])).collect();
    Prepared { bins: edges.counts(), classes: table.classes, train: of(train), test: of(test) }
}

/// The counts as three clients and an aggregation make them.
fn aggregated(model: &impl Coordinates, samples: &[(Vec<usize>, usize)]) -> Vec<i64> {
    let mut sums = vec![0; model.len()];
    for client in samples.chunks(samples.len().div_ceil(3)) {
        let counts = count(model, client.iter().map(|(bins, class)| (&bins[..], *class)));
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    sums
}

fn accuracy(samples: &[(Vec<usize>, usize)], predict: impl Fn(&[usize]) -> usize) -> f64 {
    let correct = samples.iter().filter(|(bins, class)| predict(bins) == *class).count();
    correct as f64 / samples.len() as f64
}

/// Test accuracies of naive Bayes and of a forest of 100 trees.
fn accuracies(name: &str, data: &Table, bins: usize, depth: u32) -> (f64, f64) {
    let Prepared { bins, classes, train, test } = prepare(data, bins);
    let bayes = NaiveBayes::new(classes, bins.clone()).unwrap();
    let bayes = bayes.train(&aggregated(&bayes, &train), 1.0).unwrap();
    let forest = Forest::random(ForestSpec { classes, bins, trees: 100, depth }, &Seed::new([1; 32])).unwrap();
    let forest = forest.train(&aggregated(&forest, &train), 0.1).unwrap();
    let found = (accuracy(&test, |bins| bayes.predict(bins)), accuracy(&test, |bins| forest.predict(bins)));
    println!("{name}: naive Bayes {:.3}, forest {:.3}, {} test rows", found.0, found.1, test.len());
    found
}

#[test]
fn embedded_tables_are_learned_from_counts() {
    for (name, bins, depth, bayes, forest) in [
        ("iris.csv", 8, 6, 0.88, 0.90),
        ("wine_data.csv", 5, 6, 0.92, 0.92),
        ("breast_cancer.csv", 5, 6, 0.92, 0.92),
        ("digits.csv.gz", 5, 10, 0.85, 0.85),
    ] {
        let found = accuracies(name, &table(name), bins, depth);
        assert!(found.0 >= bayes && found.1 >= forest, "{name}: {found:?}");
    }
}

#[test]
fn tables_beside_the_checkout_are_learned_from_counts() {
    let Some(folder) = shared("tabular/uci") else { return };
    // Chance is the larger class: 65 %, 56 %, 97.7 %.
    for (name, bins, depth, bayes, forest) in
        [("pima-indians-diabetes.csv", 5, 6, 0.70, 0.68), ("banknote_authentication.csv", 8, 8, 0.85, 0.88)]
    {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let found = accuracies(name, &Table::from_csv(&text), bins, depth);
        assert!(found.0 >= bayes && found.1 >= forest, "{name}: {found:?}");
    }
}
