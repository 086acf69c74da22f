/// What each slot of one period of some ciphertexts holds. The *position* of a slot counts the periods of the ciphertexts
/// one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    ciphertexts: usize,
    slots: Vec<Option<u32>>,
}

impl Layout {
    /// A layout of this many ciphertexts with this content, by position; a slot without a feature holds zero.
    ///
    /// # Panics
    /// If the slots of a ciphertext are not a power of two.
    pub fn new(ciphertexts: usize, slots: Vec<Option<u32>>) -> Self {
        let period = slots.len() / ciphertexts.max(1);
        assert!(period.is_power_of_two() && period * ciphertexts == slots.len(), "{ciphertexts} periods of {period}");
        Self { ciphertexts, slots }
    }

    /// Feature `i` at position `i`: in as many ciphertexts of at most `most` slots, a power of two, as are needed. The
    /// period of a single one is at least `least`.
    pub fn natural(features: usize, least: usize, most: usize) -> Self {
        let period = features.max(least).next_power_of_two().min(most);
        let ciphertexts = features.div_ceil(period).max(1);
        let slot = |slot: usize| (slot < features).then_some(slot as u32);
        Self::new(ciphertexts, (0..ciphertexts * period).map(slot).collect())
    }

    /// Number of ciphertexts.
    pub fn ciphertexts(&self) -> usize {
        self.ciphertexts
    }

    /// The period.
    pub fn width(&self) -> usize {
        self.slots.len() / self.ciphertexts
    }

    /// The feature at each position.
    pub fn slots(&self) -> &[Option<u32>] {
        &self.slots
    }

    /// One period of each ciphertext.
    pub fn periods(&self) -> impl Iterator<Item = &[Option<u32>]> {
        self.slots.chunks_exact(self.width())
    }

    /// The same periodic vectors with a longer period.
    ///
    /// # Panics
    /// If `width` is no multiple of the period.
    pub fn tiled(&self, width: usize) -> Self {
        assert!(width.is_multiple_of(self.width()), "{width} slots of period {}", self.width());
        let tiled = |period: &[Option<u32>]| period.repeat(width / period.len());
        Self { ciphertexts: self.ciphertexts, slots: self.periods().flat_map(tiled).collect() }
    }

    /// The features in their slots, by position.
    pub fn pack(&self, features: &[f64]) -> Vec<f64> {
        self.slots.iter().map(|slot| slot.map_or(0.0, |feature| features[feature as usize])).collect()
    }

    /// The first position of each of `features` features; `None` if one has none.
    pub fn first_positions(&self, features: usize) -> Option<Vec<usize>> {
        let mut first = vec![None; features];
        for (position, feature) in self.slots.iter().enumerate().rev() {
            if let Some(feature) = feature {
                first[*feature as usize] = Some(position);
            }
        }
        first.into_iter().collect()
    }

    /// The layout of a batch: slot `s` of sample `b` becomes slot `batch s + b`, and its features follow those of the
    /// samples before it.
    pub fn interleaved(&self, batch: usize, features: usize) -> Self {
        let slot = |at: usize| self.slots[at / batch].map(|feature| feature + (at % batch * features) as u32);
        Self { ciphertexts: self.ciphertexts, slots: (0..self.slots.len() * batch).map(slot).collect() }
    }

    /// Another layout with the features renamed.
    pub fn renamed(&self, name: impl Fn(u32) -> Option<u32>) -> Self {
        let slots = self.slots.iter().map(|slot| slot.and_then(&name)).collect();
        Self { ciphertexts: self.ciphertexts, slots }
    }
}
