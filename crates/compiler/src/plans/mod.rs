//! From a polynomial network to an encrypted program: how tensors become ciphertexts.

pub mod throughput;
