use std::collections::BTreeSet;

use nightloom_program::Giants;

use super::Place;

/// How rotations are made from few keys: every one is a baby step, shared by all diagonals of a ciphertext, then a giant
/// step (baby-step giant-step).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Rotations are baby steps below this, and giant steps by multiples of it.
    pub base: usize,
    /// How giant steps are made.
    pub kind: Giants,
    /// Rotations by baby steps other than zero, of all ciphertexts of the operand.
    pub babies: usize,
    /// Rotations by giant steps, for all ciphertexts of the result.
    pub giants: usize,
    /// Distinct rotations, which have a key each.
    pub keys: usize,
}

impl Steps {
    /// All ways for diagonals at these places, with a period of `width` slots.
    pub fn options<'a>(places: impl Iterator<Item = &'a Place> + Clone, width: usize) -> Vec<Self> {
        let bases = std::iter::successors(Some(1), |base| Some(2 * base)).take_while(|base| *base <= width);
        let with_base = |base: usize| {
            let turned = |places: BTreeSet<(usize, usize)>| -> Vec<(usize, usize)> {
                places.into_iter().filter(|(_, step)| *step != 0).collect()
            };
            let babies = turned(places.clone().map(|place| (place.column, place.rotation % base)).collect());
            let giants = turned(places.clone().map(|place| (place.row, place.rotation / base)).collect());
            let keys = |steps: &[(usize, usize)]| steps.iter().map(|(_, step)| *step).collect::<BTreeSet<_>>().len();
            // The steps of a row rise.
            let chained = giants.chunk_by(|a, b| a.0 == b.0).filter_map(|row| row.last()).map(|(_, last)| last).sum();
            let chain_keys = keys(&babies) + usize::from(!giants.is_empty());
            [
                Self { base, kind: Giants::Chained, babies: babies.len(), giants: chained, keys: chain_keys },
                Self {
                    base,
                    kind: Giants::Separate,
                    babies: babies.len(),
                    giants: giants.len(),
                    keys: keys(&babies) + keys(&giants),
                },
            ]
        };
        bases.flat_map(with_base).collect()
    }

    /// All ways to rotate whole ciphertexts, each by every rotation that one of them needs: a giant step is decomposed again
    /// for its baby steps.
    pub fn whole_options<'a>(places: impl Iterator<Item = &'a Place> + Clone, width: usize) -> Vec<Self> {
        let rotations: BTreeSet<usize> = places.clone().map(|place| place.rotation).collect();
        let columns = places.map(|place| place.column + 1).max().unwrap_or(1);
        let bases = std::iter::successors(Some(1), |base| Some(2 * base)).take_while(|base| *base <= width);
        let with_base = |base: usize| {
            let parts = |part: fn(usize, usize) -> usize| -> BTreeSet<usize> {
                rotations.iter().map(|rotation| part(*rotation, base)).filter(|step| *step != 0).collect()
            };
            let (babies, giants) = (parts(|rotation, base| rotation % base), parts(|rotation, base| rotation / base));
            let turned = rotations.iter().filter(|rotation| *rotation % base != 0).count();
            Self {
                base,
                kind: Giants::Separate,
                babies: columns * turned,
                giants: columns * giants.len(),
                keys: babies.len() + giants.len(),
            }
        };
        bases.map(with_base).collect()
    }

    /// The cheapest of some, with the costs of one rotation of each kind; of several as cheap the one with the fewest keys.
    pub fn cheapest(options: &[Self], baby: f64, giant: f64) -> Option<&Self> {
        let cost = |steps: &Self| steps.babies as f64 * baby + steps.giants as f64 * giant;
        options.iter().min_by(|a, b| cost(a).total_cmp(&cost(b)).then(a.keys.cmp(&b.keys)))
    }
}
