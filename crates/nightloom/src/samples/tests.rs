use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// Files made by `testdata/make.py`.
macro_rules! made {
    ($name:literal) => {
        include_bytes!(concat!("testdata/", $name)).as_slice()
    };
}

const UNIT: Scaling = Scaling { scale: 1.0, offset: 0.0 };

fn idx(code: u8, axes: &[u32], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, code, axes.len() as u8];
    axes.iter().for_each(|axis| bytes.extend(axis.to_be_bytes()));
    bytes.extend(body);
    bytes
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn npy_with(header: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(body);
    bytes
}

fn grey_png(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(pixels).unwrap();
    bytes
}

fn ok(bytes: &[u8]) -> Samples {
    decode(bytes, "input").unwrap()
}

fn problem(bytes: &[u8]) -> SamplesProblem {
    let error = decode(bytes, "input").unwrap_err();
    assert_eq!(error.path, PathBuf::from("input"));
    assert!(error.to_string().starts_with("input: "), "{error}");
    error.problem
}

fn label_problem(bytes: &[u8]) -> SamplesProblem {
    labels::decode_labels(Cursor::new(bytes), None).unwrap_err()
}

fn labels_of(bytes: &[u8]) -> Vec<usize> {
    labels::decode_labels(Cursor::new(bytes), None).unwrap()
}

#[test]
fn reads_what_numpy_writes() {
    let singles = ok(made!("float32.npy"));
    assert_eq!(singles.shape(), [3]);
    assert_eq!(singles.len(), 2);
    assert_eq!(*singles.values(), SampleValues::Singles(vec![-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]));

    let doubles = ok(made!("float64-big-endian.npy"));
    assert_eq!(*doubles.values(), SampleValues::Doubles(vec![0.0, 0.25, 0.5, 0.75]));

    let fortran = ok(made!("uint8-fortran.npy"));
    assert_eq!((fortran.len(), fortran.shape()), (2, [3, 4].as_slice()));
    assert_eq!(*fortran.values(), SampleValues::Pixels((0..24).collect()));

    let version2 = ok(made!("version2.npy"));
    assert_eq!((version2.len(), version2.shape()), (2, [].as_slice()));
    assert_eq!(*version2.values(), SampleValues::Singles(vec![1.5, -2.0]));

    assert_eq!(*ok(&gzipped(made!("float32.npy"))).values(), *singles.values());
}

#[test]
fn reads_archives_by_name() {
    assert_eq!(*ok(made!("one.npz")).values(), SampleValues::Pixels(vec![1, 2]));

    let folder = TempDir::new().unwrap();
    let path = folder.path().join("two.npz");
    fs::write(&path, made!("two.npz")).unwrap();
    let named = |name: &str| PathBuf::from(format!("{}:{name}", path.display()));
    let images = read(named("images")).unwrap();
    assert_eq!((images.len(), images.shape()), (2, [5].as_slice()));
    assert_eq!(*images.values(), SampleValues::Pixels((0..10).collect()));
    assert_eq!(images.origin(), path);
    assert_eq!(read_labels(named("labels")).unwrap(), [3, 4]);

    let names = ["images".to_owned(), "labels".to_owned()];
    assert!(matches!(
        read(&path).unwrap_err().problem,
        SamplesProblem::WhichArray { found } if found == names
    ));
    let error = read(named("pictures")).unwrap_err();
    assert!(error.to_string().ends_with("holds no array pictures, only images, labels"), "{error}");
    assert!(matches!(
        read(named("labels")).unwrap_err().problem,
        SamplesProblem::Elements { found: ElementType::I32, .. }
    ));

    // A name that exists as it stands is that file.
    let odd = folder.path().join("odd.npz:x");
    fs::write(&odd, made!("float32.npy")).unwrap();
    assert_eq!(read(&odd).unwrap().len(), 2);

    let plain = folder.path().join("plain.npz");
    fs::write(&plain, made!("float32.npy")).unwrap();
    let member = PathBuf::from(format!("{}:x", plain.display()));
    assert!(matches!(read(&member).unwrap_err().problem, SamplesProblem::NotNpz { .. }));
    assert!(matches!(read_labels(&member).unwrap_err().problem, SamplesProblem::NotNpz { .. }));
}

#[test]
fn reads_idx_of_each_type_plain_and_gzip() {
    let pixels = idx(0x08, &[2, 2, 3], &(0..12).collect::<Vec<u8>>());
    for bytes in [pixels.clone(), gzipped(&pixels)] {
        let samples = ok(&bytes);
        assert_eq!((samples.len(), samples.shape()), (2, [2, 3].as_slice()));
        assert_eq!(*samples.values(), SampleValues::Pixels((0..12).collect()));
    }
    let floats: Vec<u8> = [1.5f32, -3.25].iter().flat_map(|x| x.to_be_bytes()).collect();
    assert_eq!(*ok(&idx(0x0d, &[2], &floats)).values(), SampleValues::Singles(vec![1.5, -3.25]));
    let doubles: Vec<u8> = [1e-300f64].iter().flat_map(|x| x.to_be_bytes()).collect();
    assert_eq!(*ok(&idx(0x0e, &[1, 1], &doubles)).values(), SampleValues::Doubles(vec![1e-300]));
    // More than one buffer of the reader.
    let many: Vec<u8> = (0..100_003u32).map(|x| (x % 251) as u8).collect();
    assert_eq!(*ok(&idx(0x08, &[100_003, 1], &many)).values(), SampleValues::Pixels(many));
}

#[test]
fn refuses_arrays_that_are_not_what_they_say() {
    let body: Vec<u8> = (0..12).collect();
    let good = idx(0x08, &[2, 2, 3], &body);
    for bytes in [good[..27].to_vec(), gzipped(&good[..27])] {
        assert!(matches!(
            problem(&bytes),
            SamplesProblem::Truncated { found: 11, wanted: 12, ref shape } if shape.to_string() == "2x2x3"
        ));
    }
    let long = [good.as_slice(), &[0]].concat();
    for bytes in [long.clone(), gzipped(&long)] {
        assert!(matches!(problem(&bytes), SamplesProblem::Trailing { wanted: 12, .. }));
    }
    for end in 4..16 {
        assert!(matches!(problem(&good[..end]), SamplesProblem::TruncatedHeader));
    }
    let huge = idx(0x0e, &[u32::MAX, u32::MAX, u32::MAX], &[]);
    for bytes in [huge.clone(), gzipped(&huge)] {
        assert!(matches!(problem(&bytes), SamplesProblem::TooLarge { .. }));
    }
    // Within the limit as a count of numbers, not as bytes.
    assert!(matches!(problem(&idx(0x0e, &[1 << 16, 1 << 15], &[])), SamplesProblem::TooLarge { .. }));
    // Within the limit, but not there: no memory is reserved for it.
    for bytes in [idx(0x08, &[1 << 31], &[]), gzipped(&idx(0x08, &[1 << 31], &[]))] {
        assert!(matches!(problem(&bytes), SamplesProblem::Truncated { found: 0, .. }));
    }
    assert!(matches!(problem(&idx(0x08, &[1; 17], &[0])), SamplesProblem::TooManyAxes { found: 17 }));
    assert!(matches!(problem(&idx(0x08, &[0, 5], &[])), SamplesProblem::NoValues { .. }));
    assert!(matches!(problem(&idx(0x08, &[5, 0], &[])), SamplesProblem::NoValues { .. }));
    assert!(matches!(problem(&idx(0x08, &[], &[1])), SamplesProblem::NoSampleAxis));
    assert!(matches!(problem(&idx(0x0b, &[1], &[0, 1])), SamplesProblem::Elements { found: ElementType::I16, .. }));
    let mut damaged = gzipped(&good);
    let last = damaged.len() - 6;
    damaged[last] ^= 1;
    assert!(matches!(problem(&damaged), SamplesProblem::Io(_)));
    let nan: Vec<u8> = [0.0f32, 1.0, f32::NAN, 2.0].iter().flat_map(|x| x.to_be_bytes()).collect();
    assert!(matches!(problem(&idx(0x0d, &[2, 2], &nan)), SamplesProblem::NotFinite { sample: 1, element: 0, .. }));
    let infinite = f64::INFINITY.to_be_bytes();
    assert!(matches!(problem(&idx(0x0e, &[1, 1], &infinite)), SamplesProblem::NotFinite { .. }));
}

#[test]
fn refuses_unknown_files() {
    for bytes in [b"".as_slice(), b"%PDF-1.4", b"\x00", b"\0\0\x07\x01", b"GIF89a", b"\x89PN", b"PK"] {
        let SamplesProblem::UnknownFormat { start, .. } = problem(bytes) else {
            panic!("{bytes:?}");
        };
        assert_eq!(start, bytes);
    }
    for bytes in [gzipped(b"hello"), gzipped(&grey_png(1, 1, &[3])), gzipped(&gzipped(made!("float32.npy")))] {
        assert!(matches!(problem(&bytes), SamplesProblem::UnknownFormat { .. }));
    }
    let error = decode(b"%PDF", "a.pdf").unwrap_err().to_string();
    assert_eq!(error, "a.pdf: starts with bytes 25 50 44 46, wanted a NumPy, IDX, gzip or PNG file");
    let error = decode(b"", "a").unwrap_err().to_string();
    assert!(error.contains("the file is empty"), "{error}");
    assert!(matches!(read("no/such/file").unwrap_err().problem, SamplesProblem::Io(_)));
    assert!(matches!(problem(b"PK\x03\x04"), SamplesProblem::Zip(_)));
    // The end record of an empty archive.
    let empty = [b"PK\x05\x06".as_slice(), &[0; 18]].concat();
    assert!(matches!(problem(&empty), SamplesProblem::WhichArray { found } if found.is_empty()));
}

#[test]
fn refuses_numpy_headers_with_the_reason() {
    let fault = |header: &str| match problem(&npy_with(header, &[0; 8])) {
        SamplesProblem::Npy(fault) => fault,
        other => panic!("{header}: {other}"),
    };
    let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n";
    assert_eq!(ok(&npy_with(good, &[0; 8])).len(), 2);
    let python2 = "{\"descr\":\"<f4\",\"fortran_order\":False,\"shape\":(2L, 1L)}";
    assert_eq!(ok(&npy_with(python2, &[0; 8])).len(), 2);

    let syntax = |header: &str, wanted: &str| {
        assert!(
            matches!(fault(header), NpyFault::Syntax { wanted: found, .. } if found == wanted),
            "{header}: {}",
            fault(header)
        );
    };
    syntax("", "\"{\"");
    syntax("['descr']", "\"{\"");
    syntax("{'descr", "the end of the string");
    syntax("{descr: 1}", "a quoted string");
    syntax("{'descr' '<f4'}", "\":\"");
    syntax("{'descr': [('x', '<f4')]}", "a quoted string");
    syntax("{'colour': 1}", "the key descr, fortran_order or shape");
    syntax("{'fortran_order': Maybe}", "True or False");
    syntax("{'shape': 3}", "\"(\"");
    syntax("{'shape': (3; 4)}", "\",\" or \")\"");
    syntax("{'shape': (-3,)}", "a length below 2^63");
    syntax("{'shape': (9223372036854775808,)}", "a length below 2^63");
    syntax("{'shape': (3,) 'descr'}", "\",\" or \"}\"");
    syntax("{'shape': (3,)} x", "nothing more");
    assert_eq!(fault("{}"), NpyFault::MissingKey { key: "descr" });
    assert_eq!(fault("{'descr': '<f4'}"), NpyFault::MissingKey { key: "shape" });
    assert_eq!(fault("{'descr': '<f4', 'shape': (2,)}"), NpyFault::MissingKey { key: "fortran_order" });
    assert_eq!(fault("{'shape': (2,), 'shape': (2,)}"), NpyFault::DuplicateKey { key: "shape" });
    for descr in ["", "<", "|O", "<c8", "|b1", "<f2", "|f4", "=f4", "<U3", "<M8[ns]"] {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2,)}}");
        assert_eq!(fault(&header), NpyFault::ElementType { descr: descr.to_owned() });
    }

    let shape = |shape: &str, order: &str| {
        problem(&npy_with(&format!("{{'descr': '|u1', 'fortran_order': {order}, 'shape': ({shape})}}"), &[]))
    };
    let big = "4611686018427387904, 4611686018427387904";
    assert!(matches!(shape(big, "False"), SamplesProblem::TooLarge { .. }));
    assert!(matches!(shape(&format!("0, {big}"), "True"), SamplesProblem::TooLarge { .. }));
    assert!(matches!(shape(&"1,".repeat(17), "False"), SamplesProblem::TooManyAxes { .. }));
    assert!(matches!(shape(&"1,".repeat(9000), "False"), SamplesProblem::TooManyAxes { .. }));

    let mut version = npy_with(good, &[0; 8]);
    version[6] = 4;
    assert!(matches!(problem(&version), SamplesProblem::Npy(NpyFault::Version { major: 4, minor: 0 })));
    let long = [b"\x93NUMPY\x02\x00".as_slice(), &u32::MAX.to_le_bytes()].concat();
    assert!(matches!(problem(&long), SamplesProblem::Npy(NpyFault::TooLong { found: u32::MAX })));
    // Depth costs a recursive parser its stack.
    assert!(matches!(fault(&"(".repeat(60_000)), NpyFault::Syntax { .. }));
}

#[test]
fn reads_png_of_each_kind() {
    let grey = vec![0, 128, 255, 64, 32, 16];
    for bytes in [made!("grey.png"), made!("grey16.png"), made!("grey-opaque.png")] {
        let samples = ok(bytes);
        assert_eq!((samples.len(), samples.shape()), (1, [2, 3].as_slice()));
        assert_eq!(*samples.values(), SampleValues::Pixels(grey.clone()));
        assert_eq!(samples.names(), None);
    }
    assert_eq!(*ok(made!("bits.png")).values(), SampleValues::Pixels(vec![0, 255, 255, 0, 0, 0]));
    let planes: Vec<u8> =
        grey.iter().copied().chain(grey.iter().map(|x| 255 - x)).chain(grey.iter().map(|x| x / 2)).collect();
    for bytes in [made!("colour.png"), made!("palette.png"), made!("opaque.png")] {
        let samples = ok(bytes);
        assert_eq!(samples.shape(), [3, 2, 3]);
        assert_eq!(*samples.values(), SampleValues::Pixels(planes.clone()));
    }
    assert!(matches!(problem(made!("transparent.png")), SamplesProblem::Transparent { row: 1, column: 2, alpha: 254 }));
    // The bit of a stored pixel, which only the sum over the chunk betrays.
    let mut damaged = made!("grey.png").to_vec();
    let data = damaged.windows(4).position(|name| name == b"IDAT").unwrap();
    damaged[data + 8] ^= 4;
    let told = problem(&damaged).to_string();
    assert!(told.contains("IDAT") && !told.contains('{'), "{told}");
    let png = made!("colour.png");
    for end in 8..png.len() {
        assert!(matches!(problem(&png[..end]), SamplesProblem::Png(_)), "{end}");
    }
}

#[test]
fn refuses_a_png_that_claims_to_be_huge() {
    let mut bytes = grey_png(1, 1, &[0]);
    for (width, height) in [(1u32 << 14, 1u32 << 13), (u32::MAX >> 1, 1), (1 << 13, 1 << 14)] {
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        assert!(
            matches!(problem(&bytes), SamplesProblem::PictureTooLarge { width: w, height: h, .. } if (w, h) == (width, height))
        );
    }
}

#[test]
fn reads_a_folder_in_natural_order() {
    let folder = TempDir::new().unwrap();
    for (name, value) in [("10.png", 10), ("9.PNG", 9), ("b.png", 11), (".hidden.png", 1)] {
        fs::write(folder.path().join(name), grey_png(2, 1, &[value, 0])).unwrap();
    }
    fs::write(folder.path().join("labels.csv"), "3\n").unwrap();
    fs::create_dir(folder.path().join("more.png")).unwrap();
    let samples = read(folder.path()).unwrap();
    assert_eq!(samples.names().unwrap(), ["9.PNG", "10.png", "b.png"]);
    assert_eq!(samples.names().unwrap(), picture_names(folder.path()).unwrap());
    assert_eq!(samples.skipped(), 2);
    assert_eq!((samples.len(), samples.shape()), (3, [1, 2].as_slice()));
    assert_eq!(*samples.values(), SampleValues::Pixels(vec![9, 0, 10, 0, 11, 0]));

    fs::write(folder.path().join("c.png"), grey_png(1, 2, &[0, 0])).unwrap();
    let error = read(folder.path()).unwrap_err();
    assert!(error.to_string().ends_with("c.png is 2x1, wanted 1x2 like 9.PNG"), "{error}");

    fs::write(folder.path().join("11.png"), "text").unwrap();
    let error = read(folder.path()).unwrap_err();
    assert!(error.to_string().contains(": 11.png: PNG: "), "{error}");

    let empty = TempDir::new().unwrap();
    assert!(matches!(read(empty.path()).unwrap_err().problem, SamplesProblem::NoPictures));
}

#[test]
fn bytes_are_scaled_and_numbers_are_not() {
    let scaling = Scaling { scale: 0.5, offset: -1.0 };
    let pixels = Samples::new("x", &[1, 2], SampleValues::Pixels(vec![0, 1, 2, 255])).unwrap();
    let features = pixels.features(&[2], scaling).unwrap();
    assert_eq!((features.len(), features.width()), (2, 2));
    assert_eq!(features.row(0), [-1.0, -0.5]);
    assert_eq!(features.row(1), [0.0, 126.5]);
    assert_eq!(features.column(1, 0..2), [-0.5, 126.5]);
    assert_eq!(features.column(0, 1..2), [0.0]);
    assert!(features.column(0, 2..2).is_empty());
    let singles = Samples::new("x", &[2], SampleValues::Singles(vec![0.25, 3.0])).unwrap();
    let features = singles.features(&[2], scaling).unwrap();
    assert_eq!((features.row(0), features.column(1, 0..1)), (vec![0.25, 3.0], vec![3.0]));
    let doubles = Samples::new("x", &[2], SampleValues::Doubles(vec![0.1, 3.0])).unwrap();
    let features = doubles.features(&[2], scaling).unwrap();
    assert_eq!((features.row(0), features.column(1, 0..1)), (vec![0.1, 3.0], vec![3.0]));
}

#[test]
fn shapes_match_but_for_outer_axes_of_one() {
    let matches = |found: &[usize], wanted: &[usize]| {
        let len = found.iter().product();
        let samples = Samples::new("x", found, SampleValues::Pixels(vec![0; len])).unwrap();
        samples.features(wanted, UNIT).is_ok()
    };
    for (found, wanted) in [
        ([28, 28].as_slice(), [28, 28].as_slice()),
        (&[28, 28], &[1, 28, 28]),
        (&[28, 28], &[28, 28, 1]),
        (&[1, 28, 28], &[28, 28]),
        (&[28, 28, 1], &[1, 28, 28]),
        (&[28, 28], &[784]),
        (&[28, 28], &[1, 784]),
        (&[3, 32, 32], &[3072]),
        (&[], &[1]),
        (&[1, 1], &[]),
    ] {
        assert!(matches(found, wanted), "{found:?} {wanted:?}");
    }
    for (found, wanted) in [
        ([784].as_slice(), [1, 28, 28].as_slice()),
        (&[28, 28], &[28, 27]),
        (&[28, 28], &[783]),
        (&[14, 56], &[28, 28]),
        (&[32, 32, 3], &[3, 32, 32]),
        (&[3, 28, 28], &[1, 28, 28]),
        (&[28, 1, 28], &[28, 28]),
        (&[2], &[]),
    ] {
        assert!(!matches(found, wanted), "{found:?} {wanted:?}");
    }
    let samples = Samples::new("digits.npy", &[28], SampleValues::Pixels(vec![0; 784])).unwrap();
    assert_eq!(
        samples.features(&[1, 28, 28], UNIT).unwrap_err().to_string(),
        "digits.npy: 28 samples of shape 28 (the first axis counts samples), wanted 1x28x28"
    );
    let colour = Samples::new("a.png", &[3, 28, 28], SampleValues::Pixels(vec![0; 2352])).unwrap();
    assert_eq!(
        colour.features(&[1, 28, 28], UNIT).unwrap_err().to_string(),
        "a.png: 1 image in colour (3x28x28), wanted 1x28x28 in grey: convert them, or save them as greyscale"
    );
    let other = colour.features(&[1, 27, 27], UNIT).unwrap_err().problem;
    assert!(matches!(other, SamplesProblem::ShapeMismatch { .. }), "{other}");
    // A wanted shape whose product does not fit is no match, and no overflow.
    assert!(samples.features(&[usize::MAX, 3], UNIT).is_err());
}

#[test]
fn samples_in_memory_are_checked() {
    let new = |shape: &[usize], values| Samples::new("x", shape, values).unwrap_err().problem;
    let three = || SampleValues::Pixels(vec![0; 3]);
    assert!(matches!(new(&[2], three()), SamplesProblem::PartialSample { values: 3, .. }));
    assert!(matches!(new(&[2, 0], three()), SamplesProblem::NoValues { .. }));
    assert!(matches!(new(&[2], SampleValues::Doubles(vec![])), SamplesProblem::NoValues { .. }));
    let nan = SampleValues::Doubles(vec![0.0, f64::NAN]);
    assert_eq!(new(&[2], nan).to_string(), "sample 0, value 1 is NaN, wanted a finite number");
    assert!(matches!(new(&[usize::MAX, 2], three()), SamplesProblem::TooLarge { .. }));
}

#[test]
fn reads_labels_of_each_kind() {
    assert_eq!(labels_of(&idx(0x08, &[3], &[7, 0, 255])), [7, 0, 255]);
    assert_eq!(labels_of(&gzipped(&idx(0x0c, &[1], &[0, 0, 1, 0]))), [256]);
    assert_eq!(labels_of(made!("int64.npy")), [7, 2, 1, 0]);
    for text in ["3\n1\n4\n", "label\n3\n1\n4", "\u{feff}\"klass nr\"\r\n\"3\"\r\n 1\r\n4\r\n\r\n", "3\n1\n04"] {
        assert_eq!(labels_of(text.as_bytes()), [3, 1, 4], "{text:?}");
    }
    for (element, bytes) in [
        ("|u1", vec![200u8]),
        ("|i1", vec![100]),
        ("<u2", vec![1, 2]),
        (">i2", vec![1, 2]),
        ("<u4", vec![1, 2, 3, 4]),
        (">i4", vec![1, 2, 3, 4]),
        ("<u8", vec![1, 2, 3, 4, 0, 0, 0, 0]),
    ] {
        let header = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': (1,)}}");
        let mut digits = bytes.clone();
        if element.starts_with('<') {
            digits.reverse();
        }
        let wanted = digits.iter().fold(0, |sum, &digit| sum * 256 + usize::from(digit));
        assert_eq!(labels_of(&npy_with(&header, &bytes)), [wanted], "{element}");
    }
}

#[test]
fn refuses_labels_with_the_reason() {
    let (unknown, line) = (
        |bytes: &[u8]| matches!(label_problem(bytes), SamplesProblem::UnknownFormat { .. }),
        |text: &str| match label_problem(text.as_bytes()) {
            SamplesProblem::LabelLine { line, text } => (line, text),
            other => panic!("{text:?}: {other}"),
        },
    );
    assert!(unknown(b""));
    assert!(unknown(b"\x7fELF"));
    assert!(unknown(&grey_png(1, 1, &[0])));
    assert_eq!(line("1\n\n2"), (2, String::new()));
    assert_eq!(line("1\nseven\n"), (2, "seven".to_owned()));
    assert_eq!(line("label\nagain\n1"), (2, "again".to_owned()));
    assert_eq!(line("0,1\n2,3"), (1, "0,1".to_owned()));
    assert_eq!(line("index,label\n0,1"), (1, "index,label".to_owned()));
    assert_eq!(line("-1"), (1, "-1".to_owned()));
    assert_eq!(line("+1"), (1, "+1".to_owned()));
    assert_eq!(line("1.0"), (1, "1.0".to_owned()));
    assert_eq!(line("4294967296"), (1, "4294967296".to_owned()));
    assert_eq!(line(&"x,".repeat(99)).1.len(), 40);
    assert!(matches!(label_problem(b"label\n"), SamplesProblem::NoLabels));
    assert!(matches!(label_problem(&idx(0x08, &[0], &[])), SamplesProblem::NoLabels));
    assert!(matches!(label_problem(&idx(0x08, &[2, 1], &[0, 0])), SamplesProblem::LabelAxes { .. }));
    assert!(matches!(label_problem(&idx(0x0d, &[1], &[0; 4])), SamplesProblem::Elements { .. }));
    assert!(matches!(label_problem(&idx(0x09, &[2], &[1, 0xff])), SamplesProblem::LabelRange { index: 1, value: -1 }));
    // Sixteen bytes are held for each label while it is checked.
    assert!(matches!(label_problem(&idx(0x08, &[(1 << 28) + 1], &[])), SamplesProblem::Truncated { .. }));
    assert!(matches!(label_problem(&gzipped(&idx(0x08, &[(1 << 28) + 1], &[]))), SamplesProblem::TooLarge { .. }));
}

fn valid_inputs() -> Vec<Vec<u8>> {
    let images = idx(0x08, &[2, 2, 2], &[1; 8]);
    vec![
        made!("float32.npy").to_vec(),
        made!("uint8-fortran.npy").to_vec(),
        made!("one.npz").to_vec(),
        made!("two.npz").to_vec(),
        made!("palette.png").to_vec(),
        made!("opaque.png").to_vec(),
        gzipped(&images),
        idx(0x0c, &[2], &[0; 8]),
        images,
        b"label\n1\n2\n".to_vec(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn foreign_bytes_never_panic(
        which in 0..10usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        keep in prop::option::of(any::<prop::sample::Index>()),
        more in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let mut bytes = valid_inputs().swap_remove(which);
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some(keep) = keep {
            bytes.truncate(keep.index(bytes.len()));
        }
        bytes.extend(more);
        if let Ok(samples) = decode(&bytes, "input") {
            prop_assert_eq!(samples.len() * samples.shape().iter().product::<usize>(), samples.values().len());
        }
        let _ = labels::decode_labels(Cursor::new(&bytes), None);
        let _ = labels::decode_labels(Cursor::new(&bytes), Some("labels"));
    }

    #[test]
    fn random_bytes_after_a_magic_never_panic(
        magic in prop::sample::select(vec![
            b"".as_slice(), b"\x93NUMPY\x01\0", b"\x93NUMPY\x03\0", b"PK\x03\x04", b"\0\0\x08\x02", b"\x1f\x8b\x08\0",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let bytes = [magic, &rest].concat();
        let _ = decode(&bytes, "input");
        let _ = labels::decode_labels(Cursor::new(&bytes), None);
    }

    #[test]
    fn chunks_and_columns_agree_with_rows(
        (count, width, values) in (1..20usize, 1..6usize)
            .prop_flat_map(|(n, w)| (Just(n), Just(w), prop::collection::vec(any::<u8>(), n * w))),
        size in 1..25usize,
    ) {
        let samples = Samples::new("x", &[width], SampleValues::Pixels(values)).unwrap();
        let scaling = Scaling { scale: 1.0 / 255.0, offset: 0.25 };
        let features = samples.features(&[width], scaling).unwrap();
        let rows: Vec<Vec<f64>> = (0..count).map(|sample| features.row(sample)).collect();
        let mut next = 0;
        for chunk in features.chunks(NonZeroUsize::new(size).unwrap()) {
            prop_assert_eq!(chunk.first, next);
            prop_assert!(chunk.rows >= 1 && chunk.rows <= size);
            prop_assert_eq!(chunk.values, rows[next..next + chunk.rows].concat());
            next += chunk.rows;
        }
        prop_assert_eq!(next, count);
        for feature in 0..width {
            let column: Vec<f64> = rows.iter().map(|row| row[feature]).collect();
            prop_assert_eq!(features.column(feature, 0..count), column);
        }
    }

    #[test]
    fn column_major_files_read_as_row_major(
        shape in prop::collection::vec(1..5usize, 1..4),
    ) {
        // The value at each place tells the place, so the file can be written by definition.
        let len: usize = shape.iter().product();
        let mut file = vec![0; len];
        for flat in 0..len {
            let (mut rest, mut offset, mut stride) = (flat, 0, len);
            for &axis in shape.iter().rev() {
                stride /= axis;
                offset += rest % axis * stride;
                rest /= axis;
            }
            file[offset] = flat as u8;
        }
        let axes: String = shape.iter().map(|axis| format!("{axis},")).collect();
        let header = format!("{{'descr': '|u1', 'fortran_order': True, 'shape': ({axes})}}");
        let samples = ok(&npy_with(&header, &file));
        prop_assert_eq!(samples.values(), &SampleValues::Pixels((0..len as u8).collect()));
    }
}
