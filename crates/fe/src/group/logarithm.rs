//! Bounded discrete logarithms, many at once.

use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT;
use curve25519_dalek::{RistrettoPoint, Scalar};
use nightloom_ring::parallel;

/// Most logarithms in a table, which then takes 80 MiB: 32 bytes for each, and 16 MiB of places.
pub const MAX_TABLE: usize = (1 << INDEX_BITS) - 1;
/// A place holds the number of a logarithm, plus one, and above it bits of the encoding that spare most comparisons.
const INDEX_BITS: u32 = 21;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
/// Points that are encoded together: the inversion is shared, and the work fits a second-level cache.
const BATCH: usize = 256;

/// Logarithms to the base of the generator `G` within `+-bound`.
///
/// A table maps encodings to logarithms of at most `half` in absolute value; beyond, baby steps and giant steps: a
/// point is moved by multiples of `2 half + 1` until it meets the table. An entry counts only if all 32 bytes of the
/// encoding are equal, and an encoding names one point (RFC 9496), so what is found is right. Encodings are those of
/// `2 k G`, for the encodings of doubles share their inversions. Variable time: opened values are public to whoever
/// opens them. A point that has no logarithm within the bound costs all `bound / (half + 1/2)` giant steps, two
/// microseconds each.
pub struct DiscreteLogs {
    bound: u64,
    half: i64,
    /// Of `2 (i - half) G`.
    encodings: Vec<[u8; 32]>,
    /// A hash table with linear probing, at most half full.
    places: Vec<u32>,
    /// `(2 half + 1) G`.
    giant: RistrettoPoint,
}

/// The point with this index has no logarithm within the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotWithinBound(pub usize);

impl DiscreteLogs {
    /// Logarithms within `+-bound`, with a table as large as it can be of use, at most [`MAX_TABLE`]. It takes about a
    /// microsecond an entry to make, on the threads of the pool of the caller.
    pub fn new(bound: u64) -> Self {
        Self::with_table(bound, MAX_TABLE)
    }

    /// As [`new`](Self::new), with a table of at most `entries` (and at most [`MAX_TABLE`], and at least one)
    /// logarithms.
    pub fn with_table(bound: u64, entries: usize) -> Self {
        let half = bound.min((entries.min(MAX_TABLE).saturating_sub(1) / 2) as u64) as i64;
        let mut encodings = vec![[0; 32]; 2 * half as usize + 1];
        parallel::for_each(encodings.chunks_mut(BATCH), |chunk, encodings| {
            let mut point = multiple((chunk * BATCH) as i64 - half);
            let next = |point: &mut RistrettoPoint| std::mem::replace(point, *point + RISTRETTO_BASEPOINT_POINT);
            let points: Vec<RistrettoPoint> = encodings.iter().map(|_| next(&mut point)).collect();
            for (encoding, found) in encodings.iter_mut().zip(RistrettoPoint::double_and_compress_batch(&points)) {
                *encoding = found.to_bytes();
            }
        });
        let mut places = vec![0u32; (2 * encodings.len()).next_power_of_two()];
        for (index, encoding) in encodings.iter().enumerate() {
            let (mut place, tag) = place_and_tag(encoding, places.len());
            while places[place] != 0 {
                place = (place + 1) & (places.len() - 1);
            }
            places[place] = tag | (index as u32 + 1);
        }
        Self { bound, half, encodings, places, giant: multiple(2 * half + 1) }
    }

    /// Largest absolute value of a logarithm.
    pub fn bound(&self) -> u64 {
        self.bound
    }

    /// Bytes of the table.
    pub fn table_bytes(&self) -> usize {
        size_of_val(&*self.encodings) + size_of_val(&*self.places)
    }

    /// The logarithm of every point.
    ///
    /// # Errors
    /// [`NotWithinBound`] with the index of a point that has none within the bound.
    pub fn solve(&self, points: &[RistrettoPoint]) -> Result<Vec<i64>, NotWithinBound> {
        let mut logarithms = vec![0; points.len()];
        let mut missing = Vec::new();
        for (chunk, points) in points.chunks(BATCH).enumerate() {
            let encodings = RistrettoPoint::double_and_compress_batch(points);
            for (index, encoding) in (chunk * BATCH..).zip(encodings) {
                match self.look_up(encoding.as_bytes()) {
                    Some(logarithm) => logarithms[index] = logarithm,
                    None => missing.push(index),
                }
            }
        }
        self.giant_steps(points, missing, &mut logarithms)?;
        // The table ends at the bound, but the last giant step may reach beyond.
        match logarithms.iter().position(|logarithm| logarithm.unsigned_abs() > self.bound) {
            Some(index) => Err(NotWithinBound(index)),
            None => Ok(logarithms),
        }
    }

    /// Finds the logarithms of the points that the table misses, from small ones to large.
    fn giant_steps(
        &self,
        points: &[RistrettoPoint],
        mut missing: Vec<usize>,
        logarithms: &mut [i64],
    ) -> Result<(), NotWithinBound> {
        let stride = 2 * self.half + 1;
        let steps = (self.bound as i64 - self.half + stride - 1) / stride;
        // Both ways from every missing point.
        let mut moved: Vec<[RistrettoPoint; 2]> = missing.iter().map(|&index| [points[index]; 2]).collect();
        for step in 1..=steps {
            if missing.is_empty() {
                break;
            }
            for [down, up] in &mut moved {
                *down -= self.giant;
                *up += self.giant;
            }
            let mut found = Vec::with_capacity(missing.len());
            for moved in moved.chunks(BATCH / 2) {
                let encodings = RistrettoPoint::double_and_compress_batch(moved.iter().flatten());
                found.extend(encodings.as_chunks::<2>().0.iter().map(|[down, up]| {
                    let down = self.look_up(down.as_bytes()).map(|logarithm| logarithm + step * stride);
                    down.or_else(|| self.look_up(up.as_bytes()).map(|logarithm| logarithm - step * stride))
                }));
            }
            for (index, found) in missing.iter().zip(&found) {
                logarithms[*index] = found.unwrap_or(0);
            }
            let mut still = found.iter().map(Option::is_none);
            missing.retain(|_| still.next() == Some(true));
            let mut still = found.iter().map(Option::is_none);
            moved.retain(|_| still.next() == Some(true));
        }
        missing.first().map_or(Ok(()), |&index| Err(NotWithinBound(index)))
    }

    fn look_up(&self, encoding: &[u8; 32]) -> Option<i64> {
        let (mut place, tag) = place_and_tag(encoding, self.places.len());
        loop {
            let found = self.places[place];
            if found == 0 {
                return None;
            }
            if found & !INDEX_MASK == tag {
                let index = (found & INDEX_MASK) as usize - 1;
                if self.encodings[index] == *encoding {
                    return Some(index as i64 - self.half);
                }
            }
            place = (place + 1) & (self.places.len() - 1);
        }
    }
}

impl std::fmt::Debug for DiscreteLogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (bound, table) = (self.bound, self.encodings.len());
        f.debug_struct("DiscreteLogs").field("bound", &bound).field("table", &table).finish()
    }
}

/// Where the search for an encoding begins among `places` (a power of two), and the bits above the index. An encoding's
/// bytes are as good as a hash.
fn place_and_tag(encoding: &[u8; 32], places: usize) -> (usize, u32) {
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| encoding[at + i]));
    (word(0) as usize & (places - 1), word(4) & !INDEX_MASK)
}

fn multiple(k: i64) -> RistrettoPoint {
    let magnitude = RistrettoPoint::mul_base(&Scalar::from(k.unsigned_abs()));
    if k < 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every logarithm within the bound, and its neighbours outside, with tables of all sizes.
    #[test]
    fn logarithms_within_the_bound_are_found_and_no_others() {
        for (bound, table) in [(0, 1), (1, 3), (40, 1), (40, 2), (40, 7), (41, 7), (42, 7), (300, 100), (300, 10_000)] {
            let logs = DiscreteLogs::with_table(bound, table);
            let all: Vec<i64> = (-(bound as i64)..=bound as i64).collect();
            let points: Vec<RistrettoPoint> = all.iter().map(|&k| multiple(k)).collect();
            assert_eq!(logs.solve(&points), Ok(all), "{logs:?}");
            for beyond in [bound as i64 + 1, -(bound as i64) - 1, bound as i64 + 7, 1 << 40] {
                let points = [points[0], multiple(beyond), points[0]];
                assert_eq!(logs.solve(&points), Err(NotWithinBound(1)), "{beyond} {logs:?}");
            }
            assert_eq!(logs.bound(), bound);
        }
    }

    #[test]
    fn large_ranges_take_giant_steps() {
        let bound = 1 << 24;
        let logs = DiscreteLogs::with_table(bound, 1 << 17);
        let mut values: Vec<i64> = (0..200).map(|i| (i * i * i * 7919) % (2 << 24) - (1 << 24)).collect();
        values.extend([0, 1 << 24, -(1 << 24)]);
        let points: Vec<RistrettoPoint> = values.iter().map(|&k| multiple(k)).collect();
        assert_eq!(logs.solve(&points), Ok(values));
        assert!(logs.solve(&[multiple(bound as i64 + 1)]).is_err());
        assert!(logs.solve(&[multiple(5) + RISTRETTO_BASEPOINT_POINT * Scalar::from(7u8).invert()]).is_err());
    }

    #[test]
    fn threads_make_the_same_table() {
        let alone = DiscreteLogs::with_table(5000, 5000);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let together = pool.install(|| DiscreteLogs::with_table(5000, 5000));
        assert!(alone.encodings == together.encodings && alone.places == together.places);
        assert!(alone.table_bytes() >= 36 * 4999);
    }

    /// Two encodings that agree in the bytes that the search looks at first, and in nothing else, are told apart.
    #[test]
    fn the_whole_encoding_decides() {
        let logs = DiscreteLogs::with_table(10, 21);
        let mut encoding = logs.encodings[3];
        assert_eq!(logs.look_up(&encoding), Some(3 - 10));
        encoding[31] ^= 1;
        assert_eq!(logs.look_up(&encoding), None);
    }
}
