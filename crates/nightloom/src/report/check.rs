use super::Report;

/// The most samples of one page.
pub const MAX_SAMPLES: usize = 120;

/// The most classes of one page.
pub const MAX_CLASSES: usize = 32;

/// The longest side of a sample in pixels.
pub const MAX_SIDE: u32 = 64;

/// Why a page could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A number that is infinite, not a number, or negative where it must not be.
    #[error("{what} is {value}, wanted a finite number{}", if *.value < 0.0 { " from 0" } else { "" })]
    Number {
        /// Which.
        what: &'static str,
        /// The number.
        value: f64,
    },
    /// No image, or a stage or message for none.
    #[error("{what} is for no image")]
    NoImages {
        /// Which.
        what: &'static str,
    },
    /// More images counted than there are.
    #[error("{what}: {found} of {images} images")]
    Count {
        /// Which.
        what: &'static str,
        /// The count.
        found: u64,
        /// All images.
        images: u64,
    },
    /// The number of classes is out of range.
    #[error("{found} classes, wanted 1 to {MAX_CLASSES}")]
    Classes {
        /// The number of classes.
        found: usize,
    },
    /// The confusion matrix is not square over the classes.
    #[error("a confusion matrix of {found} rows or columns, wanted {wanted} of both")]
    ConfusionShape {
        /// Rows, or columns of the first row that differs.
        found: usize,
        /// The number of classes.
        wanted: usize,
    },
    /// The confusion matrix contradicts the counts.
    #[error("the confusion matrix counts {found} {what}, wanted {wanted}")]
    ConfusionCount {
        /// Which count.
        what: &'static str,
        /// The sum over the matrix.
        found: u64,
        /// The count it must agree with.
        wanted: u64,
    },
    /// Too many samples for one page.
    #[error("{found} samples, wanted at most {MAX_SAMPLES}")]
    Samples {
        /// The number of samples.
        found: usize,
    },
    /// A sample whose pixels do not fill it, or that is too large or empty.
    #[error("sample {index}: {pixels} pixels for {width}x{height}, wanted sides of 1 to {MAX_SIDE}")]
    Picture {
        /// The sample's number in the data set.
        index: u64,
        /// Its pixels.
        pixels: usize,
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// A sample with a class that does not exist.
    #[error("sample {index}: class {class} of {classes}")]
    Class {
        /// The sample's number in the data set.
        index: u64,
        /// The class.
        class: usize,
        /// The number of classes.
        classes: usize,
    },
    /// A sample with too few or too many logits.
    #[error("sample {index}: {found} logits for {classes} classes")]
    Logits {
        /// The sample's number in the data set.
        index: u64,
        /// Its logits.
        found: usize,
        /// The number of classes.
        classes: usize,
    },
    /// An image could not be encoded.
    #[error("an image could not be encoded: {0}")]
    Png(#[from] png::EncodingError),
}

pub(super) fn check(report: &Report) -> Result<(), ReportError> {
    let accuracy = &report.accuracy;
    let images = accuracy.images;
    if images == 0 {
        return Err(ReportError::NoImages { what: "the report" });
    }
    for (what, found) in [
        ("correct under encryption", accuracy.encrypted_correct),
        ("correct in the clear", accuracy.plaintext_correct),
        ("agreeing", accuracy.agreeing),
    ] {
        if found > images {
            return Err(ReportError::Count { what, found, images });
        }
    }
    not_negative("the largest logit error", accuracy.max_logit_error)?;
    not_negative("the stated bound", accuracy.stated_bound)?;
    for stage in &report.stages {
        not_negative("the time of a stage", stage.seconds)?;
        if stage.images == Some(0) {
            return Err(ReportError::NoImages { what: "a stage" });
        }
    }
    if report.sizes.iter().any(|size| size.images == Some(0)) {
        return Err(ReportError::NoImages { what: "a message" });
    }
    let parameters = &report.parameters;
    not_negative("log QP", parameters.log_qp)?;
    not_negative("the logarithm of the scale", parameters.log_scale)?;
    for &bits in parameters.prime_bits.iter().chain(&parameters.special_prime_bits) {
        not_negative("the logarithm of a prime", bits)?;
    }
    confusion(report)?;
    samples(report)
}

fn confusion(report: &Report) -> Result<(), ReportError> {
    square(&report.classes, &report.confusion, report.accuracy.images, report.accuracy.encrypted_correct)
}

/// Whether a confusion matrix is square over the classes and adds up to these counts.
pub(super) fn square(classes: &[String], matrix: &[Vec<u64>], images: u64, correct: u64) -> Result<(), ReportError> {
    let classes = classes.len();
    if !(1..=MAX_CLASSES).contains(&classes) {
        return Err(ReportError::Classes { found: classes });
    }
    let lengths = || matrix.iter().map(Vec::len);
    if let Some(found) = [matrix.len()].into_iter().chain(lengths()).find(|&length| length != classes) {
        return Err(ReportError::ConfusionShape { found, wanted: classes });
    }
    let sum = |cells: &mut dyn Iterator<Item = u64>| cells.fold(0, u64::saturating_add);
    let all = sum(&mut matrix.iter().flatten().copied());
    let right = sum(&mut (0..classes).map(|class| matrix[class][class]));
    for (what, found, wanted) in [("images", all, images), ("correct images", right, correct)] {
        if found != wanted {
            return Err(ReportError::ConfusionCount { what, found, wanted });
        }
    }
    Ok(())
}

fn samples(report: &Report) -> Result<(), ReportError> {
    if report.samples.len() > MAX_SAMPLES {
        return Err(ReportError::Samples { found: report.samples.len() });
    }
    let classes = report.classes.len();
    for sample in &report.samples {
        let (index, width, height) = (sample.index, sample.width, sample.height);
        let sides = [width, height].iter().all(|side| (1..=MAX_SIDE).contains(side));
        if !sides || sample.pixels.len() != (width * height) as usize {
            return Err(ReportError::Picture { index, pixels: sample.pixels.len(), width, height });
        }
        if let Some(class) = [sample.label, sample.prediction].into_iter().find(|&class| class >= classes) {
            return Err(ReportError::Class { index, class, classes });
        }
        if sample.logits.len() != classes {
            return Err(ReportError::Logits { index, found: sample.logits.len(), classes });
        }
        if let Some(&value) = sample.logits.iter().find(|logit| !logit.is_finite()) {
            return Err(ReportError::Number { what: "a logit", value });
        }
    }
    Ok(())
}

fn not_negative(what: &'static str, value: f64) -> Result<(), ReportError> {
    if value.is_finite() && value >= 0.0 { Ok(()) } else { Err(ReportError::Number { what, value }) }
}
