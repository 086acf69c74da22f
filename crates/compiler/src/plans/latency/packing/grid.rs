use super::Layout;

/// A tensor `[channels, height, width]` in slots, each channel with the same steps from row to row and from column to
/// column: the *multiplexed* packing, in which the channels of a strided convolution fill the gaps that the stride leaves
/// (Lee et al., eprint 2021/1688, section 4; Ebel et al., "Orion", ASPLOS 2025).
///
/// A convolution between tensors on such grids needs rotations for the differences of positions within a channel and for
/// those between channels, and not for every pair of positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    height: usize,
    width: usize,
    row_step: usize,
    column_step: usize,
    /// Where element (0, 0) of each channel is; channels that share gaps are in one block.
    channels: Vec<usize>,
    /// Slots of a block, a power of two.
    block: usize,
}

impl Grid {
    /// The grid on which a tensor of this shape lies, if it does; the first positions of its elements count.
    pub fn find(layout: &Layout, shape: &[usize]) -> Option<Self> {
        let &[channels, height, width] = shape else { return None };
        let positions = layout.first_positions(channels * height * width)?;
        let at = |channel: usize, y: usize, x: usize| positions[(channel * height + y) * width + x];
        let origin = *positions.first()?;
        let row_step = if height > 1 { at(0, 1, 0).checked_sub(origin)? } else { 0 };
        let column_step = if width > 1 { at(0, 0, 1).checked_sub(origin)? } else { 0 };
        let offsets: Vec<usize> = (0..channels).map(|channel| at(channel, 0, 0)).collect();
        let regular = (0..channels).all(|channel| {
            let expected = |y: usize, x: usize| offsets[channel] + y * row_step + x * column_step;
            (0..height).all(|y| (0..width).all(|x| at(channel, y, x) == expected(y, x)))
        });
        let extent = (height - 1) * row_step + (width - 1) * column_step;
        // The smallest block that holds every channel that begins in it.
        let mut block = (extent + 1).next_power_of_two();
        while offsets.iter().any(|offset| offset % block + extent >= block) && block <= layout.width() {
            block *= 2;
        }
        let grid = Self { height, width, row_step, column_step, channels: offsets, block };
        (regular && block <= layout.width()).then_some(grid)
    }

    /// The grid for a tensor of this shape that is computed from one on this grid by windows with strides: an element is
    /// where its window is, and the gaps hold further channels.
    ///
    /// `None` if there is no such grid.
    pub fn strided(&self, shape: &[usize]) -> Option<Self> {
        let &[channels, height, width] = shape else { return None };
        // Windows may reach over the edges, so that this is a guess; a wrong one makes a layer slower, not wrong.
        let stride = |from: usize, to: usize| ((from as f64 / to.max(1) as f64).round() as usize).max(1);
        let (down, right) = (stride(self.height, height), stride(self.width, width));
        let (row_step, column_step) = (self.row_step * down, self.column_step * right);
        let extent = height.checked_sub(1)? * row_step + width.checked_sub(1)? * column_step;
        let mut free: Vec<usize> = self.channels.iter().map(|offset| offset % self.block).collect();
        free.sort_unstable();
        free.dedup();
        let gaps = (0..down).flat_map(|i| (0..right).map(move |j| (i, j)));
        let offsets: Vec<usize> = gaps
            .flat_map(|(i, j)| free.iter().map(move |offset| offset + i * self.row_step + j * self.column_step))
            .filter(|offset| offset + extent < self.block)
            .collect();
        if offsets.is_empty() {
            return None;
        }
        let channel = |channel: usize| channel / offsets.len() * self.block + offsets[channel % offsets.len()];
        let channels = (0..channels).map(channel).collect();
        Some(Self { height, width, row_step, column_step, channels, block: self.block })
    }

    /// The layout of the tensor on this grid: in one period, or in ciphertexts of `slots` slots if that is longer. `None` if
    /// elements collide.
    pub fn layout(&self, slots: usize) -> Option<Layout> {
        let blocks = self.channels.iter().max()? / self.block + 1;
        let length = blocks.next_power_of_two() * self.block;
        let ciphertexts = (blocks * self.block).div_ceil(slots.min(length));
        let mut layout = vec![None; ciphertexts * slots.min(length)];
        for (channel, offset) in self.channels.iter().enumerate() {
            for (y, x) in (0..self.height).flat_map(|y| (0..self.width).map(move |x| (y, x))) {
                let feature = ((channel * self.height + y) * self.width + x) as u32;
                let slot = layout.get_mut(offset + y * self.row_step + x * self.column_step)?;
                if slot.replace(feature).is_some() {
                    return None;
                }
            }
        }
        Some(Layout::new(ciphertexts, layout))
    }
}
