//! The ways of training on encrypted data, and who learns what in each.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a training is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// One client or several, each on its own: products are opened under keys of single batches, and an authority counts them.
    Guarded,
    /// Several clients: only sums over at least three of them are opened.
    Aggregate,
    /// CryptoNN as published: everything that training asks for is opened.
    Cryptonn,
    /// A product of matrices is computed for the client by somebody who learns nothing of it.
    Delegate,
}

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Party {
    /// Has data, encrypts it once.
    Client,
    /// Has the model and the ciphertexts.
    Server,
    /// Has the master seed, hands out keys.
    Authority,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Authority => "authority",
        })
    }
}

/// Who learns what: one screen of text, by [`Display`](fmt::Display).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The mode.
    pub mode: Mode,
    /// What the mode is for.
    pub purpose: &'static str,
    /// What the server learns, one line each.
    pub server: &'static [&'static str],
    /// What the server does not learn, and on what this rests.
    pub hidden: &'static [&'static str],
    /// What the authority learns and could learn.
    pub authority: &'static [&'static str],
    /// What clients learn.
    pub clients: &'static [&'static str],
}

impl Mode {
    /// Every mode, the defaults first.
    pub const ALL: [Self; 4] = [Self::Guarded, Self::Aggregate, Self::Cryptonn, Self::Delegate];

    /// The default: [`Guarded`](Self::Guarded) for one client, [`Aggregate`](Self::Aggregate) for several.
    pub fn default_for(clients: usize) -> Self {
        if clients > 1 { Self::Aggregate } else { Self::Guarded }
    }

    /// Its name on command lines and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Guarded => "guarded",
            Self::Aggregate => "aggregate",
            Self::Cryptonn => "cryptonn",
            Self::Delegate => "delegate",
        }
    }

    /// Who learns what.
    pub fn statement(self) -> Statement {
        match self {
            Self::Guarded => GUARDED,
            Self::Aggregate => AGGREGATE,
            Self::Cryptonn => CRYPTONN,
            Self::Delegate => DELEGATE,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

const GUARDED: Statement = Statement {
    mode: Mode::Guarded,
    purpose: "a server trains on samples that stay encrypted, within a budget that an authority keeps",
    server: &[
        "the trained network, and what it tells of the data",
        "products of the first layer with every sample: at most 1 equation for 10 values, ever",
        "the first layer's gradient of every batch: at most 1 equation for 4 samples and feature, ever",
        "labels: randomised by the client unless it was agreed that they are open",
    ],
    hidden: &[
        "the samples, as far as so few equations leave them open: rare or sparse features may be guessed",
        "more than the budget: keys open one batch of one client, and requests beyond it are refused",
        "combinations of few values, as far as the authority's search finds them: no proof",
    ],
    authority: &[
        "what is asked: weights and deltas of the first layer; not the ciphertexts",
        "with the server together: all",
    ],
    clients: &["nothing of each other"],
};

const AGGREGATE: Statement = Statement {
    mode: Mode::Aggregate,
    purpose: "several clients train or count together, and only sums over at least three of them are opened",
    server: &[
        "in every round the sum of the updates, or counts, of those who took part, and who they were",
        "what the sums tell of the data, bounded by differential privacy unless it was agreed to do without",
    ],
    hidden: &[
        "every single client's update or counts: each is under a pad of its own and enters one sum, once",
        "a sum over fewer than three is not opened: it waits for a round with more",
        "two clients who collude with the server in a sum of three know the third",
        "a server that hands clients of one round different networks gets no key for what they return",
    ],
    authority: &["who contributes to which sum; not the ciphertexts", "with the server together: all"],
    clients: &["the network of every round"],
};

const CRYPTONN: Statement = Statement {
    mode: Mode::Cryptonn,
    purpose: "the published protocol, to be reproduced: NOT FOR DATA THAT MUST STAY SECRET",
    server: &[
        "every image, exactly, from one pass through a convolution",
        "every sample of a dense layer, from as many products as it has values, or fewer by linear programming",
        "the master key, and so everything, from as many independent keys as a vector has values (LeNet-5: 25)",
        "every label: the error P - Y is opened and P is known",
    ],
    hidden: &["nothing for long"],
    authority: &["what is asked: weights, deltas and predictions", "with the server together: all"],
    clients: &["nothing of each other"],
};

const DELEGATE: Statement = Statement {
    mode: Mode::Delegate,
    purpose: "a server multiplies the client's matrix with public weights; only the client opens the products",
    server: &["the weights, and the number of samples; labels are not sent"],
    hidden: &["samples and products: it sees one-time pads, without any assumption but the pseudorandom function"],
    authority: &["the weights; not the ciphertexts", "with the server together: all"],
    clients: &["its own products"],
};

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "mode {}: {}", self.mode, self.purpose)?;
        for (heading, lines) in [
            ("server learns", self.server),
            ("and does not", self.hidden),
            ("authority", self.authority),
            ("clients", self.clients),
        ] {
            for (number, line) in lines.iter().enumerate() {
                writeln!(f, "  {:<14} {line}", if number == 0 { heading } else { "" })?;
            }
        }
        write!(
            f,
            "  {:<14} If the server must see nothing at all, train the last layer under CKKS instead (HETAL, ICML 2023).",
            ""
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_fits_one_screen_and_names_its_mode() {
        for mode in Mode::ALL {
            let text = mode.statement().to_string();
            assert!(text.lines().count() <= 24 && text.lines().all(|line| line.len() <= 120), "{text}");
            assert!(text.starts_with(&format!("mode {mode}:")));
            let json = serde_json::to_string(&mode).unwrap();
            assert_eq!(json, format!("\"{}\"", mode.name()));
        }
        assert_eq!((Mode::default_for(1), Mode::default_for(3)), (Mode::Guarded, Mode::Aggregate));
    }
}
