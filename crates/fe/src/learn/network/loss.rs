use std::fmt;

use ndarray::{Array2, ArrayView1};
use serde::{Deserialize, Serialize};

/// What training makes small. For both, the gradient with respect to the outputs is `predictions - targets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// `-sum y log softmax(outputs)`: classes.
    SoftmaxCrossEntropy,
    /// `sum (outputs - y)^2 / 2`: numbers.
    MeanSquaredError,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SoftmaxCrossEntropy => "softmax cross-entropy",
            Self::MeanSquaredError => "mean squared error",
        })
    }
}

impl Loss {
    /// What the outputs predict: probabilities under cross-entropy, themselves under squared error.
    pub fn predictions(self, mut outputs: Array2<f64>) -> Array2<f64> {
        if self == Self::SoftmaxCrossEntropy {
            for mut row in outputs.rows_mut() {
                let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                row.mapv_inplace(|value| libm::exp(value - largest));
                let sum: f64 = row.iter().sum();
                row.mapv_inplace(|value| value / sum);
            }
        }
        outputs
    }

    /// The loss of one sample. A probability of zero counts as the least positive number, so the loss stays finite.
    pub fn value(self, prediction: ArrayView1<f64>, target: ArrayView1<f64>) -> f64 {
        let pairs = prediction.iter().zip(&target);
        match self {
            Self::SoftmaxCrossEntropy => pairs.map(|(p, y)| -y * libm::log(p.max(f64::MIN_POSITIVE))).sum(),
            Self::MeanSquaredError => pairs.map(|(p, y)| (p - y) * (p - y)).sum::<f64>() / 2.0,
        }
    }
}
