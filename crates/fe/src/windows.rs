use crate::{FeError, Functionals};

/// The windows of a convolution over images of `[channels, height, width]`, with zeros around them.
///
/// There are two ways to open a convolutional layer. [`samples`](Self::samples) makes every window a vector of its own,
/// to be encrypted as such: few keys, one for each filter, and many vectors. [`functionals`](Self::functionals) leaves
/// the image one vector, whose windows are sparse functionals: one ciphertext of the image, and a key for every filter
/// and window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Channels of an image.
    pub channels: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Rows and columns of a window.
    pub kernel: usize,
    /// Distance between windows.
    pub stride: usize,
    /// Zeros on every side of an image.
    pub padding: usize,
}

impl Windows {
    /// Rows and columns of the output, both zero if the window does not fit.
    pub fn output(&self) -> [usize; 2] {
        let count = |length: usize| match (length + 2 * self.padding).checked_sub(self.kernel) {
            Some(room) if self.kernel > 0 && self.stride > 0 => room / self.stride + 1,
            _ => 0,
        };
        [count(self.height), count(self.width)]
    }

    /// Number of windows of an image.
    pub fn count(&self) -> usize {
        let [rows, columns] = self.output();
        rows * columns
    }

    /// Values of a window: channels first, then rows.
    pub fn dimension(&self) -> usize {
        self.channels * self.kernel * self.kernel
    }

    /// Values of an image.
    pub fn image(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// The coordinates in the image of the values of a window, `None` for zeros around it.
    pub(crate) fn coordinates(&self, window: usize) -> impl Iterator<Item = Option<usize>> + '_ {
        let columns = self.output()[1];
        let (top, left) = (window / columns * self.stride, window % columns * self.stride);
        let inside = |at: usize, length| at.checked_sub(self.padding).filter(|at| *at < length);
        (0..self.dimension()).map(move |position| {
            let (channel, within) = (position / (self.kernel * self.kernel), position % (self.kernel * self.kernel));
            let row = inside(top + within / self.kernel, self.height)?;
            let column = inside(left + within % self.kernel, self.width)?;
            Some((channel * self.height + row) * self.width + column)
        })
    }

    /// The windows of one image as vectors, one after another in reading order.
    ///
    /// # Errors
    /// [`FeError::Length`] unless the image has [`image`](Self::image) values.
    pub fn samples(&self, image: &[i32]) -> Result<Vec<i32>, FeError> {
        if image.len() != self.image() {
            return Err(FeError::Length { what: "image", found: image.len(), wanted: self.image() });
        }
        let window = |window| self.coordinates(window).map(|at| at.map_or(0, |at| image[at]));
        Ok((0..self.count()).flat_map(window).collect())
    }

    /// The functionals of an image that apply every filter to every window: filter by filter, windows in reading order.
    /// A filter has [`dimension`](Self::dimension) weights.
    ///
    /// # Errors
    /// [`FeError::Length`] if the last filter is not whole.
    pub fn functionals(&self, filters: &[i32]) -> Result<Functionals, FeError> {
        if self.dimension() == 0 || !filters.len().is_multiple_of(self.dimension()) {
            return Err(FeError::Length { what: "filters", found: filters.len(), wanted: self.dimension() });
        }
        let row = |filter: &[i32], window| {
            let terms = self.coordinates(window).zip(filter.iter().copied());
            terms.filter_map(|(at, weight)| Some((at? as u32, weight))).collect::<Vec<_>>()
        };
        let rows =
            filters.chunks_exact(self.dimension()).flat_map(|filter| (0..self.count()).map(move |w| row(filter, w)));
        Functionals::sparse(self.image(), rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_as_vectors_and_as_functionals_agree() {
        for (channels, padding, stride) in [(1, 2, 1), (3, 0, 2), (2, 1, 3)] {
            let windows = Windows { channels, height: 6, width: 7, kernel: 3, stride, padding };
            let image: Vec<i32> = (1..=windows.image() as i32).collect();
            let filters: Vec<i32> = (0..2 * windows.dimension() as i32).map(|i| i * i % 11 - 5).collect();
            let dense = Functionals::dense(windows.dimension(), &filters).unwrap();
            let by_vectors = dense.evaluate(&windows.samples(&image).unwrap());
            assert_eq!(by_vectors, windows.functionals(&filters).unwrap().evaluate(&image));
            assert_eq!(by_vectors.len(), 2 * windows.count());
        }
    }

    /// By the definition of the convolution.
    #[test]
    fn values_are_those_of_a_convolution() {
        let windows = Windows { channels: 1, height: 4, width: 5, kernel: 3, stride: 1, padding: 1 };
        let image: Vec<i32> = (0..20).map(|i| i * 3 % 7).collect();
        let filter: Vec<i32> = (-4..5).collect();
        let at = |row: i32, column: i32| {
            if (0..4).contains(&row) && (0..5).contains(&column) { image[(row * 5 + column) as usize] } else { 0 }
        };
        let mut expected = Vec::new();
        for row in 0..4 {
            for column in 0..5 {
                let terms = (0..9).map(|i| at(row + i / 3 - 1, column + i % 3 - 1) * filter[i as usize]);
                expected.push(i64::from(terms.sum::<i32>()));
            }
        }
        assert_eq!(windows.functionals(&filter).unwrap().evaluate(&image), expected);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let windows = Windows { channels: 1, height: 2, width: 2, kernel: 3, stride: 1, padding: 0 };
        assert_eq!((windows.count(), windows.output()), (0, [0, 0]));
        assert!(windows.samples(&[0; 3]).is_err() && windows.functionals(&[0; 8]).is_err());
        assert!(Windows { stride: 0, padding: 1, ..windows }.samples(&[0; 4]).unwrap().is_empty());
    }
}
