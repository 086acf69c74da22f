use std::path::PathBuf;
use std::str::FromStr;

use nightloom_fe::agreement::PublicLayer;
use nightloom_fe::learn::{LayerSpec, Network, NetworkSpec, Shape};

use super::super::error::CliError;
use super::error::{AtFile, TrainFailure};
use super::{read_model, seed};

/// Bits of a feature.
const BITS: u32 = 8;
/// Random filters are pooled over windows of this side.
const POOL: usize = 2;

/// Public layers from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicLayersName {
    /// The first layers of a trained network.
    Trained { path: PathBuf, layers: usize },
    /// A convolution of random filters, ReLU, and max pooling.
    Random { filters: usize, side: usize, stride: usize, padding: usize, seed: u64 },
}

impl FromStr for PublicLayersName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(numbers) = text.strip_prefix("random:") {
            let numbers: Option<Vec<usize>> = numbers.split(':').map(|number| number.parse().ok()).collect();
            return match numbers.as_deref() {
                Some(&[filters, side, stride, padding, seed]) => {
                    Ok(Self::Random { filters, side, stride, padding, seed: seed as u64 })
                }
                _ => Err("wanted random:FILTERS:SIDE:STRIDE:PADDING:SEED, such as random:6:5:1:2:1".to_owned()),
            };
        }
        let parts = text.rsplit_once(':').and_then(|(path, layers)| Some((path, layers.parse().ok()?)));
        match parts {
            Some((path, layers)) if layers > 0 => Ok(Self::Trained { path: path.into(), layers }),
            _ => Err("wanted FILE:LAYERS, such as lenet.network:3, or random:6:5:1:2:1".to_owned()),
        }
    }
}

impl PublicLayersName {
    /// The layers, for images of this shape.
    pub fn layers(&self, input: Shape, limit: f64) -> Result<PublicLayer, CliError> {
        let network = match self {
            Self::Trained { path, layers } => {
                let model = read_model(path)?;
                model.as_network().at_file(path)?.first_layers(*layers)
            }
            Self::Random { filters, side, stride, padding, seed: number } => {
                let (filters, side, stride, padding) = (*filters, *side, *stride, *padding);
                let layers = vec![
                    LayerSpec::Convolution { filters, side, stride, padding },
                    LayerSpec::Relu,
                    LayerSpec::MaxPool { side: POOL, stride: POOL },
                ];
                let architecture = NetworkSpec { input, layers }.validate();
                architecture.map(|architecture| Network::random(&architecture, &seed(*number)))
            }
        };
        let network = network.map_err(|error| TrainFailure::Agreement(error.into()))?;
        Ok(PublicLayer::new(&network, limit, BITS).map_err(TrainFailure::Agreement)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_layers_are_read_as_people_write_them() {
        let random = PublicLayersName::Random { filters: 6, side: 5, stride: 1, padding: 2, seed: 9 };
        assert_eq!("random:6:5:1:2:9".parse(), Ok(random));
        let trained = PublicLayersName::Trained { path: "a:b/net".into(), layers: 3 };
        assert_eq!("a:b/net:3".parse(), Ok(trained));
        for wrong in ["", "net", "net:", "net:0", "net:x", "random:6:5:1:2", "random:6:5:1:2:x"] {
            assert!(wrong.parse::<PublicLayersName>().is_err(), "{wrong}");
        }
    }
}
