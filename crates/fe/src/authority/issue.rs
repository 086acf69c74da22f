//! Keys, derived anew for every request that is answered.

use nightloom_wire::Writer;
use zeroize::Zeroizing;

use super::{Authority, Outcome, Query, noise};
use crate::agreement::Place;
use crate::cipher::CipherError;
use crate::protocol::{BatchKeys, ContributionId, Reply, Role};
use crate::{Label, aggregate, wire};

impl Authority {
    pub(super) fn reply(&self, outcome: Outcome) -> Result<Reply, String> {
        let text = |error: CipherError| error.to_string();
        Ok(match outcome {
            Outcome::Ready(reply) => reply,
            Outcome::EncryptionKeys { client, dataset, first, count } => {
                let targets = self.target_key()?;
                let keys = |batch| {
                    let parts = self.part_keys(Place { client: &client, dataset, batch })?;
                    Ok(BatchKeys { parts, targets: targets.clone() })
                };
                Reply::EncryptionKeys((first..first + count).map(keys).collect::<Result<_, String>>()?)
            }
            Outcome::FunctionKeys(query) => {
                let Query { client, dataset, batch, direction, functionals, vectors, noise } = *query;
                let sealed = self.agreement().sealed().map_err(|error| error.to_string())?;
                let part = sealed.layout.part(direction).ok_or("no such part")?;
                let label = self.agreement().label(part, Place { client: &client, dataset, batch });
                let noise = noise.map(|(digest, deviation)| {
                    noise::draw(&self.seed, &label, &digest, deviation, functionals.len() * vectors)
                });
                let cipher = sealed.cipher(part);
                let keys = cipher.function_keys(&self.seed, &label, &functionals, vectors, noise.as_deref());
                Reply::FunctionKeys(keys.map_err(text)?)
            }
            Outcome::OperandKeys(request) => {
                let sealed = self.agreement().sealed().map_err(|error| error.to_string())?;
                let febo = sealed.febo.as_ref().ok_or("no targets under FEBO")?;
                let master = febo.master_key(&self.seed, &self.agreement().target_label());
                let keys = febo.function_keys(&master, &request).map_err(|error| error.to_string())?;
                let mut bytes = Vec::new();
                let written = wire::write(&mut Writer::new(&mut bytes), &keys, febo);
                written.map_err(|error| error.to_string())?;
                Reply::OperandKeys(bytes)
            }
            Outcome::SumKeys { contributions, deviation } => Reply::SumKeys(self.sum_keys(&contributions, deviation)?),
        })
    }

    /// What each part of a batch is encrypted with.
    fn part_keys(&self, place: Place<'_>) -> Result<Vec<Zeroizing<Vec<u8>>>, String> {
        let sealed = self.agreement().sealed().map_err(|error| error.to_string())?;
        let key = |&part| sealed.cipher(part).encryption_key(&self.seed, &self.agreement().label(part, place));
        Ok(sealed.layout.parts().iter().map(key).collect())
    }

    /// What targets are encrypted with: one key for all of them, as in CryptoNN; empty unless they are sealed.
    fn target_key(&self) -> Result<Vec<u8>, String> {
        let sealed = self.agreement().sealed().map_err(|error| error.to_string())?;
        let Some(febo) = &sealed.febo else { return Ok(Vec::new()) };
        let master = febo.master_key(&self.seed, &self.agreement().target_label());
        let mut bytes = Vec::new();
        let written = wire::write(&mut Writer::new(&mut bytes), &febo.public_key(&master), febo);
        written.map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    /// The sum of the pads of the contributions, less the noise: what is taken off their sum.
    fn sum_keys(&self, contributions: &[ContributionId], deviation: f64) -> Result<Vec<u64>, String> {
        let length = aggregate::length(self.agreement()).map_err(|error| error.to_string())?;
        let mut sums = vec![0u64; length];
        for contribution in contributions {
            let key = self.key(Role::Client, &contribution.client);
            aggregate::add_pad(&key, contribution, &mut sums);
        }
        if deviation > 0.0 {
            let digest = aggregate::digest(contributions);
            let label = Label::new("sum").map_err(|error| error.to_string())?;
            let noise = noise::draw(&self.seed, &label, &digest, deviation, length);
            sums.iter_mut().zip(noise).for_each(|(sum, noise)| *sum = sum.wrapping_sub(noise as u64));
        }
        Ok(sums)
    }
}
