//! Training on functionally encrypted data.
//!
//! [`learn`] is what the server does in the clear: networks, fixed point, the trainer, differential privacy, models from
//! counts, federated averages, export.

#![forbid(unsafe_code)]

pub mod learn;
