//! PNG images, one or a folder of them.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek};
use std::path::{Path, PathBuf};

use png::{ColorType, Limits, Transformations};

use super::{MAX_BYTES, SampleValues, Samples, SamplesProblem, Shape};

/// The most channel values of one image: 8192 by 8192 grey pixels.
const MAX_VALUES: usize = 1 << 26;

/// What the decoder may reserve beside the image itself, in bytes.
const DECODER_BYTES: usize = 1 << 26;

struct Picture {
    shape: Shape,
    values: Vec<u8>,
}

pub(super) fn read_one(reader: impl BufRead + Seek, origin: &Path) -> Result<Samples, SamplesProblem> {
    let picture = decode(reader)?;
    Samples::checked(origin, picture.shape.as_slice(), SampleValues::Pixels(picture.values))
}

/// The images of a folder.
struct Listing {
    /// Names and paths, in natural order, at least one.
    names: Vec<(String, PathBuf)>,
    /// Entries that are none, without those that are hidden.
    skipped: usize,
}

fn list(folder: &Path) -> Result<Listing, SamplesProblem> {
    let mut names = Vec::new();
    let mut skipped = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let png = Path::new(&name).extension().is_some_and(|end| end.eq_ignore_ascii_case("png"));
        match (name.starts_with('.'), png && !path.is_dir()) {
            (true, _) => {}
            (false, true) => names.push((name, path)),
            (false, false) => skipped += 1,
        }
    }
    names.sort_by(|(left, _), (right, _)| natural_order(left, right));
    if names.is_empty() { Err(SamplesProblem::NoPictures) } else { Ok(Listing { names, skipped }) }
}

pub(super) fn names(folder: &Path) -> Result<Vec<String>, SamplesProblem> {
    Ok(list(folder)?.names.into_iter().map(|(name, _)| name).collect())
}

pub(super) fn read_folder(folder: &Path) -> Result<Samples, SamplesProblem> {
    let Listing { names, skipped } = list(folder)?;

    let mut values = Vec::new();
    let mut wanted: Option<Shape> = None;
    for (name, path) in &names {
        let picture = File::open(path)
            .map_err(SamplesProblem::from)
            .and_then(|file| decode(BufReader::new(file)))
            .map_err(|problem| SamplesProblem::Picture { name: name.into(), problem: Box::new(problem) })?;
        let wanted = wanted.get_or_insert_with(|| picture.shape.clone());
        if picture.shape != *wanted {
            return Err(SamplesProblem::PicturesDiffer {
                name: name.clone(),
                found: picture.shape,
                first: names[0].0.clone(),
                wanted: wanted.clone(),
            });
        }
        if (values.len() + picture.values.len()) as u64 > MAX_BYTES {
            let axes = [&[names.len()], picture.shape.as_slice()].concat();
            return Err(SamplesProblem::TooLarge { shape: Shape::from(axes) });
        }
        values.extend_from_slice(&picture.values);
    }
    let shape = wanted.unwrap_or_default();
    let mut samples = Samples::checked(folder, shape.as_slice(), SampleValues::Pixels(values))?;
    samples.names = Some(names.into_iter().map(|(name, _)| name).collect());
    samples.skipped = skipped;
    Ok(samples)
}

fn decode(reader: impl BufRead + Seek) -> Result<Picture, SamplesProblem> {
    let mut decoder = png::Decoder::new_with_limits(reader, Limits { bytes: DECODER_BYTES });
    // Palettes to colours, 1, 2 and 4 bits to 8, 16 bits to their high byte.
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let (width, height) = decoder.read_header_info()?.size();
    let too_large = || SamplesProblem::PictureTooLarge { width, height, limit: MAX_VALUES };
    // Four channels are the most a pixel has.
    if u64::from(width) * u64::from(height) > MAX_VALUES as u64 {
        return Err(too_large());
    }
    let mut reader = decoder.read_info()?;
    let bytes = reader.output_buffer_size().filter(|&bytes| bytes <= MAX_VALUES).ok_or_else(too_large)?;
    let mut buffer = vec![0; bytes];
    let frame = reader.next_frame(&mut buffer)?;
    reader.finish()?;
    buffer.truncate(frame.buffer_size());

    let (width, height) = (width as usize, height as usize);
    match frame.color_type {
        ColorType::Grayscale => Ok(Picture { shape: Shape::from(vec![height, width]), values: buffer }),
        ColorType::GrayscaleAlpha => {
            let (pixels, _) = buffer.as_chunks::<2>();
            opaque(pixels, width)?;
            let values = pixels.iter().map(|&[grey, _]| grey).collect();
            Ok(Picture { shape: Shape::from(vec![height, width]), values })
        }
        ColorType::Rgba => {
            let (pixels, _) = buffer.as_chunks::<4>();
            opaque(pixels, width)?;
            Ok(planes(pixels, height, width))
        }
        // The transformation has turned palettes into colours.
        ColorType::Rgb | ColorType::Indexed => {
            let (pixels, _) = buffer.as_chunks::<3>();
            Ok(planes(pixels, height, width))
        }
    }
}

/// Takes the last channel as opacity.
fn opaque<const C: usize>(pixels: &[[u8; C]], width: usize) -> Result<(), SamplesProblem> {
    match pixels.iter().position(|pixel| pixel[C - 1] != 255) {
        Some(index) => {
            Err(SamplesProblem::Transparent { row: index / width, column: index % width, alpha: pixels[index][C - 1] })
        }
        None => Ok(()),
    }
}

/// Red, green and blue, one plane after the other.
fn planes<const C: usize>(pixels: &[[u8; C]], height: usize, width: usize) -> Picture {
    let mut values = Vec::with_capacity(3 * pixels.len());
    for channel in 0..3 {
        values.extend(pixels.iter().map(|pixel| pixel[channel]));
    }
    Picture { shape: Shape::from(vec![3, height, width]), values }
}

/// Runs of digits count as numbers; what is then equal is ordered byte by byte.
fn natural_order(left: &str, right: &str) -> Ordering {
    let (mut a, mut b) = (left.as_bytes(), right.as_bytes());
    loop {
        let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (x, y) = (digits(a), digits(b));
        let order = if x > 0 && y > 0 {
            let (m, n) = (number(&a[..x]), number(&b[..y]));
            a = &a[x..];
            b = &b[y..];
            m.len().cmp(&n.len()).then_with(|| m.cmp(n))
        } else {
            match (a, b) {
                ([], []) => return left.cmp(right),
                ([p, rest_a @ ..], [q, rest_b @ ..]) => {
                    a = rest_a;
                    b = rest_b;
                    p.cmp(q)
                }
                _ => a.len().cmp(&b.len()),
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn number(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_as_people_count() {
        let mut names = ["b", "img10.png", "img2.png", "img02.png", "img1.png", "a", "img.png", "9", "10"];
        names.sort_by(|a, b| natural_order(a, b));
        let wanted = ["9", "10", "a", "b", "img.png", "img1.png", "img02.png", "img2.png", "img10.png"];
        assert_eq!(names, wanted);
    }

    #[test]
    fn natural_order_is_a_total_order() {
        let names = ["", "0", "00", "01", "1", "1a", "a1", "a01", "a1b", "a1b2", "é2", "é10"];
        for a in names {
            for b in names {
                assert_eq!(natural_order(a, b), natural_order(b, a).reverse(), "{a} {b}");
                assert_eq!(natural_order(a, b) == Ordering::Equal, a == b, "{a} {b}");
                for c in names {
                    if natural_order(a, b).is_lt() && natural_order(b, c).is_lt() {
                        assert!(natural_order(a, c).is_lt(), "{a} {b} {c}");
                    }
                }
            }
        }
    }
}
