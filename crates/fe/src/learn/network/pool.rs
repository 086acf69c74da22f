//! Pools over the windows of each channel.

use ndarray::{Array2, ArrayView2};

use super::{LayerSpec, PlacedLayer};

/// Pools `values`; under max pooling `winners` receives the place, within its sample, of each largest value.
pub(super) fn forward(layer: &PlacedLayer, values: ArrayView2<f64>, winners: &mut Vec<u32>) -> Array2<f64> {
    let mut out = Array2::zeros((values.nrows(), layer.output.len()));
    winners.clear();
    let average = matches!(layer.spec, LayerSpec::AveragePool { .. });
    for (values, mut out) in values.rows().into_iter().zip(out.rows_mut()) {
        let (Some(values), Some(out)) = (values.as_slice(), out.as_slice_mut()) else { continue };
        each_window(layer, |index, area| {
            if average {
                out[index] = area.clone().map(|place| values[place]).sum::<f64>() / area.count() as f64;
            } else {
                let mut best = usize::MAX;
                for place in area {
                    if best == usize::MAX || values[place] > values[best] {
                        best = place;
                    }
                }
                out[index] = values[best];
                winners.push(best as u32);
            }
        });
    }
    out
}

/// The gradient of the operand from that of the result.
pub(super) fn backward(layer: &PlacedLayer, winners: &[u32], gradient: ArrayView2<f64>) -> Array2<f64> {
    let mut out = Array2::zeros((gradient.nrows(), layer.input.len()));
    let average = matches!(layer.spec, LayerSpec::AveragePool { .. });
    let mut winners = winners.iter();
    for (gradient, mut out) in gradient.rows().into_iter().zip(out.rows_mut()) {
        if average {
            each_window(layer, |index, area| {
                let share = gradient[index] / area.clone().count() as f64;
                area.for_each(|place| out[place] += share);
            });
        } else {
            for (value, winner) in gradient.iter().zip(winners.by_ref()) {
                out[*winner as usize] += value;
            }
        }
    }
    out
}

/// Calls `visit` with the place of each result in its sample and the places of the values in its window.
fn each_window(layer: &PlacedLayer, mut visit: impl FnMut(usize, Area)) {
    let Some(windows) = layer.windows else { return };
    let (height, width) = (layer.input.height, layer.input.width);
    let mut index = 0;
    for channel in 0..layer.input.channels {
        for row in 0..windows.rows() {
            for column in 0..windows.columns() {
                let first = (channel * height + row * windows.stride()) * width + column * windows.stride();
                visit(index, Area { first, width, side: windows.side(), row: 0, column: 0 });
                index += 1;
            }
        }
    }
}

/// The places of a window.
#[derive(Clone)]
struct Area {
    first: usize,
    width: usize,
    side: usize,
    row: usize,
    column: usize,
}

impl Iterator for Area {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.row == self.side {
            return None;
        }
        let place = self.first + self.row * self.width + self.column;
        self.column += 1;
        if self.column == self.side {
            (self.row, self.column) = (self.row + 1, 0);
        }
        Some(place)
    }
}
