//! The learning curve as a picture.

use std::fmt::Write;

use super::training::Point;

/// Height of the field in pixels, and of all of the picture.
const FIELD: f64 = 220.0;
const HEIGHT: f64 = 250.0;
/// Room above the field for the name of the highest line.
const TOP: f64 = 10.0;

/// Accuracy over epochs: before each update, and on the test images. Numbers are finite and from 0 to 1.
pub(super) fn learning(points: &[Point], epochs: u32) -> String {
    let all = points.iter().flat_map(|point| [Some(point.running_accuracy), point.test_accuracy]).flatten();
    let least = all.fold(1.0, f64::min);
    let low = (least * 10.0).floor().clamp(0.0, 9.0) / 10.0;
    let place = |accuracy: f64| 1.0 - (accuracy - low) / (1.0 - low);
    let across = |at: f64| at / f64::from(epochs.max(1));
    let mut svg = format!(
        "<svg class=\"curve\" role=\"img\" width=\"100%\" height=\"{HEIGHT}\"><title>Accuracy over epochs, from {:.0} % to \
         100 %</title>",
        low * 100.0
    );
    // Tenths as lines; with many of them only every second is named.
    let (first, every) = ((low * 10.0).round() as u32, if low < 0.5 { 2 } else { 1 });
    for tenth in first..=10 {
        let y = TOP + FIELD * place(f64::from(tenth) / 10.0);
        let _ = write!(svg, "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
        if (10 - tenth).is_multiple_of(every) {
            let _ = write!(svg, "<text x=\"0\" y=\"{:.1}\">{}\u{202f}%</text>", y - 3.0, tenth * 10);
        }
    }
    let _ = write!(
        svg,
        "<svg x=\"0\" y=\"{TOP}\" width=\"100%\" height=\"{FIELD}\" viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\">"
    );
    let mut line = |class: &str, values: &mut dyn Iterator<Item = (f64, f64)>| {
        let _ = write!(svg, "<polyline class=\"{class}\" points=\"");
        for (at, accuracy) in values {
            let _ = write!(svg, "{:.1},{:.1} ", 1000.0 * across(at), 1000.0 * place(accuracy));
        }
        svg.push_str("\"/>");
    };
    line("running", &mut points.iter().map(|point| (point.epochs, point.running_accuracy)));
    line("test", &mut points.iter().filter_map(|point| Some((point.epochs, point.test_accuracy?))));
    svg.push_str("</svg>");
    for epoch in 0..=epochs {
        let (x, anchor) = (
            100.0 * across(f64::from(epoch)),
            match epoch {
                0 => "start",
                epoch if epoch == epochs => "end",
                _ => "middle",
            },
        );
        // Many epochs share names.
        if epoch.is_multiple_of(epochs.div_ceil(10).max(1)) {
            let name = if epoch == 0 { "start".to_owned() } else { format!("epoch {epoch}") };
            let _ = write!(svg, "<text x=\"{x:.2}%\" y=\"{:.1}\" text-anchor=\"{anchor}\">{name}</text>", HEIGHT - 4.0);
        }
    }
    svg.push_str("</svg>");
    svg
}
