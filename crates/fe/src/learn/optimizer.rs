//! Stochastic gradient descent with momentum.

use serde::{Deserialize, Serialize};

use super::linear::add_scaled;
use super::network::{Gradient, Network, Parameters};

/// How far each step goes: `v = momentum v + g; w = w - rate v`, with `g` the mean gradient of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptimizerSpec {
    /// The rate in the first epoch, above 0.
    pub learning_rate: f64,
    /// Factor of the rate from one epoch to the next, above 0.
    pub decay: f64,
    /// From 0, below 1.
    pub momentum: f64,
}

impl OptimizerSpec {
    /// A constant rate, no momentum.
    pub fn constant(learning_rate: f64) -> Self {
        Self { learning_rate, decay: 1.0, momentum: 0.0 }
    }

    /// The rate of an epoch, by multiplication, so that it does not depend on how the machine computes powers.
    pub(crate) fn rate(&self, epoch: u32) -> f64 {
        (0..epoch).fold(self.learning_rate, |rate, _| rate * self.decay)
    }
}

/// Moves the network against the gradient. `velocity` has one entry for each trained layer if there is momentum, and none
/// otherwise.
pub(crate) fn descend(
    network: &mut Network,
    velocity: &mut [Parameters],
    gradient: &Gradient,
    rate: f64,
    momentum: f64,
) {
    if velocity.is_empty() {
        for (parameters, gradient) in network.parameters_mut().iter_mut().zip(gradient) {
            update(parameters, -rate, gradient);
        }
        return;
    }
    for ((parameters, velocity), gradient) in network.parameters_mut().iter_mut().zip(velocity).zip(gradient) {
        velocity.weights *= momentum;
        velocity.bias *= momentum;
        update(velocity, 1.0, gradient);
        update(parameters, -rate, velocity);
    }
}

fn update(parameters: &mut Parameters, factor: f64, by: &Parameters) {
    let pairs = [
        (parameters.weights.as_slice_mut(), by.weights.as_slice()),
        (parameters.bias.as_slice_mut(), by.bias.as_slice()),
    ];
    for (out, values) in pairs {
        let (out, values) = (out.expect("parameters are contiguous"), values.expect("gradients are contiguous"));
        add_scaled(out, factor, values);
    }
}
