use std::io::{self, Write};
use std::path::Path;

use super::{NewFile, OutputError};

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text: a heading, then a line for each row with its name or number, its class and its values.
    Csv,
    /// NumPy, `float32`, shape `(rows, columns)`.
    NpySingles,
    /// NumPy, `float64`, shape `(rows, columns)`.
    NpyDoubles,
}

impl Format {
    /// The format that a path asks for: `.csv` is text, and so is `-`, which stands for standard output; `.npy` is NumPy
    /// in double precision.
    ///
    /// # Errors
    /// [`OutputError::UnknownFormat`].
    pub fn of(path: &Path) -> Result<Format, OutputError> {
        let end = path.extension().unwrap_or_default();
        if path.as_os_str() == "-" || end.eq_ignore_ascii_case("csv") {
            Ok(Format::Csv)
        } else if end.eq_ignore_ascii_case("npy") {
            Ok(Format::NpyDoubles)
        } else {
            Err(OutputError::UnknownFormat { path: path.to_owned() })
        }
    }
}

/// What a model said: a row of values for each sample, in the order of the samples.
#[derive(Clone, Copy, Debug)]
pub struct Results<'a> {
    values: &'a [f64],
    columns: usize,
    names: Option<&'a [String]>,
}

impl<'a> Results<'a> {
    /// Row-major `values` in rows of `columns`, the logits of the classes. Zero columns are an error.
    ///
    /// # Errors
    /// [`OutputError::PartialRow`].
    pub fn new(values: &'a [f64], columns: usize) -> Result<Results<'a>, OutputError> {
        if columns == 0 || !values.len().is_multiple_of(columns) {
            return Err(OutputError::PartialRow { values: values.len(), columns });
        }
        Ok(Results { values, columns, names: None })
    }

    /// The same rows, each with a name that the CSV shows in place of its number.
    ///
    /// # Errors
    /// [`OutputError::Names`] unless there is one name a row.
    pub fn with_names(self, names: &'a [String]) -> Result<Results<'a>, OutputError> {
        if names.len() != self.rows() {
            return Err(OutputError::Names { names: names.len(), rows: self.rows() });
        }
        Ok(Results { names: Some(names), ..self })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.columns
    }

    /// The class of each row: the place of its largest value, the first of equals.
    pub fn predictions(&self) -> impl Iterator<Item = usize> + 'a {
        self.values.chunks_exact(self.columns).map(largest)
    }

    /// Writes the rows to the file `path`. `replace` allows overwriting one.
    ///
    /// # Errors
    /// [`OutputError`], as [`NewFile::write`].
    pub fn save(&self, path: &Path, format: Format, replace: bool) -> Result<(), OutputError> {
        NewFile::at(path).replace_existing(replace).write(|file| self.write(file, format))
    }

    /// Writes the rows to `writer`.
    ///
    /// # Errors
    /// What `writer` returns.
    pub fn write(&self, writer: &mut impl Write, format: Format) -> io::Result<()> {
        match format {
            Format::Csv => self.write_csv(writer),
            Format::NpySingles => {
                self.write_npy_header(writer, "<f4")?;
                self.values.iter().try_for_each(|&x| writer.write_all(&(x as f32).to_le_bytes()))
            }
            Format::NpyDoubles => {
                self.write_npy_header(writer, "<f8")?;
                self.values.iter().try_for_each(|x| writer.write_all(&x.to_le_bytes()))
            }
        }
    }

    fn write_csv(&self, writer: &mut impl Write) -> io::Result<()> {
        // A single value is a score, and the largest of one says nothing.
        let classes = self.columns > 1;
        write!(writer, "{}", if self.names.is_some() { "file" } else { "index" })?;
        if classes {
            write!(writer, ",prediction")?;
        }
        for column in 0..self.columns {
            write!(writer, ",logit_{column}")?;
        }
        writeln!(writer)?;
        for (row, values) in self.values.chunks_exact(self.columns).enumerate() {
            match self.names {
                Some(names) => write_cell(writer, &names[row])?,
                None => write!(writer, "{row}")?,
            }
            if classes {
                write!(writer, ",{}", largest(values))?;
            }
            // The shortest digits that read back as the same number.
            values.iter().try_for_each(|value| write!(writer, ",{value:?}"))?;
            writeln!(writer)?;
        }
        Ok(())
    }

    /// Version 1.0 of `numpy.lib.format`: the values start at a multiple of 64 bytes.
    fn write_npy_header(&self, writer: &mut impl Write, descr: &str) -> io::Result<()> {
        let (rows, columns) = (self.rows(), self.columns);
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
        // Ten bytes stand before the dictionary, a line feed ends it: at most 118 bytes, so one byte holds the length.
        let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
        writer.write_all(b"\x93NUMPY\x01\x00")?;
        writer.write_all(&[length as u8, 0])?;
        writeln!(writer, "{header:<width$}", width = length - 1)
    }
}

/// The place of the largest number, the first of several: the class that outputs stand for.
pub fn largest(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, index| if values[index] > values[best] { index } else { best })
}

/// Quotes a cell where RFC 4180 wants it.
fn write_cell(writer: &mut impl Write, text: &str) -> io::Result<()> {
    if text.contains([',', '"', '\r', '\n']) {
        write!(writer, "\"{}\"", text.replace('"', "\"\""))
    } else {
        write!(writer, "{text}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::samples::{self, SampleValues};

    fn written(results: Results<'_>, format: Format) -> Vec<u8> {
        let mut bytes = Vec::new();
        results.write(&mut bytes, format).unwrap();
        bytes
    }

    #[test]
    fn csv_has_a_heading_a_class_and_every_digit() {
        let values = [0.1, -2.0, 1e-7, 0.1 + 0.2, 5.0, 5.0];
        let results = Results::new(&values, 3).unwrap();
        let wanted = "index,prediction,logit_0,logit_1,logit_2\n0,0,0.1,-2.0,1e-7\n1,1,0.30000000000000004,5.0,5.0\n";
        assert_eq!(String::from_utf8(written(results, Format::Csv)).unwrap(), wanted);
        assert_eq!(results.predictions().collect::<Vec<_>>(), [0, 1]);

        let names = ["7.png".to_owned(), "a,\"b\"\n.png".to_owned()];
        let named = results.with_names(&names).unwrap();
        let wanted = "file,prediction,logit_0,logit_1,logit_2\n7.png,0,0.1,-2.0,1e-7\n\
                      \"a,\"\"b\"\"\n.png\",1,0.30000000000000004,5.0,5.0\n";
        assert_eq!(String::from_utf8(written(named, Format::Csv)).unwrap(), wanted);

        let scores = written(Results::new(&values[..2], 1).unwrap(), Format::Csv);
        assert_eq!(String::from_utf8(scores).unwrap(), "index,logit_0\n0,0.1\n1,-2.0\n");
    }

    #[test]
    fn npy_is_what_numpy_itself_writes() {
        // numpy.save of numpy.arange(6, dtype="<f4").reshape(2, 3) - 2.5, NumPy 2.4.6.
        let made = include_bytes!("../samples/testdata/float32.npy");
        let values = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5];
        assert_eq!(written(Results::new(&values, 3).unwrap(), Format::NpySingles), made);
    }

    #[test]
    fn shapes_are_checked() {
        let partial = |columns| Results::new(&[0.0; 5], columns).unwrap_err();
        assert!(matches!(partial(2), OutputError::PartialRow { values: 5, columns: 2 }));
        assert!(matches!(partial(0), OutputError::PartialRow { .. }));
        let names = ["a".to_owned()];
        let error = Results::new(&[0.0; 4], 2).unwrap().with_names(&names).unwrap_err();
        assert!(matches!(error, OutputError::Names { names: 1, rows: 2 }));
    }

    #[test]
    fn the_path_tells_the_format() {
        let of = |path: &str| Format::of(Path::new(path)).ok();
        assert_eq!(of("a.csv"), Some(Format::Csv));
        assert_eq!(of("a.CSV"), Some(Format::Csv));
        assert_eq!(of("-"), Some(Format::Csv));
        assert_eq!(of("dir/a.npy"), Some(Format::NpyDoubles));
        assert_eq!(of("a.txt"), None);
        assert_eq!(of("npy"), None);
    }

    #[test]
    fn results_are_saved_once() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("r.npy");
        let results = Results::new(&[1.0, 2.0], 2).unwrap();
        results.save(&path, Format::NpyDoubles, false).unwrap();
        assert!(matches!(results.save(&path, Format::Csv, false), Err(OutputError::Exists { .. })));
        assert_eq!(*samples::read(&path).unwrap().values(), SampleValues::Doubles(vec![1.0, 2.0]));
        results.save(&path, Format::Csv, true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "index,prediction,logit_0,logit_1\n0,1,1.0,2.0\n");
    }

    proptest! {
        #[test]
        fn values_read_back(values in prop::collection::vec(prop::num::f64::NORMAL, 1..60), columns in 1..4usize) {
            let values = &values[..values.len() / columns * columns];
            prop_assume!(!values.is_empty());
            let results = Results::new(values, columns).unwrap();
            let doubles = samples::decode(&written(results, Format::NpyDoubles), "x").unwrap();
            prop_assert_eq!(doubles.shape(), [columns]);
            prop_assert_eq!(doubles.values(), &SampleValues::Doubles(values.to_vec()));

            let text = String::from_utf8(written(results, Format::Csv)).unwrap();
            let skip = if columns > 1 { 2 } else { 1 };
            let read: Vec<f64> = text
                .lines()
                .skip(1)
                .flat_map(|line| line.split(',').skip(skip))
                .map(|cell| cell.parse().unwrap())
                .collect();
            prop_assert_eq!(read, values);
        }
    }
}
