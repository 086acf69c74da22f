//! Products that a server computes on pads: only the client opens them.

mod common;
#[path = "common/parties.rs"]
mod parties;

use std::io::Cursor;

use common::digits;
use ndarray::Array2;
use nightloom_fe::Scheme;
use nightloom_fe::agreement::{AgreementError, FirstLayerForm, Labels, Opening, Terms};
use nightloom_fe::client::ClientError;
use nightloom_fe::delegate::{DelegateError, MaskedProducts, multiply};
use nightloom_fe::learn::first_layer::{Oracle, Query};
use nightloom_fe::protocol::{AskError, Refusal, Role};
use nightloom_fe::server::OracleError;
use nightloom_fe::upload::EncryptedDataset;
use parties::{Parties, opening, spec};

#[test]
fn the_client_alone_opens_delegated_products() {
    // Four batches and a rest, in the client's order.
    let data = digits().0.split_at(70).unwrap().0;
    let parties = Parties::found(spec(Terms::Delegate(Opening {
        fixed_point: nightloom_fe::learn::FixedPointSpec { weight_bits: 12, ..Default::default() },
        ..opening(Scheme::Pad, 16)
    })));
    let client = parties.enrol(Role::Client, "client");
    let other = parties.enrol(Role::Client, "other");
    let server = parties.enrol(Role::Server, "server");
    let (upload, receipt) = parties.encrypt(&client, &data);
    assert_eq!((receipt.samples, receipt.left_out, receipt.batches), (70, 0, 5));
    let open = || EncryptedDataset::open(Cursor::new(upload.clone()), &server.agreement).unwrap();

    // Labels stay with the client: the upload has the same target for every sample.
    let mut oracle = parties.oracle(&server, std::slice::from_ref(&upload));
    for first in [0, 16, 32] {
        let samples: Vec<usize> = (first..first + 16).collect();
        let zeros = Array2::zeros((16, 10));
        let errors = oracle.output_error(Query { samples: &samples, values: zeros.view(), bound: 1 << 40 }).unwrap();
        assert!(errors.rows().into_iter().all(|row| row == errors.row(0)));
    }
    let sealed = Opening { labels: Labels::Febo, ..opening(Scheme::Pad, 16) };
    let refused = spec(Terms::Delegate(sealed)).validate().err();
    assert!(matches!(refused, Some(AgreementError::SealedLabels)), "{refused:?}");

    let weights = Array2::from_shape_fn((7, 64), |(i, j)| ((i * 64 + j) as f64).sin());
    let products = multiply(&server.agreement, &mut open(), weights.view()).unwrap();
    let mut bytes = Vec::new();
    products.write(&mut bytes).unwrap();
    let products = MaskedProducts::read(&*bytes, &server.agreement).unwrap();
    let found = parties.client(&client).open_products(&products).unwrap();
    let all: Vec<usize> = (0..70).collect();
    let wanted = data.inputs().real(&all).dot(&weights.t());
    assert_eq!(found.dim(), (70, 7));
    // Each weight is off by at most half a step of 2^-11, each value at most 1.
    let off = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off > 0.0 && off < 64.0 / 4096.0, "{off}");

    let refused = parties.client(&other).open_products(&products).unwrap_err();
    assert!(matches!(refused, ClientError::OtherClient { .. }), "{refused}");
    // The server gets no keys, so it cannot train either.
    let mut oracle = parties.oracle(&server, std::slice::from_ref(&upload));
    let samples: Vec<usize> = (0..16).collect();
    let values = Array2::from_elem((1, 64), 1i64);
    let refused = oracle.forward(Query { samples: &samples, values: values.view(), bound: 1 << 40 }).unwrap_err();
    assert!(
        matches!(&refused, OracleError::Ask(AskError::Refused(Refusal::Role { found: Role::Server, .. }))),
        "{refused}"
    );

    let narrow = Array2::from_elem((2, 63), 0.5);
    assert!(matches!(multiply(&server.agreement, &mut open(), narrow.view()), Err(DelegateError::Query(_))));
    let infinite = Array2::from_elem((2, 64), f64::INFINITY);
    assert!(matches!(multiply(&server.agreement, &mut open(), infinite.view()), Err(DelegateError::NotFinite)));
    for length in (0..bytes.len()).step_by(97) {
        assert!(MaskedProducts::read(&bytes[..length], &server.agreement).is_err(), "{length} bytes");
    }
}

/// A convolution over delegated images: windows stay under pads, so nothing speaks against it.
#[test]
fn windows_are_multiplied_too() {
    let data = digits().0.split_at(6).unwrap().0;
    let first_layer = FirstLayerForm::Windows { side: 3, stride: 1, padding: 1 };
    let parties = Parties::found(spec(Terms::Delegate(Opening { first_layer, ..opening(Scheme::Pad, 4) })));
    let client = parties.enrol(Role::Client, "client");
    let (upload, _) = parties.encrypt(&client, &data);
    let weights = Array2::from_shape_fn((2, 9), |(i, j)| (i as f64 - 0.5) * (j as f64 - 4.0));
    let mut upload = EncryptedDataset::open(Cursor::new(upload), &client.agreement).unwrap();
    let products = multiply(&client.agreement, &mut upload, weights.view()).unwrap();
    let found = parties.client(&client).open_products(&products).unwrap();
    assert_eq!(found.dim(), (6, 2 * 64));
    // The middle of each window is the pixel itself, which this filter leaves out; its neighbours are weighed.
    let image = data.inputs().real(&[3]);
    let at = |row: usize, column: usize| image[(0, row * 8 + column)];
    let mut wanted = 0.0;
    for j in 0..9 {
        wanted += 0.5 * (j as f64 - 4.0) * at(3 + j / 3 - 1, 4 + j % 3 - 1);
    }
    assert!((found[(3, 64 + 3 * 8 + 4)] - wanted).abs() < 0.5, "{} {wanted}", found[(3, 64 + 3 * 8 + 4)]);
}
