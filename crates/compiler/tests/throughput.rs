//! Small networks, each planned; their programs in the clear and encrypted.

mod common;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use common::noise;
use nightloom_compiler::explain::Explanation;
use nightloom_compiler::graph::{Graph, NodeId, Op, Origin, Tensor};
use nightloom_compiler::interval::Interval;
use nightloom_compiler::network::{Network, ValueId};
use nightloom_compiler::passes::squash::squash;
use nightloom_compiler::pipeline::simplify;
use nightloom_compiler::plans::throughput::{Options, Plan, PlanError, plan};
use nightloom_he::{Decryptor, Encoder, Encryptor, KeyGenerator};
use nightloom_program::cost::REFERENCE;
use nightloom_program::{DEFAULT_WEIGHT_BYTES, Executor};

/// A graph under construction, all of whose nodes have the same name.
struct Build(Graph);

impl Build {
    fn push(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        let origin = Origin { node: "layer".into(), op: op.name().into() };
        self.0.push(op, operands.to_vec(), origin).unwrap()
    }

    fn product(&mut self, left: NodeId, right: NodeId) -> NodeId {
        self.push(
            if left == right { Op::Square } else { Op::Multiply },
            &[left, right][..1 + usize::from(left != right)],
        )
    }

    /// A dense layer with weights between -1 and 1.
    fn dense(&mut self, operand: NodeId, columns: usize, seed: u64) -> NodeId {
        let rows = self.0.shape(operand)[2];
        let weight = Tensor::new(vec![1, rows, columns], noise(seed, rows * columns)).unwrap();
        self.push(Op::MatMul(weight), &[operand])
    }

    fn shift(&mut self, operand: NodeId, by: f64) -> NodeId {
        let shape = self.0.shape(operand).to_vec();
        self.push(Op::AddConst(Tensor::filled(shape, by).unwrap()), &[operand])
    }
}

struct Case {
    name: &'static str,
    features: usize,
    range: (f64, f64),
    build: fn(&mut Build, NodeId) -> NodeId,
}

const CASES: [Case; 14] = [
    Case { name: "identity", features: 1, range: (-1.0, 1.0), build: |_, x| x },
    Case { name: "affine", features: 4, range: (-1.0, 1.0), build: |b, x| b.dense(x, 3, 1) },
    Case { name: "one feature", features: 1, range: (0.0, 1.0), build: |b, x| b.product(x, x) },
    Case {
        name: "range without zero",
        features: 4,
        range: (7.0, 8.0),
        build: |b, x| {
            let small = b.shift(x, -7.5);
            let square = b.product(small, small);
            b.product(square, square)
        },
    },
    Case {
        name: "cube",
        features: 3,
        range: (-1.0, 1.0),
        build: |b, x| {
            let square = b.product(x, x);
            b.product(square, x)
        },
    },
    Case {
        name: "residual from the input",
        features: 4,
        range: (0.0, 1.0),
        build: |b, x| {
            let a = b.dense(x, 3, 2);
            let square = b.product(a, a);
            let t = b.dense(square, 4, 3);
            b.push(Op::Add, &[t, x])
        },
    },
    Case {
        name: "residual across a product",
        features: 4,
        range: (0.0, 1.0),
        build: |b, x| {
            let (left, right) = (b.dense(x, 3, 4), b.dense(x, 3, 5));
            let product = b.product(left, right);
            b.push(Op::Add, &[product, left])
        },
    },
    Case {
        name: "t^2 + t",
        features: 4,
        range: (0.0, 1.0),
        build: |b, x| {
            let a = b.dense(x, 3, 6);
            let square = b.product(a, a);
            let t = b.dense(square, 4, 7);
            let square = b.product(t, t);
            b.push(Op::Add, &[square, t])
        },
    },
    Case {
        name: "(a b) a - b",
        features: 4,
        range: (0.0, 1.0),
        build: |b, x| {
            let (left, right) = (b.dense(x, 3, 8), b.dense(x, 3, 9));
            let product = b.product(left, right);
            let product = b.product(product, left);
            b.push(Op::Sub, &[product, right])
        },
    },
    Case {
        name: "factors of different levels",
        features: 4,
        range: (-1.0, 1.0),
        build: |b, x| {
            let a = b.dense(x, 4, 10);
            let square = b.product(a, a);
            let t = b.dense(square, 4, 11);
            let r = b.push(Op::Add, &[t, a]);
            b.product(r, a)
        },
    },
    Case {
        name: "residuals in a row",
        features: 4,
        range: (-1.0, 1.0),
        build: |b, x| {
            let a = b.dense(x, 4, 12);
            let square = b.product(a, a);
            let t = b.dense(square, 4, 13);
            let r = b.push(Op::Add, &[t, a]);
            let square = b.product(r, r);
            let t = b.dense(square, 4, 14);
            b.push(Op::Add, &[t, r])
        },
    },
    Case {
        name: "large weights",
        features: 4,
        range: (0.0, 255.0),
        build: |b, x| {
            let a = b.dense(x, 4, 15);
            let a = b.push(Op::MulConst(Tensor::filled(vec![1, 1, 4], 1e6).unwrap()), &[a]);
            b.product(a, a)
        },
    },
    Case {
        name: "small weights",
        features: 4,
        range: (-1e-3, 1e-3),
        build: |b, x| {
            let a = b.dense(x, 4, 16);
            let a = b.push(Op::MulConst(Tensor::filled(vec![1, 1, 4], 1e-6).unwrap()), &[a]);
            let square = b.product(a, a);
            b.dense(square, 2, 17)
        },
    },
    Case {
        name: "sum of branches of three levels",
        features: 2,
        range: (-1.0, 1.0),
        build: |b, x| {
            let square = b.product(x, x);
            let fourth = b.product(square, square);
            let sum = b.push(Op::Add, &[fourth, square]);
            let w = b.dense(x, 2, 18);
            b.push(Op::Add, &[sum, w])
        },
    },
];

impl Case {
    fn named(name: &str) -> &'static Case {
        CASES.iter().find(|case| case.name == name).unwrap()
    }

    fn network(&self) -> Network {
        let mut build = Build(Graph::new(vec![1, 1, self.features]).unwrap());
        let input = build.0.input();
        let output = (self.build)(&mut build, input);
        build.0.set_output(output).unwrap();
        squash(&simplify(build.0).unwrap()).unwrap()
    }

    fn options(&self) -> Options {
        let input = Interval::new(self.range.0, self.range.1).unwrap();
        Options {
            input,
            precision_bits: 9.0,
            log_degree: None,
            insecure: false,
            samples: Vec::new(),
            prices: REFERENCE,
        }
    }

    fn plan(&self, network: &Network) -> Plan {
        plan(network, &self.options()).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// The number in the range that is at `unit` of the way from its lower end.
    fn at(&self, unit: f64) -> f64 {
        let (low, high) = self.range;
        (low + unit * (high - low)).clamp(low, high)
    }

    fn random_samples(&self, count: usize) -> Vec<Vec<f64>> {
        let sample = |seed| noise(seed, self.features).into_iter().map(|unit| self.at(0.5 + unit / 2.0)).collect();
        (0..count as u64).map(sample).collect()
    }

    /// Every sample whose features are ends of the range; the last has the upper ends only.
    fn corners(&self) -> Vec<Vec<f64>> {
        let corner = |index: usize| (0..self.features).map(|f| self.at((index >> f & 1) as f64)).collect();
        (0..1 << self.features).map(corner).collect()
    }
}

fn largest_difference(found: &[f64], expected: &[f64]) -> f64 {
    found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f64::max)
}

#[test]
fn programs_compute_their_networks_within_the_bound() {
    for case in &CASES {
        let network = case.network();
        let plan = case.plan(&network);
        let name = case.name;
        assert!(plan.precision_bits() >= 9.0 && plan.error_bound <= plan.error_bound_public_key, "{name}");
        for sample in case.random_samples(200) {
            let error = largest_difference(&plan.program.evaluate(&sample), &network.evaluate(&sample));
            assert!(error <= plan.error_bound, "{name}: {error}, bound {}", plan.error_bound);
        }
    }
}

#[test]
fn no_value_in_the_range_can_leave_the_modulus() {
    for case in &CASES {
        let network = case.network();
        let Plan { program, magnitudes, .. } = case.plan(&network);
        let values: Vec<_> = case.corners().iter().map(|sample| program.evaluate_all(sample, &[])).collect();
        for (op, (magnitude, result)) in magnitudes.iter().zip(program.types()).enumerate() {
            let room = program.params().log_q(result.level) - 1.5 - result.scale.log2();
            assert!(magnitude.log2() <= room, "{}: operation {op}", case.name);
            let largest = values.iter().flat_map(|values| &values[op]).fold(0.0f64, |largest, x| largest.max(x.abs()));
            assert!(largest <= *magnitude, "{}: {largest} exceeds {magnitude} in operation {op}", case.name);
        }
    }
}

#[test]
fn encrypted_runs_stay_within_the_bound() {
    for name in ["identity", "range without zero", "residual from the input", "t^2 + t", "(a b) a - b"] {
        let case = Case::named(name);
        let network = case.network();
        let plan = case.plan(&network);
        let (program, params) = (&plan.program, plan.program.params());
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        let generator = KeyGenerator::new(params);
        let secret = generator.secret_key(&mut rng);
        let public = generator.public_key(&secret, &mut rng).unwrap();
        let keys = generator.evaluation_keys(&secret, &program.evaluation_keys(), &mut rng).unwrap();
        let encoder = Encoder::new(params);
        let executor = Executor::new(program.clone(), 2, DEFAULT_WEIGHT_BYTES).unwrap();
        let input = program.input_type();
        let mut run = |encryptor: Encryptor, samples: &[Vec<f64>]| -> Vec<Vec<f64>> {
            let request = (0..input.features)
                .map(|feature| {
                    let column: Vec<f64> = samples.iter().map(|sample| sample[feature]).collect();
                    let message = encoder.encode(&column, &input.scale).unwrap();
                    encryptor.encrypt(&message, input.level, &mut rng).unwrap()
                })
                .collect();
            let response = executor.run(request, &keys, &|_| {}).unwrap();
            let decrypt = |c| encoder.decode(&Decryptor::new(&secret).decrypt(c).unwrap()).unwrap();
            let outputs: Vec<Vec<f64>> = response.iter().map(decrypt).collect();
            (0..samples.len()).map(|slot| outputs.iter().map(|slots| slots[slot]).collect()).collect()
        };
        let samples = case.random_samples(params.slots());
        let stated = [plan.error_bound, plan.error_bound_public_key];
        for (encryptor, bound) in [Encryptor::symmetric(&secret), Encryptor::public(&public)].into_iter().zip(stated) {
            for (found, sample) in run(encryptor, &samples).iter().zip(&samples) {
                let error = largest_difference(found, &network.evaluate(sample));
                assert!(error <= bound, "{name}: error {error}, bound {bound}");
            }
        }
        // A batch of equal samples in a corner of the range is the largest message there is.
        let corner = case.corners().pop().unwrap();
        let bounds = program.output_bounds(&corner, &[], 0..program.output_type().features);
        let bound = bounds.iter().map(|bound| bound.secret_key).fold(0.0, f64::max);
        let expected = program.evaluate(&corner);
        for found in run(Encryptor::symmetric(&secret), &vec![corner; params.slots()]) {
            let error = largest_difference(&found, &expected);
            assert!(error <= bound, "{name}: error {error} in the corner, bound {bound}");
        }
    }
}

#[test]
fn samples_of_another_width_are_refused() {
    let case = Case::named("affine");
    let samples = vec![vec![0.5; 4], vec![0.5; 3]];
    let found = plan(&case.network(), &Options { samples, ..case.options() }).unwrap_err();
    assert_eq!(found, PlanError::SampleWidth { index: 1, found: 3, wanted: 4 });
    assert_eq!(found.to_string(), "sample 1 has 3 features, the network takes 4");
}

#[test]
fn what_no_parameters_give_is_refused_with_the_best_there_is() {
    let case = Case::named("t^2 + t");
    let wanted = Options { precision_bits: 60.0, log_degree: Some(13), ..case.options() };
    let found = plan(&case.network(), &wanted).unwrap_err();
    let PlanError::Precision { wanted, found: Some(found), levels } = found else { panic!("{found}") };
    assert!(
        wanted == 60.0 && levels.products == 2 && levels.stages.len() >= 3 && (5.0..20.0).contains(&found),
        "{found}"
    );
    let open = Options { insecure: true, ..case.options() };
    assert_eq!(plan(&case.network(), &open).unwrap_err(), PlanError::InsecureNeedsDegree);
}

#[test]
fn layers_are_explained_by_position() {
    // All layers have one name; each has its own magnitude.
    let case = Case::named("t^2 + t");
    let network = case.network();
    let explanation = Explanation::new(&network, &nightloom_compiler::plans::Plan::Throughput(case.plan(&network)));
    let input = Interval::new(case.range.0, case.range.1).unwrap();
    let ranges = network.ranges(&vec![input; case.features]);
    assert!(explanation.layers.iter().all(|layer| layer.name.starts_with("layer")));
    for (stage, layer) in explanation.layers.iter().enumerate() {
        let range = &ranges[ValueId::of_stage(stage).index()];
        let largest = range.iter().map(|range| range.magnitude()).fold(0.0, f64::max);
        assert!((1.0..1.05).contains(&(layer.magnitude / largest)), "{layer:?}, range {largest}");
    }
}
