//! Machine learning on data nobody else may see.
//!
//! A model owner compiles an ONNX file into a *program* for a service and a *client specification* for data owners
//! ([`model`]). A data owner makes keys, encrypts samples and decrypts results ([`client`]); the service evaluates the
//! program on ciphertexts ([`server`]) and never holds a secret. The `nightloom` command is the same, file by file.
//!
//! ```
//! use nightloom::client::{Client, EncryptionKey};
//! use nightloom::model::{CompileOptions, compile};
//! use nightloom::samples::{SampleValues, Samples};
//! use nightloom::server::Server;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The model owner.
//! let compiled = compile(nightloom::demo::E2DM_ONNX, &CompileOptions::new("e2dm"))?;
//!
//! // The data owner: one black image.
//! let client = Client::read(&*compiled.client_bytes, 2)?;
//! let mut rng = nightloom::system_rng()?;
//! let keys = client.generate_keys(&mut rng)?;
//! let samples = Samples::new("images", &[28, 28], SampleValues::Pixels(vec![0; 784]))?;
//! let features = samples.features(&client.spec().input_shape, client.scaling())?;
//! let mut request = Vec::new();
//! client.encrypt(&features, EncryptionKey::Secret(&keys.secret), &mut rng, &mut request, &|_| {})?;
//!
//! // The service.
//! let server = Server::read(&*compiled.server_bytes, 2)?;
//! let mut response = Vec::new();
//! server.run(&*request, &keys.evaluation, &mut response, &|_| {})?;
//!
//! // The data owner again.
//! let outputs = client.decrypt(&*response, &keys.secret)?;
//! let expected = compiled.network.evaluate(&[0.0; 784]);
//! for (found, expected) in outputs.values.iter().zip(&expected) {
//!     assert!((found - expected).abs() < compiled.client.error_bound);
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod client;
pub mod model;
pub mod output;
pub mod samples;
pub mod server;

pub mod bench;
pub mod calibration;
pub mod demo;
pub mod fetch;
pub mod job;
pub mod report;
pub mod train;

mod random;
pub use random::{RandomError, system_rng};
