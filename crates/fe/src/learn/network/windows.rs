use super::Shape;

/// Most values of all windows of an image together.
const MAX_WINDOW_VALUES: usize = 1 << 26;

/// Square windows over an image with a border of zeros, in reading order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    input: Shape,
    side: usize,
    stride: usize,
    padding: usize,
    rows: usize,
    columns: usize,
}

impl Windows {
    /// Windows of `side x side` pixels at every `stride`-th place; `None` if `side` or `stride` is zero, no window fits, a
    /// window could lie in the border alone, or all windows together have more than `2^26` values.
    pub fn new(input: Shape, side: usize, stride: usize, padding: usize) -> Option<Self> {
        let places = |length: usize| {
            let fits = side >= 1 && stride >= 1 && padding < side;
            let room = length.checked_add(padding.checked_mul(2)?)?.checked_sub(side)?;
            fits.then(|| room / stride + 1)
        };
        let (rows, columns) = (places(input.height)?, places(input.width)?);
        let lengths = [input.channels, side, side, rows, columns];
        let values = lengths.into_iter().try_fold(1usize, usize::checked_mul)?;
        (values <= MAX_WINDOW_VALUES).then_some(Self { input, side, stride, padding, rows, columns })
    }

    /// The shape of the image.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Side of a window in pixels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Pixels between neighbouring windows.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Width of the border of zeros in pixels.
    pub fn padding(&self) -> usize {
        self.padding
    }

    /// Rows of windows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of windows.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The number of windows.
    pub fn count(&self) -> usize {
        self.rows * self.columns
    }

    /// Values of a window over all channels.
    pub fn width(&self) -> usize {
        self.input.channels * self.side * self.side
    }

    /// Writes the windows of `image` into `out`, a row-major matrix of [`width`](Self::width) rows (channel, row and column
    /// within the window) and [`count`](Self::count) columns.
    pub(crate) fn gather<T: Copy, U: From<T> + Default + Copy>(&self, image: &[T], out: &mut [U]) {
        debug_assert_eq!((image.len(), out.len()), (self.input.len(), self.width() * self.count()));
        self.each_line(|place, line| {
            let out = &mut out[place..place + self.columns];
            let Some(Line { first, columns }) = line else { return out.fill(U::default()) };
            out[..columns.start].fill(U::default());
            out[columns.end..].fill(U::default());
            let pixels = image[first..].iter().step_by(self.stride);
            for (out, pixel) in out[columns].iter_mut().zip(pixels) {
                *out = U::from(*pixel);
            }
        });
    }

    /// Adds every value of `windows` (as [`gather`](Self::gather) writes them) to the pixel it would come from.
    pub(crate) fn scatter_add(&self, windows: &[f64], image: &mut [f64]) {
        debug_assert_eq!((image.len(), windows.len()), (self.input.len(), self.width() * self.count()));
        self.each_line(|place, line| {
            let Some(Line { first, columns }) = line else { return };
            let values = &windows[place..place + self.columns][columns];
            for (pixel, value) in image[first..].iter_mut().step_by(self.stride).zip(values) {
                *pixel += value;
            }
        });
    }

    /// Calls `visit` for each offset within a window and each row of windows, with the place of the line in the matrix of
    /// [`gather`](Self::gather) and, unless the whole line lies in the border, the pixels that it reads.
    fn each_line(&self, mut visit: impl FnMut(usize, Option<Line>)) {
        let Shape { channels, height, width } = self.input;
        let mut place = 0;
        for channel in 0..channels {
            for dy in 0..self.side {
                for dx in 0..self.side {
                    // The columns whose pixel `column * stride + dx - padding` is in the image.
                    let start = self.padding.saturating_sub(dx).div_ceil(self.stride).min(self.columns);
                    let end = (width + self.padding).saturating_sub(dx).div_ceil(self.stride).min(self.columns);
                    for row in 0..self.rows {
                        let y = (row * self.stride + dy).checked_sub(self.padding).filter(|y| *y < height);
                        let line = y.filter(|_| start < end).map(|y| {
                            let x = start * self.stride + dx - self.padding;
                            Line { first: (channel * height + y) * width + x, columns: start..end }
                        });
                        visit(place, line);
                        place += self.columns;
                    }
                }
            }
        }
    }
}

/// The part of a row of windows that lies in the image: its first pixel, and the columns.
struct Line {
    first: usize,
    columns: std::ops::Range<usize>,
}

/// What the first layer multiplies of one sample: the sample as one vector, or its windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vectors {
    /// One vector of all values.
    Whole {
        /// Values of a sample.
        width: usize,
    },
    /// A vector for each window.
    Windows(Windows),
}

impl Vectors {
    /// Vectors of one sample.
    pub fn count(&self) -> usize {
        match self {
            Self::Whole { .. } => 1,
            Self::Windows(windows) => windows.count(),
        }
    }

    /// Values of one vector.
    pub fn width(&self) -> usize {
        match self {
            Self::Whole { width } => *width,
            Self::Windows(windows) => windows.width(),
        }
    }

    /// Values of one sample.
    pub fn sample_len(&self) -> usize {
        match self {
            Self::Whole { width } => *width,
            Self::Windows(windows) => windows.input().len(),
        }
    }

    /// In how many vectors a value of a sample comes at most.
    pub fn repetitions(&self) -> usize {
        match self {
            Self::Whole { .. } => 1,
            Self::Windows(windows) => {
                let across = windows.side.div_ceil(windows.stride);
                across.min(windows.rows) * across.min(windows.columns)
            }
        }
    }

    /// The vectors of a sample as the columns of a row-major matrix of [`width`](Self::width) rows: what a client encrypts.
    ///
    /// # Panics
    /// If `sample` does not have [`sample_len`](Self::sample_len) values.
    pub fn of(&self, sample: &[i16]) -> Vec<i64> {
        assert_eq!(sample.len(), self.sample_len());
        let mut out = vec![0; self.width() * self.count()];
        self.gather(sample, &mut out);
        out
    }

    pub(crate) fn gather<T: Copy, U: From<T> + Default + Copy>(&self, sample: &[T], out: &mut [U]) {
        match self {
            Self::Whole { .. } => out.iter_mut().zip(sample).for_each(|(out, value)| *out = U::from(*value)),
            Self::Windows(windows) => windows.gather(sample, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pixel(image: &[f64], shape: Shape, channel: usize, y: isize, x: isize) -> f64 {
        let inside = (0..shape.height as isize).contains(&y) && (0..shape.width as isize).contains(&x);
        if inside { image[(channel * shape.height + y as usize) * shape.width + x as usize] } else { 0.0 }
    }

    proptest! {
        #[test]
        fn windows_are_those_of_the_definition_and_scatter_is_the_transpose(
            channels in 1usize..3, height in 1usize..9, width in 1usize..9,
            side in 1usize..5, stride in 1usize..4, padding in 0usize..4,
        ) {
            let shape = Shape { channels, height, width };
            let fits = padding < side && height + 2 * padding >= side && width + 2 * padding >= side;
            let windows = Windows::new(shape, side, stride, padding);
            prop_assert_eq!(windows.is_some(), fits);
            let Some(windows) = windows else { return Ok(()) };
            let image: Vec<f64> = (0..shape.len()).map(|i| (i + 1) as f64).collect();
            let mut gathered = vec![f64::NAN; windows.width() * windows.count()];
            windows.gather(&image, &mut gathered);
            let mut wanted = Vec::new();
            for channel in 0..channels {
                for (dy, dx) in (0..side).flat_map(|dy| (0..side).map(move |dx| (dy, dx))) {
                    for (row, column) in (0..windows.rows).flat_map(|r| (0..windows.columns).map(move |c| (r, c))) {
                        let place = |at: usize, d: usize| (at * stride + d) as isize - padding as isize;
                        wanted.push(pixel(&image, shape, channel, place(row, dy), place(column, dx)));
                    }
                }
            }
            prop_assert_eq!(&gathered, &wanted);
            // <gather(image), w> = <image, scatter(w)>, in whole numbers.
            let weights: Vec<f64> = (0..gathered.len()).map(|i| (i * 7 % 13) as f64 - 6.0).collect();
            let mut scattered = vec![0.0; image.len()];
            windows.scatter_add(&weights, &mut scattered);
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            prop_assert_eq!(dot(&gathered, &weights), dot(&image, &scattered));
            let vectors = Vectors::Windows(windows);
            let comes = |pixel: &f64| gathered.iter().filter(|value| *value == pixel).count();
            prop_assert!(image.iter().all(|pixel| comes(pixel) <= vectors.repetitions()));
        }
    }

    #[test]
    fn lenet_has_784_windows_of_25_values() {
        let windows = Windows::new(Shape { channels: 1, height: 28, width: 28 }, 5, 1, 2).unwrap();
        assert_eq!((windows.count(), windows.width()), (784, 25));
        let image: Vec<i16> = (0..784).collect();
        let vectors = Vectors::Windows(windows).of(&image);
        // The middle of the first window is the first pixel; what is above and left of it is border.
        assert_eq!((vectors[12 * 784], vectors[11 * 784], vectors[13 * 784], vectors[17 * 784]), (0, 0, 1, 28));
        assert_eq!(Vectors::Whole { width: 784 }.of(&image)[783], 783);
    }

    #[test]
    fn absurd_windows_are_refused() {
        let shape = Shape { channels: 1, height: 4, width: 4 };
        for (side, stride, padding) in [
            (0, 1, 0),
            (2, 0, 0),
            (2, 1, 2),
            (5, 1, 0),
            (usize::MAX, 1, usize::MAX - 1),
            (1 << 40, 1 << 40, (1 << 40) - 1),
        ] {
            assert_eq!(Windows::new(shape, side, stride, padding), None);
        }
    }
}
