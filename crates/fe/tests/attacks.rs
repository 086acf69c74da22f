//! Published attacks on training with functional encryption: in the reproduction mode they succeed, on the defaults they are
//! refused or fail.

mod common;
#[path = "common/parties.rs"]
mod parties;

use std::sync::Arc;

use common::digits;
use curve25519_dalek::Scalar;
use microlp::{ComparisonOp, OptimizationDirection, Problem};
use ndarray::{Array2, ArrayView2};
use nightloom_fe::agreement::{
    AgreementError, AgreementSpec, DataForm, Encoding, Labels, Opening, PublicLayer, RawSamples, Terms,
};
use nightloom_fe::authority::Audit;
use nightloom_fe::learn::first_layer::{Oracle, Query};
use nightloom_fe::learn::{Dataset, FixedPointSpec, LayerSpec, Network, NetworkSpec, Seed, Shape};
use nightloom_fe::protocol::{AskError, EnrolmentToken, Refusal, Reply, Request, Role, Rule};
use nightloom_fe::server::OracleError;
use nightloom_fe::wire;
use nightloom_fe::{Bounds, Ddh, DdhCiphertext, DdhFunctionKeys, Functionals, InnerProduct, Scheme};
use parties::{Parties, WINDOWS, opening, spec};

const PIXELS: usize = 64;
/// The largest pixel of the digits.
const LARGEST: f64 = 240.0;

fn fixed_point() -> FixedPointSpec {
    FixedPointSpec::default()
}

/// Parties with one client's samples encrypted, and what the client sealed.
fn encrypted(terms: Terms, samples: usize) -> (Parties, Arc<EnrolmentToken>, Vec<u8>, Dataset) {
    let data = digits().0.split_at(samples).unwrap().0;
    let parties = Parties::found(spec(terms));
    let client = parties.enrol(Role::Client, "client");
    let (upload, _) = parties.encrypt(&client, &data);
    let sealed = parties.client(&client).arrange(&data).unwrap().data;
    let server = parties.enrol(Role::Server, "server");
    (parties, server, upload, sealed)
}

fn pixels(data: &Dataset, sample: usize) -> Vec<f64> {
    data.inputs().sample(sample).iter().map(|&pixel| f64::from(pixel)).collect()
}

/// Weights that look as if they were learned.
fn weights(rows: usize, columns: usize, visit: usize) -> Array2<i64> {
    let weight = |(i, j): (usize, usize)| {
        let word = ((visit * 7919 + i * 613 + j) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let word = (word ^ word >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33;
        (word % 255) as i64 - 127
    };
    Array2::from_shape_fn((rows, columns), weight)
}

fn query<'a>(samples: &'a [usize], values: ArrayView2<'a, i64>) -> Query<'a> {
    Query { samples, values, bound: 1 << 40 }
}

/// The solution of `matrix x = right`, by least squares with pivoting on the normal equations; `None` if it is not unique.
fn solve(matrix: &[Vec<f64>], right: &[f64]) -> Option<Vec<f64>> {
    let n = matrix[0].len();
    let mut rows = vec![vec![0.0; n + 1]; n];
    for (row, value) in matrix.iter().zip(right) {
        for i in 0..n {
            (0..n).for_each(|j| rows[i][j] += row[i] * row[j]);
            rows[i][n] += row[i] * value;
        }
    }
    for column in 0..n {
        let pivot = (column..n).max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()))?;
        rows.swap(column, pivot);
        if rows[column][column].abs() < 1e-6 {
            return None;
        }
        let pivot = rows[column].clone();
        for row in rows.iter_mut().skip(column + 1) {
            let factor = row[column] / pivot[column];
            row.iter_mut().zip(&pivot).for_each(|(x, p)| *x -= factor * p);
        }
    }
    let mut x = vec![0.0; n];
    for i in (0..n).rev() {
        let rest: f64 = (i + 1..n).map(|j| rows[i][j] * x[j]).sum();
        x[i] = (rows[i][n] - rest) / rows[i][i];
    }
    Some(x)
}

/// One pass through a convolution gives as many equations as an image has pixels: the image is their solution.
#[test]
fn a_convolution_is_inverted_in_the_reproduction_mode_and_refused_elsewhere() {
    let form =
        Opening { first_layer: WINDOWS, labels: Labels::Febo, fixed_point: fixed_point(), ..opening(Scheme::Pad, 1) };
    let (parties, server, upload, sealed) = encrypted(Terms::Cryptonn(form.clone()), 3);
    let mut oracle = parties.oracle(&server, &[upload]);
    let filters = weights(2, 9, 0);
    for sample in 0..3 {
        let opened = oracle.forward(query(&[sample], filters.view())).unwrap();
        // What one filter makes of each pixel, from the convolution of unit images.
        let windows = oracle.vectors();
        let mut matrix = vec![vec![0.0; PIXELS]; 2 * PIXELS];
        for pixel in 0..PIXELS {
            let mut unit = vec![0i16; PIXELS];
            unit[pixel] = 1;
            let columns = windows.of(&unit);
            for (at, row) in matrix.iter_mut().enumerate() {
                let (filter, window) = (at / PIXELS, at % PIXELS);
                row[pixel] = (0..9).map(|p| (filters[(filter, p)] * columns[p * PIXELS + window]) as f64).sum();
            }
        }
        let right: Vec<f64> = opened.iter().map(|value| *value as f64).collect();
        let found: Vec<f64> = solve(&matrix, &right).unwrap().iter().map(|pixel| pixel.round()).collect();
        assert_eq!(found, pixels(&sealed, sample), "sample {sample}");
    }
    let refused = spec(Terms::Guarded(Opening { labels: Labels::Open, ..form })).validate().err();
    assert!(matches!(refused, Some(AgreementError::Convolution { .. })), "{refused:?}");
}

/// Keys are linear in the master key, and CryptoNN has one for everybody: after as many independent filters as a window has
/// values, whoever asked for them opens everything of every client.
#[test]
fn the_master_key_is_recovered_in_the_reproduction_mode_and_out_of_reach_elsewhere() {
    let form = Opening { first_layer: WINDOWS, labels: Labels::Open, ..opening(Scheme::Ddh, 1) };
    // As dense layers have it: one master key, samples of 64 values.
    let dense = Opening { first_layer: opening(Scheme::Ddh, 32).first_layer, batch: 32, ..form };
    let data = digits().0;
    let parties = Parties::found(spec(Terms::Cryptonn(dense.clone())));
    let tokens = ["attacked-first", "attacked-too"].map(|name| parties.enrol(Role::Client, name));
    let parts = data.split_at(64).unwrap().0.among(2).unwrap();
    let uploads = [0, 1].map(|client| parties.encrypt(&tokens[client], &parts[client]).0);
    let server = parties.enrol(Role::Server, "server");
    let mut session = parties.session(&server);
    let dataset = parties.client(&tokens[0]).arrange(&parts[0]).unwrap().dataset;
    let ddh = Ddh::new(Bounds::new(PIXELS, 255, 15).unwrap());
    // Sixteen steps of four units each, for batches of the first client alone.
    let (mut asked, mut keys) = (Vec::<i32>::new(), Vec::<Scalar>::new());
    for step in 0..16 {
        let values = weights(4, PIXELS, step).mapv(|weight| weight % 16);
        asked.extend(values.iter().map(|&weight| weight as i32));
        let direction = nightloom_fe::agreement::Direction::Forward;
        let request =
            Request::FunctionKeys { client: "attacked-first".to_owned(), dataset, batch: 0, direction, values };
        let Reply::FunctionKeys(bytes) = session.ask(&request).unwrap() else { panic!("keys") };
        // Header, parameters, master key, then a scalar for each functional.
        keys.extend(
            bytes[16 + 32 + 16..]
                .chunks_exact(32)
                .map(|scalar| Scalar::from_canonical_bytes(scalar.try_into().unwrap()).unwrap()),
        );
    }
    let master = solve_scalars(&asked, &keys);
    // Keys of unit vectors, which nobody issued, for the other client's samples.
    let identity: Vec<i32> = (0..PIXELS * PIXELS).map(|at| i32::from(at % (PIXELS + 1) == 0)).collect();
    let functionals = Functionals::dense(PIXELS, &identity).unwrap();
    let ciphertext = first_part(&uploads[1]);
    let mut forged = ciphertext[..16].to_vec();
    forged[4] = nightloom_wire::Kind::FunctionKeys as u8;
    forged[8..16].copy_from_slice(&((32 + 16 + 32 * PIXELS) as u64).to_le_bytes());
    forged.extend(&ciphertext[16..16 + 32 + 16]);
    forged.extend(master.iter().flat_map(|scalar| scalar.to_bytes()));
    let forged = wire::read::<DdhFunctionKeys>(&*forged, (&ddh, &functionals), forged.len() as u64).unwrap();
    let ciphertext = wire::read::<DdhCiphertext>(&*ciphertext, &ddh, ciphertext.len() as u64).unwrap();
    let opened = ddh.decrypt(&ciphertext, &forged).unwrap();
    let sealed = parties.client(&tokens[1]).arrange(&parts[1]).unwrap().data;
    for sample in 0..32 {
        let found: Vec<f64> = (0..PIXELS).map(|pixel| opened[pixel * 32 + sample] as f64).collect();
        assert_eq!(found, pixels(&sealed, sample));
    }

    // On the defaults a label is one batch of one client, and its keys end at a tenth of what this takes.
    let (parties, server, upload, _) = encrypted(Terms::Guarded(dense), 32);
    let mut oracle = parties.oracle(&server, &[upload]);
    let samples: Vec<usize> = (0..32).collect();
    let mut ask = |visit| {
        let values = weights(4, PIXELS, visit).mapv(|weight| weight % 16);
        oracle.forward(query(&samples, values.view())).map(|_| ())
    };
    ask(0).unwrap();
    let refused = ask(1).unwrap_err();
    let OracleError::Ask(AskError::Refused(Refusal::Budget { rule: Rule::Forward, rank: 8, limit: 6, .. })) = refused
    else {
        panic!("{refused}");
    };
}

/// The ciphertext of the first part of the first batch of an upload.
fn first_part(upload: &[u8]) -> Vec<u8> {
    let number = |at: usize| u32::from_le_bytes(upload[at..at + 4].try_into().unwrap()) as usize;
    let name = 16 + 32;
    let batch = name + 4 + number(name) + 16 + 4 + 8;
    upload[batch + 4..][..number(batch)].to_vec()
}

/// The solution of `matrix x = right` modulo the order of the group.
fn solve_scalars(matrix: &[i32], right: &[Scalar]) -> Vec<Scalar> {
    let n = right.len();
    let signed = |y: i32| if y < 0 { -Scalar::from(y.unsigned_abs()) } else { Scalar::from(y.unsigned_abs()) };
    let mut rows: Vec<Vec<Scalar>> = matrix.chunks(n).map(|row| row.iter().copied().map(signed).collect()).collect();
    rows.iter_mut().zip(right).for_each(|(row, right)| row.push(*right));
    for column in 0..n {
        let pivot = (column..n).find(|&row| rows[row][column] != Scalar::ZERO).expect("independent keys");
        rows.swap(column, pivot);
        let inverse = rows[column][column].invert();
        rows[column].iter_mut().for_each(|x| *x *= inverse);
        let pivot = rows[column].clone();
        for (_, row) in rows.iter_mut().enumerate().filter(|(row, _)| *row != column) {
            let factor = row[column];
            row.iter_mut().zip(&pivot).for_each(|(x, p)| *x -= factor * p);
        }
    }
    rows.iter().map(|row| row[n]).collect()
}

/// Ionita and Ionita, RAID 2025 (arXiv 2509.21497): samples from fewer products than they have values, since values are
/// known to lie between 0 and the largest.
fn by_linear_programming(weights: &Array2<i64>, products: &[i64]) -> Option<Vec<f64>> {
    let mut problem = Problem::new(OptimizationDirection::Minimize);
    let variables: Vec<_> = (0..weights.ncols()).map(|_| problem.add_var(1.0, (0.0, LARGEST))).collect();
    for (row, product) in weights.rows().into_iter().zip(products) {
        let terms: Vec<_> = variables.iter().copied().zip(row.iter().map(|weight| *weight as f64)).collect();
        problem.add_constraint(&terms, ComparisonOp::Eq, *product as f64);
    }
    let solution = problem.solve().ok()?.into_solution().ok()?;
    Some(variables.iter().map(|variable| solution.var_value(*variable)).collect())
}

/// Mean absolute error of a reconstruction, in pixels of at most 240, over some samples.
fn reconstruction_error(
    terms: Terms,
    units: usize,
    visits: usize,
    samples: usize,
) -> Result<Vec<f64>, OracleError<nightloom_fe::authority::KeeperError>> {
    let (parties, server, upload, sealed) = encrypted(terms, 32);
    let mut oracle = parties.oracle(&server, &[upload]);
    let all: Vec<usize> = (0..32).collect();
    let mut asked = Array2::zeros((0, PIXELS));
    let mut opened: Vec<Vec<i64>> = vec![Vec::new(); 32];
    for visit in 0..visits {
        let values = weights(units, PIXELS, visit);
        let products = oracle.forward(query(&all, values.view()))?;
        opened.iter_mut().zip(products.rows()).for_each(|(opened, row)| opened.extend(row.iter()));
        values.rows().into_iter().for_each(|row| asked.push_row(row).unwrap());
    }
    let error = |sample: usize| {
        let Some(found) = by_linear_programming(&asked, &opened[sample]) else { return LARGEST };
        let wanted = pixels(&sealed, sample);
        found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).sum::<f64>() / PIXELS as f64
    };
    Ok((0..samples).map(error).collect())
}

#[test]
fn linear_programming_reconstructs_samples_in_the_reproduction_mode_and_fails_on_the_defaults() {
    let form = Opening { fixed_point: fixed_point(), ..opening(Scheme::Pad, 32) };
    // Six steps of eight units: three quarters as many equations as pixels.
    let errors = reconstruction_error(Terms::Cryptonn(form.clone()), 8, 6, 8).unwrap();
    println!("reproduction: {errors:.2?}");
    assert!(errors.iter().filter(|error| **error < 0.5).count() >= 7, "{errors:?}");
    // What the budget admits: six.
    let errors = reconstruction_error(Terms::Guarded(form.clone()), 6, 1, 8).unwrap();
    println!("guarded: {errors:.2?}");
    assert!(errors.iter().all(|error| *error > 25.0), "{errors:?}");
    let refused = reconstruction_error(Terms::Guarded(form), 6, 2, 8).unwrap_err();
    assert!(matches!(refused, OracleError::Ask(AskError::Refused(Refusal::Budget { rank: 12, limit: 6, .. }))));
}

/// `P - Y` with known `P` is `Y`.
#[test]
fn labels_are_recovered_in_the_reproduction_mode_and_deniable_on_the_defaults() {
    let recovered = |terms: Terms| {
        let (parties, server, upload, sealed) = encrypted(terms, 320);
        let mut oracle = parties.oracle(&server, &[upload]);
        let predictions = Array2::from_elem((32, 10), 6i64);
        let mut labels = Vec::new();
        for batch in 0..10 {
            let samples: Vec<usize> = (batch * 32..(batch + 1) * 32).collect();
            let errors = oracle.output_error(query(&samples, predictions.view())).unwrap();
            let label = |row: ndarray::ArrayView1<'_, i64>| row.iter().position(|error| *error != 6).unwrap();
            labels.extend(errors.rows().into_iter().map(label));
        }
        (labels, sealed, parties, server)
    };
    let sealed = Opening { labels: Labels::Febo, ..opening(Scheme::Pad, 32) };
    let (labels, data, ..) = recovered(Terms::Cryptonn(sealed));
    let truth = |data: &Dataset| -> Vec<usize> {
        let row = |sample| data.targets().rows(&[sample]).iter().position(|target| *target == 1.0).unwrap();
        (0..data.len()).map(row).collect()
    };
    assert_eq!(labels, truth(&data));

    // On the defaults the server has answers of which three in ten are not true, and cannot tell which.
    let randomized = Labels::Randomized { epsilon: 3.0 };
    let form = Opening { labels: randomized, ..opening(Scheme::Pad, 32) };
    let (labels, data, parties, server) = recovered(Terms::Guarded(form));
    let originals = digits().0;
    let original = |sample: usize| {
        let found = (0..320).find(|at| originals.inputs().sample(*at) == data.inputs().sample(sample)).unwrap();
        truth(&originals)[found]
    };
    let right = labels.iter().enumerate().filter(|(sample, label)| original(*sample) == **label).count();
    // Kept with probability 0.69: 221 of 320 on average, deviation 8.3; the key is fixed.
    assert!((180..262).contains(&right), "{right}");
    // And keys of FEBO, which would open them, are not issued.
    let dataset = parties.link.keeper.lock().unwrap().authority().ledger().datasets().next().unwrap().1;
    let request = Request::OperandKeys { client: "client".to_owned(), dataset, batch: 0, request: Vec::new() };
    let refused = parties.session(&server).ask(&request).unwrap_err();
    assert!(matches!(refused, AskError::Refused(Refusal::Mode { .. })), "{refused}");
}

/// A key for one coordinate is that coordinate; so are two keys that differ in it.
#[test]
fn single_pixels_open_in_the_reproduction_mode_and_are_refused_on_the_defaults() {
    let form = Opening { fixed_point: fixed_point(), ..opening(Scheme::Pad, 32) };
    let samples: Vec<usize> = (0..32).collect();
    let mut unit = Array2::zeros((1, PIXELS));
    unit[(0, 20)] = 1;
    let mut pair = weights(2, PIXELS, 0) / 2;
    let first = pair.row(0).to_owned();
    pair.row_mut(1).assign(&first);
    pair[(1, 20)] += 1;

    let (parties, server, upload, sealed) = encrypted(Terms::Cryptonn(form.clone()), 32);
    let mut oracle = parties.oracle(&server, &[upload]);
    let alone = oracle.forward(query(&samples, unit.view())).unwrap();
    let both = oracle.forward(query(&samples, pair.view())).unwrap();
    for sample in samples.iter().copied() {
        let pixel = pixels(&sealed, sample)[20] as i64;
        assert_eq!((alone[(sample, 0)], both[(sample, 1)] - both[(sample, 0)]), (pixel, pixel));
    }

    let (parties, server, upload, _) = encrypted(Terms::Guarded(form), 32);
    let mut oracle = parties.oracle(&server, &[upload]);
    let refused = |error: OracleError<_>| match error {
        OracleError::Ask(AskError::Refused(Refusal::Sparse { found: 1, coordinate: 20, limit: 16, .. })) => {}
        error => panic!("{error}"),
    };
    refused(oracle.forward(query(&samples, unit.view())).unwrap_err());
    refused(oracle.forward(query(&samples, pair.view())).unwrap_err());
    // In two steps likewise.
    oracle.forward(query(&samples, pair.slice(ndarray::s![..1, ..]))).unwrap();
    refused(oracle.forward(query(&samples, pair.slice(ndarray::s![1.., ..]))).unwrap_err());
}

/// Public layers are no way around the budget: what they make of a sample may be more values than it has, or come from fewer, or
/// be linear in them, so that a product could be a single pixel.
#[test]
fn public_layers_do_not_widen_the_budget() {
    let features = |layers: Vec<LayerSpec>| {
        let input = Shape { channels: 1, height: 8, width: 8 };
        let network = NetworkSpec { input, layers }.validate().unwrap();
        let network = Network::random(&network, &Seed::new([3; 32]));
        let layer = PublicLayer::new(&network, 4.0, 8)?;
        let agreed = spec(Terms::Guarded(Opening { fixed_point: fixed_point(), ..opening(Scheme::Pad, 64) }));
        let data = DataForm { input, encoding: Encoding::Features(layer), ..agreed.data.clone() };
        AgreementSpec { data, ..agreed }.validate()
    };
    let convolution = |filters| LayerSpec::Convolution { filters, side: 3, stride: 1, padding: 1 };
    let dense = |units| LayerSpec::Dense { units };
    for linear in [vec![convolution(2)], vec![dense(32), LayerSpec::AveragePool { side: 1, stride: 1 }]] {
        assert_eq!(features(linear).err(), Some(AgreementError::LinearLayers));
    }
    for (layers, width, [products, gradients]) in [
        // 64 pixels: 6 products, as without layers. A row of a gradient is an equation for each of 1024 features of a sample.
        (vec![convolution(16), LayerSpec::Relu], 1024, [6, 1]),
        (vec![convolution(2), LayerSpec::Relu], 128, [6, 8]),
        (vec![convolution(1), LayerSpec::Relu], 64, [6, 16]),
        // Whatever comes of 20 numbers is determined by them.
        (vec![dense(20), LayerSpec::Relu, dense(200)], 200, [2, 1]),
    ] {
        let agreement = features(layers).unwrap();
        assert_eq!(agreement.data().trained_input().len(), width);
        let parties = Parties::found(agreement.spec().clone());
        let client = parties.enrol(Role::Client, "client");
        let form = agreement.data();
        let digits = digits().0.split_at(64).unwrap().0;
        let pixels: Vec<u8> = (0..64).flat_map(|at| digits.inputs().sample(at).to_vec()).map(|x| x as u8).collect();
        let inputs = form.inputs(RawSamples::Pixels(&pixels)).unwrap();
        let data = Dataset::new(inputs, digits.targets().clone()).unwrap();
        let (upload, _) = parties.encrypt(&client, &data);
        let server = parties.enrol(Role::Server, "server");
        let mut oracle = parties.oracle(&server, &[upload]);
        let samples: Vec<usize> = (0..64).collect();
        let refused = |error| match error {
            OracleError::Ask(AskError::Refused(Refusal::Budget { limit, .. })) => limit,
            error => panic!("{error}"),
        };
        let deltas = |rows: usize| weights(64, rows, 1);
        assert!(oracle.forward(query(&samples, weights(products, width, 0).view())).is_ok());
        let one_more = weights(products + 1, width, 0);
        assert_eq!(refused(oracle.forward(query(&samples, one_more.view())).unwrap_err()), products);
        assert!(oracle.gradient(query(&samples, deltas(gradients).view())).is_ok());
        assert_eq!(refused(oracle.gradient(query(&samples, deltas(gradients + 1).view())).unwrap_err()), gradients);
        let audit = Audit::of_file(&parties.ledger(), 1e-5).unwrap();
        let determined = audit.datasets[0].determined.unwrap();
        assert!(determined <= 1.0 - 0.9 * 0.75, "{determined}");
    }
}

/// Deltas `e_m + u` for the first samples of a batch, `u` on all others: no functional has few coordinates and neither has a
/// row of their reduced form in the order of samples, but any two differ in two samples. One of those is known to the server, say.
#[test]
fn differences_of_two_samples_open_in_the_reproduction_mode_and_are_refused_on_the_defaults() {
    let form = Opening { fixed_point: fixed_point(), ..opening(Scheme::Pad, 256) };
    let samples: Vec<usize> = (0..256).collect();
    let deltas = Array2::from_shape_fn((256, 64), |(sample, unit)| match sample {
        0..64 => i64::from(sample == unit),
        _ => 1 - 2 * (sample as i64 % 2),
    });
    let (parties, server, upload, sealed) = encrypted(Terms::Cryptonn(form.clone()), 256);
    let opened = parties.oracle(&server, &[upload]).gradient(query(&samples, deltas.view())).unwrap();
    let known = pixels(&sealed, 0);
    for sample in 1..64 {
        let found = (0..PIXELS).map(|pixel| (opened[(sample, pixel)] - opened[(0, pixel)]) as f64 + known[pixel]);
        assert_eq!(found.collect::<Vec<f64>>(), pixels(&sealed, sample));
    }

    let (parties, server, upload, _) = encrypted(Terms::Guarded(form), 256);
    let mut oracle = parties.oracle(&server, &[upload]);
    for units in [2, 16, 64] {
        let error = oracle.gradient(query(&samples, deltas.slice(ndarray::s![.., ..units]))).unwrap_err();
        let OracleError::Ask(AskError::Refused(Refusal::Sparse { found: 2, limit: 16, .. })) = error else {
            panic!("{error}");
        };
    }
}
