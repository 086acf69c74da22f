//! Training on data that the trainer never sees: what surrounds the state machines of `nightloom_fe`.
//!
//! An authority keeps a master seed and a ledger; clients encrypt once; a server trains with keys that the authority issues
//! within a budget. [`transport`] carries their messages, [`data`] reads clients' files, [`run`] trains and measures,
//! [`model`] is what comes out. [`setup`] makes agreements from a few words, and [`demo`] puts all parties into one process.

pub mod data;
pub mod demo;
pub mod model;
pub mod run;
pub mod setup;
pub mod transport;
