//! Images and drawings: digits as PNG, bars and axes as SVG, coloured by classes of the style sheet.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::text::{Duration, Scientific, Text};
use super::{Accuracy, Party, ReportError, Sample, Stage};

/// A grey image as a `data:` address.
pub(super) fn data_uri(sample: &Sample) -> Result<String, ReportError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, sample.width, sample.height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&sample.pixels)?;
    writer.finish()?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(&bytes)))
}

/// The logits of a sample as columns from zero up or down; those of the label and of the prediction stand out.
pub(super) fn logit_bars(sample: &Sample, classes: &[String]) -> String {
    let high = sample.logits.iter().copied().fold(0.0, f64::max);
    let low = sample.logits.iter().copied().fold(0.0, f64::min);
    // All zero draws nothing, and divides by no zero.
    let unit = if high > low { 36.0 / (high - low) } else { 0.0 };
    let zero = 1.0 + high * unit;
    let step = 100.0 / classes.len() as f64;
    let mut svg =
        String::from("<svg class=\"logits\" viewBox=\"0 0 100 38\" preserveAspectRatio=\"none\" role=\"img\">");
    svg += "<title>Logits:";
    for (class, logit) in classes.iter().zip(&sample.logits) {
        let _ = write!(svg, " {} {logit:.3};", Text(class));
    }
    svg += "</title>";
    for (class, logit) in sample.logits.iter().enumerate() {
        let height = (logit.abs() * unit).max(0.6);
        let top = if *logit >= 0.0 { zero - height } else { zero };
        let kind = match class {
            class if class == sample.label => "label",
            class if class == sample.prediction => "taken",
            _ => "other",
        };
        let (left, width) = (class as f64 * step + step * 0.12, step * 0.76);
        let _ = write!(
            svg,
            "<rect class=\"{kind}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        );
    }
    let _ = write!(svg, "<path class=\"zero\" d=\"M0 {zero:.1}H100\"/></svg>");
    svg
}

pub(super) fn party_class(party: Party) -> &'static str {
    match party {
        Party::Client => "client",
        Party::Service => "service",
    }
}

/// All stages end to end in one bar, each as wide as it took.
pub(super) fn time_bar(stages: &[Stage], total: f64) -> String {
    let mut svg = String::from("<svg class=\"time\" width=\"100%\" height=\"34\" role=\"img\"><title>Time by stage:");
    for stage in stages {
        let _ = write!(svg, " {} {};", Text(&stage.name), Duration(stage.seconds));
    }
    svg += "</title>";
    let mut left = 0.0;
    for (place, stage) in stages.iter().enumerate() {
        let width = share(stage.seconds, total);
        let class = party_class(stage.party);
        // A gap of a pixel keeps neighbours of one colour apart.
        let _ = write!(
            svg,
            "<g><rect class=\"{class}\" x=\"{left:.3}%\" y=\"0\" width=\"{width:.3}%\" height=\"34\"/>\
             <rect class=\"gap\" x=\"{left:.3}%\" y=\"0\" width=\"1.5\" height=\"34\"/>"
        );
        if width > 4.0 {
            let _ = write!(
                svg,
                "<text x=\"{:.3}%\" y=\"22\" text-anchor=\"middle\">{}</text>",
                left + width / 2.0,
                place + 1
            );
        }
        svg += "</g>";
        left += width;
    }
    svg + "</svg>"
}

/// A thin bar from `start` to `start + length` on a scale that ends at `whole`.
pub(super) fn thin_bar(class: &str, start: f64, length: f64, whole: f64) -> String {
    let (left, width) = (share(start, whole), share(length, whole));
    format!(
        "<svg class=\"thin\" width=\"100%\" height=\"5\" aria-hidden=\"true\">\
         <rect class=\"track\" width=\"100%\" height=\"5\"/>\
         <rect class=\"{class}\" x=\"{left:.3}%\" width=\"{width:.3}%\" height=\"5\" \
         style=\"width:max(2px,{width:.3}%)\"/></svg>"
    )
}

/// Percent; no share of nothing.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { 100.0 * part / whole } else { 0.0 }
}

/// The logit error and its bound on an axis of powers of ten.
pub(super) fn error_axis(accuracy: &Accuracy) -> String {
    let (error, bound) = (accuracy.max_logit_error, accuracy.stated_bound);
    // An error of zero has no place on the axis; below a double's own rounding nothing is told apart.
    let power = |value: f64| value.max(1e-16).log10();
    let first = power(error.min(bound)).floor() - 1.0;
    let last = (power(error.max(bound)).ceil() + 1.0).max(first + 3.0);
    let place = |power: f64| 4.0 + 92.0 * (power - first) / (last - first);
    let mut svg = format!(
        "<svg class=\"axis\" width=\"100%\" height=\"84\" role=\"img\"><title>Largest logit error {error:e}, stated bound \
         {bound:e}</title>"
    );
    let (at_error, at_bound) = (place(power(error)), place(power(bound)));
    let _ = write!(
        svg,
        "<rect class=\"allowed\" x=\"0\" y=\"38\" width=\"{at_bound:.2}%\" height=\"12\"/>\
         <line class=\"base\" x1=\"0\" x2=\"100%\" y1=\"50\" y2=\"50\"/>"
    );
    // With many powers only some are named, so that the names stay apart on a narrow page.
    let every = (((last - first) / 5.0).ceil() as i32).max(1);
    for tick in first as i32..=last as i32 {
        let x = place(f64::from(tick));
        let _ = write!(svg, "<line class=\"tick\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"50\" y2=\"55\"/>");
        if (tick - first as i32) % every == 0 {
            let sign = if tick < 0 { "\u{2212}" } else { "" };
            let _ = write!(
                svg,
                "<text x=\"{x:.2}%\" y=\"72\" text-anchor=\"middle\">10<tspan dy=\"-5\" class=\"power\">{sign}{}</tspan></text>",
                tick.abs()
            );
        }
    }
    // The names stand in two rows, and none leaves the page; that of the error points away from the line of the bound.
    const ROOM: f64 = 20.0;
    let (left, right) = (("end", -8), ("start", 8));
    let (bound_anchor, bound_shift) = if at_bound > 50.0 { left } else { right };
    let points_left = if at_error <= at_bound { at_error > ROOM } else { at_error > 100.0 - ROOM };
    let (error_anchor, error_shift) = if points_left { left } else { right };
    let kind = if error <= bound { "error" } else { "error over" };
    let _ = write!(
        svg,
        "<line class=\"bound\" x1=\"{at_bound:.2}%\" x2=\"{at_bound:.2}%\" y1=\"4\" y2=\"50\"/>\
         <text class=\"name\" x=\"{at_bound:.2}%\" dx=\"{bound_shift}\" y=\"14\" text-anchor=\"{bound_anchor}\">stated \
         bound</text>\
         <circle class=\"{kind}\" cx=\"{at_error:.2}%\" cy=\"44\" r=\"5\"/>\
         <text class=\"name\" x=\"{at_error:.2}%\" dx=\"{error_shift}\" y=\"33\" text-anchor=\"{error_anchor}\">measured</text>\
         </svg>",
    );
    svg
}

/// Error and bound in words.
pub(super) fn error_words(accuracy: &Accuracy) -> String {
    let (error, bound) = (accuracy.max_logit_error, accuracy.stated_bound);
    if error > bound {
        format!("{}, <strong>over the stated bound of {}</strong>", Scientific(error), Scientific(bound))
    } else {
        format!("{}, within the stated bound of {}", Scientific(error), Scientific(bound))
    }
}
