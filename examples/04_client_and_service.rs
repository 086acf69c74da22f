//! Lesson 4: a client and a service.
//!
//! Two parties exchange three things: evaluation keys (once), a request, a response. The client holds the secret key, the
//! images and the results. The service holds the weights and ciphertexts. Here they are two scopes of one program that
//! share nothing but bytes; over a network the bytes would be the same.
//!
//! `cargo run --release -p nightloom --example 04_client_and_service`

use std::error::Error;

use nightloom::client::{Client, EncryptionKey, Outputs};
use nightloom::demo::{Model, test_images, test_labels};
use nightloom::model::{CompileOptions, compile};
use nightloom::samples::{SampleValues, Samples, Scaling};
use nightloom::server::Server;
use nightloom::system_rng;
use nightloom_he::wire::write_evaluation_keys;
use nightloom_wire::Writer;

const IMAGES: usize = 64;
const THREADS: usize = 2;

/// Public, as the tests run the lesson too.
pub fn main() -> Result<(), Box<dyn Error>> {
    // The owner of the model, once. The samples show the compiler what inputs look like: the error that it states is for
    // inputs like these. `for_service` is what the service keeps, `for_clients` what it hands out.
    let mut options = CompileOptions::new("e2dm");
    let scaling = Scaling { scale: options.input.scale, offset: options.input.offset };
    let typical = test_images_from(IMAGES, 16)?;
    let typical = typical.features(&[784], scaling)?;
    options.samples = (0..typical.len()).map(|image| typical.row(image)).collect();
    let compiled = compile(Model::E2dm.onnx(), &options)?;
    let (for_service, for_clients) = (compiled.server_bytes, compiled.client_bytes);

    // The client: keys, and 64 real test images as a request.
    let client = Client::read(&*for_clients, THREADS)?;
    let mut rng = system_rng()?;
    let keys = client.generate_keys(&mut rng)?;
    let mut evaluation_keys = Vec::new();
    write_evaluation_keys(&mut Writer::new(&mut evaluation_keys), &keys.evaluation)?;

    let images = test_images_from(0, IMAGES)?;
    let features = images.features(&client.spec().input_shape, client.scaling())?;
    let mut request = Vec::new();
    let sent = client.encrypt(&features, EncryptionKey::Secret(&keys.secret), &mut rng, &mut request, &|_| {})?;
    // One ciphertext for each of the 784 pixels, one image in each slot: 64 images cost as much as thousands.
    println!(
        "client:  {} images in {} ciphertexts with {} slots",
        sent.samples,
        sent.ciphertexts,
        client.params().slots()
    );

    // The service. It has no secret key, and no type in its half of the library has a way to decrypt.
    let response = serve(&for_service, &evaluation_keys, &request)?;
    let megabytes = |bytes: &[u8]| bytes.len() as f64 / 1e6;
    println!(
        "traffic: keys {:.2} MB once, request {:.1} MB, response {:.2} MB",
        megabytes(&evaluation_keys),
        megabytes(&request),
        megabytes(&response)
    );

    // The client again. Anything may have happened to the bytes on the way; what is not a response to this client's
    // model is refused. That the service computed honestly is not checked: CKKS gives secrecy, not integrity.
    let outputs = client.decrypt(&*response, &keys.secret)?;
    compare(&outputs, client.spec().error_bound)
}

/// Everything that the service does, from bytes to bytes.
fn serve(program: &[u8], evaluation_keys: &[u8], request: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let server = Server::read(program, THREADS)?;
    // A request for another program is refused before anything is computed: it names the program's hash.
    let keys = server.read_evaluation_keys(evaluation_keys)?;
    let mut response = Vec::new();
    server.run(request, &keys, &mut response, &|_| {})?;
    Ok(response)
}

fn test_images_from(first: usize, count: usize) -> Result<Samples, Box<dyn Error>> {
    let all = test_images()?;
    let SampleValues::Pixels(pixels) = all.values() else { return Err("test images are pixels".into()) };
    let pixels = pixels[first * 784..][..count * 784].to_vec();
    Ok(Samples::new("test images", all.shape(), SampleValues::Pixels(pixels))?)
}

/// Compares with the labels, and with what ONNX Runtime computed from the same model in the clear.
fn compare(outputs: &Outputs, bound: f64) -> Result<(), Box<dyn Error>> {
    let logits = Model::E2dm.reference_logits()?;
    let logits = logits.features(&[outputs.columns], Scaling { scale: 1.0, offset: 0.0 })?;
    let labels = test_labels()?;
    let class = |values: &[f64]| (0..values.len()).max_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap_or(0);
    let (mut correct, mut largest) = (0, 0.0f64);
    for (image, found) in outputs.values.chunks_exact(outputs.columns).enumerate() {
        let expected = logits.row(image);
        for (found, expected) in found.iter().zip(&expected) {
            largest = largest.max((found - expected).abs());
        }
        correct += usize::from(class(found) == usize::from(labels[image]));
        // Classes may differ only where the two best logits are closer than both errors together.
        let mut sorted = expected.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        assert!(class(found) == class(&expected) || sorted[0] - sorted[1] < 2.0 * bound, "image {image}");
    }
    println!("result:  {correct} of {IMAGES} right; logits within {largest:.1e} of ONNX Runtime's, bound {bound:.1e}");
    // ONNX Runtime computes in single precision: a few units in the last place of logits of size ten.
    assert!(largest < bound + 1e-4);
    assert!(correct * 10 >= IMAGES * 9);
    Ok(())
}
