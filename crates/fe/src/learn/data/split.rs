//! Other orders and parts of the samples.

use super::{DataError, Dataset};
use crate::learn::random::{Purpose, Seed};

impl Dataset {
    /// The samples in random order.
    pub fn shuffled(&self, seed: &Seed) -> Self {
        let mut indices: Vec<usize> = (0..self.len()).collect();
        seed.stream(Purpose::Shuffle, 0, 0).shuffle(&mut indices);
        self.select(&indices)
    }

    /// The first `count` samples, and the others.
    ///
    /// # Errors
    /// [`DataError::Setting`] unless both parts have a sample.
    pub fn split_at(&self, count: usize) -> Result<(Self, Self), DataError> {
        if count == 0 || count >= self.len() {
            let wanted = "at least one, and fewer than all";
            return Err(DataError::Setting { what: "samples of the first part", found: count as f64, wanted });
        }
        let indices: Vec<usize> = (0..self.len()).collect();
        Ok((self.select(&indices[..count]), self.select(&indices[count..])))
    }

    /// The samples among clients who have whole samples each (horizontally), as evenly as can be, in order.
    ///
    /// # Errors
    /// [`DataError::TooManyClients`] if a client would have none, [`DataError::Setting`] without clients.
    pub fn among(&self, clients: usize) -> Result<Vec<Self>, DataError> {
        if clients == 0 {
            return Err(DataError::Setting { what: "clients", found: 0.0, wanted: "at least one" });
        }
        if clients > self.len() {
            return Err(DataError::TooManyClients { samples: self.len(), clients });
        }
        let indices: Vec<usize> = (0..self.len()).collect();
        let bounds: Vec<usize> = (0..=clients).map(|client| self.len() * client / clients).collect();
        Ok(bounds.windows(2).map(|part| self.select(&indices[part[0]..part[1]])).collect())
    }

    fn select(&self, indices: &[usize]) -> Self {
        Self { inputs: self.inputs.select(indices), targets: self.targets.select(indices) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::{Inputs, Shape, Targets};

    fn numbered(count: usize) -> Dataset {
        let pixels: Vec<u8> = (0..2 * count).map(|i| (i / 2) as u8).collect();
        let labels: Vec<usize> = (0..count).map(|i| i % 3).collect();
        let inputs = Inputs::from_pixels(Shape::vector(2), &pixels).unwrap();
        Dataset::new(inputs, Targets::classes(3, &labels).unwrap()).unwrap()
    }

    #[test]
    fn parts_keep_every_sample_with_its_target_once() {
        let data = numbered(10);
        let parts = data.shuffled(&Seed::new([1; 32])).among(3).unwrap();
        assert_eq!(parts.iter().map(Dataset::len).collect::<Vec<_>>(), [3, 3, 4]);
        let mut seen = Vec::new();
        for part in &parts {
            for index in 0..part.len() {
                let value = part.inputs().sample(index)[0];
                assert_eq!(part.targets().rows(&[index])[(0, (value % 3) as usize)], 1.0);
                seen.push(value);
            }
        }
        assert_ne!(seen, (0..10).collect::<Vec<i16>>());
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<i16>>());
        let (first, rest) = data.split_at(4).unwrap();
        assert_eq!((first.len(), rest.inputs().sample(0)), (4, [4, 4].as_slice()));
        assert!(data.split_at(10).is_err() && data.split_at(0).is_err());
        assert_eq!(data.among(11), Err(DataError::TooManyClients { samples: 10, clients: 11 }));
        assert!(data.among(0).is_err());
    }

    #[test]
    fn norms_are_cut_and_never_exceed_the_bound() {
        let pixels = [255, 255, 0, 3, 200, 1];
        let inputs = Inputs::from_pixels(Shape::vector(2), &pixels).unwrap();
        assert!((inputs.norm_bound() - 2f64.sqrt()).abs() < 1e-12);
        let inputs = inputs.with_norm_bound(0.5).unwrap();
        for index in 0..3 {
            let norm: f64 = inputs.real(&[index]).iter().map(|x| x * x).sum::<f64>().sqrt();
            assert!(norm <= 0.5, "{norm}");
        }
        assert_eq!((inputs.sample(0), inputs.sample(1)), ([90, 90].as_slice(), [0, 3].as_slice()));
        assert_eq!(inputs.norm_bound(), 0.5);
        assert!(inputs.with_norm_bound(f64::NAN).is_err());
    }

    #[test]
    fn mismatches_are_refused() {
        let inputs = Inputs::from_pixels(Shape::vector(2), &[0; 4]).unwrap();
        let targets = Targets::classes(2, &[0]).unwrap();
        assert_eq!(Dataset::new(inputs, targets), Err(DataError::Counts { samples: 2, targets: 1 }));
        assert_eq!(Targets::classes(2, &[0, 2]), Err(DataError::Label { index: 1, found: 2, classes: 2 }));
        assert!(matches!(Targets::numbers(2, vec![0.0; 3]), Err(DataError::PartialSample { .. })));
        assert!(matches!(Targets::numbers(1, vec![f64::NAN]), Err(DataError::NotFinite { .. })));
        assert_eq!(Inputs::from_pixels(Shape::vector(2), &[]), Err(DataError::Empty));
        assert!(matches!(Inputs::from_pixels(Shape::vector(2), &[1]), Err(DataError::PartialSample { .. })));
    }
}
