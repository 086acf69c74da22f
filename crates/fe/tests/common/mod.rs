//! Data and oracles that the tests share.

#![allow(dead_code, reason = "each test file uses its part")]

use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use ndarray::Array2;
use nightloom_fe::learn::first_layer::{DataSpec, Oracle, Query};
use nightloom_fe::learn::network::{Loss, Vectors};
use nightloom_fe::learn::optimizer::OptimizerSpec;
use nightloom_fe::learn::trainer::Batches;
use nightloom_fe::learn::{
    Architecture, ClearOracle, Dataset, FixedPoint, FixedPointSpec, Inputs, NetworkSpec, Seed, Shape, Targets,
    TrainerSpec,
};

/// A table of numbers with classes.
pub struct Table {
    pub columns: usize,
    pub rows: Vec<f64>,
    pub labels: Vec<usize>,
    pub classes: usize,
}

impl Table {
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn row(&self, index: usize) -> &[f64] {
        &self.rows[index * self.columns..][..self.columns]
    }

    pub fn from_csv(text: &str) -> Table {
        let numbers =
            |line: &str| line.split(',').map(|cell| cell.trim().parse::<f64>()).collect::<Result<Vec<_>, _>>();
        // Headings hold words.
        let lines: Vec<Vec<f64>> = text.lines().filter_map(|line| numbers(line).ok()).collect();
        let columns = lines[0].len() - 1;
        let labels: Vec<usize> = lines.iter().map(|line| line[columns] as usize).collect();
        let rows = lines.iter().flat_map(|line| &line[..columns]).copied().collect();
        let classes = labels.iter().max().unwrap() + 1;
        Table { columns, rows, labels, classes }
    }
}

/// A file of `testdata/tables`.
pub fn table(name: &str) -> Table {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/tables").join(name);
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    if name.ends_with(".gz") {
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
    } else {
        { file }.read_to_string(&mut text).unwrap();
    }
    Table::from_csv(&text)
}

/// The 8x8 digits, shuffled, with pixels times 15: 1437 to train on and 360 to test.
pub fn digits() -> (Dataset, Dataset) {
    let table = table("digits.csv.gz");
    assert_eq!((table.len(), table.columns, table.classes), (1797, 64, 10));
    let pixels: Vec<u8> = table.rows.iter().map(|&pixel| (pixel * 15.0) as u8).collect();
    let shape = Shape { channels: 1, height: 8, width: 8 };
    let inputs = Inputs::from_pixels(shape, &pixels).unwrap();
    let data = Dataset::new(inputs, Targets::classes(10, &table.labels).unwrap()).unwrap();
    data.shuffled(&Seed::new([8; 32])).split_at(1437).unwrap()
}

/// A folder of the development data beside the checkout; without it one line says that the test was skipped.
pub fn shared(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no folder shared/data/{name} beside the checkout");
    None
}

pub fn spec(network: NetworkSpec, batch: usize, epochs: u32, optimizer: OptimizerSpec) -> TrainerSpec {
    TrainerSpec {
        network,
        loss: Loss::SoftmaxCrossEntropy,
        optimizer,
        batches: Batches::Fixed { size: batch },
        epochs,
        privacy: None,
    }
}

pub fn fixed<'a>(architecture: &Architecture, data: &'a Dataset) -> FixedPoint<ClearOracle<'a>> {
    let oracle = ClearOracle::new(architecture, data, 16).unwrap();
    FixedPoint::new(oracle, FixedPointSpec::default()).unwrap()
}

/// What a scheme does as far as training can tell: the vectors of each sample apart, integers alone, no floating point.
pub struct Integers {
    spec: DataSpec,
    vectors: Vectors,
    /// Of each sample its vectors, one after the other.
    samples: Vec<Vec<Vec<i64>>>,
    targets: Array2<i64>,
    pub queries: usize,
}

impl Integers {
    pub fn new(architecture: &Architecture, data: &Dataset, target_bits: u32) -> Integers {
        let clear = ClearOracle::new(architecture, data, target_bits).unwrap();
        let vectors = architecture.vectors();
        let of = |sample| {
            let matrix = vectors.of(data.inputs().sample(sample));
            let columns = 0..vectors.count();
            columns.map(|column| matrix.iter().skip(column).step_by(vectors.count()).copied().collect()).collect()
        };
        let all: Vec<usize> = (0..data.len()).collect();
        let targets = data.targets().rows(&all).mapv(|y| (y * f64::from(1 << target_bits)) as i64);
        let samples = all.iter().map(|&sample| of(sample)).collect();
        Integers { spec: *clear.data(), vectors, samples, targets, queries: 0 }
    }
}

impl Oracle for Integers {
    type Error = Infallible;

    fn data(&self) -> &DataSpec {
        &self.spec
    }

    fn vectors(&self) -> Vectors {
        self.vectors
    }

    fn forward(&mut self, query: Query<'_>) -> Result<Array2<i64>, Infallible> {
        self.queries += 1;
        let (count, units) = (self.vectors.count(), query.values.nrows());
        let mut out = Array2::zeros((query.samples.len(), units * count));
        for (&sample, mut out) in query.samples.iter().zip(out.rows_mut()) {
            for (unit, weights) in query.values.rows().into_iter().enumerate() {
                for (place, vector) in self.samples[sample].iter().enumerate() {
                    out[unit * count + place] = weights.iter().zip(vector).map(|(w, x)| w * x).sum();
                }
            }
        }
        assert!(out.iter().all(|product: &i64| product.abs() <= query.bound));
        Ok(out)
    }

    fn gradient(&mut self, query: Query<'_>) -> Result<Array2<i64>, Infallible> {
        self.queries += 1;
        let count = self.vectors.count();
        let mut out = Array2::zeros((query.values.ncols() / count, self.vectors.width()));
        for (&sample, delta) in query.samples.iter().zip(query.values.rows()) {
            for (place, delta) in delta.iter().enumerate() {
                let vector = &self.samples[sample][place % count];
                out.row_mut(place / count).iter_mut().zip(vector).for_each(|(out, x)| *out += delta * x);
            }
        }
        assert!(out.iter().all(|product: &i64| product.abs() <= query.bound));
        Ok(out)
    }

    fn output_error(&mut self, query: Query<'_>) -> Result<Array2<i64>, Infallible> {
        self.queries += 1;
        let mut out = query.values.to_owned();
        for (&sample, mut row) in query.samples.iter().zip(out.rows_mut()) {
            row -= &self.targets.row(sample);
        }
        assert!(out.iter().all(|error| error.abs() <= query.bound));
        Ok(out)
    }
}
