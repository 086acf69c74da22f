//! Tables of text: comma, semicolon or tab between cells, one row a sample, plain or gzip.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};
use flate2::read::MultiGzDecoder;

use super::{SamplesError, SamplesProblem};

/// The longest table that is read, in bytes of text.
const MAX_TEXT: u64 = 1 << 28;
/// Most rows: a short row takes many times its text while it is read.
const MAX_ROWS: usize = 1 << 23;
/// Most columns, one-hot ones included.
const MAX_COLUMNS: usize = 1 << 16;
/// What stands for a missing value.
const MISSING: [&str; 5] = ["", "?", "NA", "NaN", "nan"];

/// What to do with rows that lack a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// They are an error.
    Refuse,
    /// They are left out.
    DropRow,
}

/// The values of one column, one a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Finite numbers.
    Numbers(Vec<f64>),
    /// Words, as places in a sorted list.
    Words {
        /// The words that occur, sorted.
        words: Vec<String>,
        /// The place of each row's word.
        places: Vec<u32>,
    },
}

/// Columns of equal length, at least one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    names: Vec<String>,
    columns: Vec<Column>,
    rows: usize,
    dropped: usize,
}

/// Reads a table. A column whose cells are all numbers is one of numbers, any other one of words. The first row is a heading
/// if it has a word above a column of numbers, or if no other row has any of its words and all columns are words.
///
/// # Errors
/// [`SamplesError`] names the file and the line or row.
pub fn read_table(path: impl AsRef<Path>, missing: Missing) -> Result<Table, SamplesError> {
    let path = path.as_ref();
    let open = || decode(BufReader::new(File::open(path)?), missing);
    open().map_err(|problem| problem.at(path))
}

/// Reads a table from the bytes of a file. Errors will name `origin`.
///
/// # Errors
/// [`SamplesError`], as [`read_table`].
pub fn decode_table(bytes: &[u8], origin: impl AsRef<Path>, missing: Missing) -> Result<Table, SamplesError> {
    decode(Cursor::new(bytes), missing).map_err(|problem| problem.at(origin.as_ref()))
}

impl Table {
    /// The headings, or the numbers of the columns from 1.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The columns in the order of the file.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The number of rows, at least one.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Rows that were left out because they lack a value.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// The place of a column, by heading, or by number from 1; `-1` is the last.
    fn place(&self, wanted: &str) -> Result<usize, SamplesProblem> {
        let count = self.columns.len();
        let by_number = |number: i64| match number {
            1.. => usize::try_from(number - 1).ok(),
            _ => count.checked_sub(usize::try_from(number.unsigned_abs()).ok()?).filter(|place| *place < count),
        };
        let named = self.names.iter().position(|name| name == wanted);
        let place = named.or_else(|| by_number(wanted.parse().ok()?));
        let missing = || SamplesProblem::NoSuchColumn { wanted: wanted.to_owned(), found: self.names.clone() };
        place.filter(|place| *place < count).ok_or_else(missing)
    }

    /// Takes a column out as labels: the class of each row, and the names of the classes in their order. Numbers are
    /// ordered as numbers.
    ///
    /// # Errors
    /// [`SamplesProblem::NoSuchColumn`] without such a column.
    pub fn take_labels(&mut self, column: &str) -> Result<(Vec<usize>, Vec<String>), SamplesProblem> {
        let place = self.place(column)?;
        self.names.remove(place);
        match self.columns.remove(place) {
            Column::Words { words, places } => Ok((places.into_iter().map(|place| place as usize).collect(), words)),
            Column::Numbers(numbers) => {
                // Zero has two signs and is one class.
                let numbers: Vec<f64> = numbers.into_iter().map(|number| number + 0.0).collect();
                let mut classes = numbers.clone();
                classes.sort_by(f64::total_cmp);
                classes.dedup();
                let class = |number: &f64| classes.partition_point(|class| class.total_cmp(number).is_lt());
                Ok((numbers.iter().map(class).collect(), classes.iter().map(f64::to_string).collect()))
            }
        }
    }

    /// Takes a column away, such as an identifier.
    ///
    /// # Errors
    /// [`SamplesProblem::NoSuchColumn`] without such a column.
    pub fn remove(&mut self, column: &str) -> Result<(), SamplesProblem> {
        let place = self.place(column)?;
        self.names.remove(place);
        self.columns.remove(place);
        Ok(())
    }

    /// Rows of numbers, one after the other, and their number of columns. A column of words becomes one column a word, one
    /// where the row has it and zero elsewhere.
    ///
    /// # Errors
    /// [`SamplesProblem`] if no column is left, or too many come out.
    pub fn features(&self) -> Result<(Vec<f64>, usize), SamplesProblem> {
        let widths = self.columns.iter().map(|column| match column {
            Column::Numbers(_) => 1,
            Column::Words { words, .. } => words.len(),
        });
        let width: usize = widths.sum();
        if width == 0 {
            return Err(SamplesProblem::NoRows);
        }
        let bytes = (width as u64).saturating_mul(self.rows as u64).saturating_mul(8);
        if width > MAX_COLUMNS || bytes > super::MAX_BYTES {
            return Err(SamplesProblem::TooLarge { shape: super::Shape::from(vec![self.rows, width]) });
        }
        let mut out = Vec::with_capacity(self.rows * width);
        for row in 0..self.rows {
            for column in &self.columns {
                match column {
                    Column::Numbers(numbers) => out.push(numbers[row]),
                    Column::Words { words, places } => {
                        out.extend((0..words.len()).map(|word| f64::from(u8::from(word == places[row] as usize))));
                    }
                }
            }
        }
        Ok((out, width))
    }
}

fn decode(mut source: impl Read, missing: Missing) -> Result<Table, SamplesProblem> {
    let mut start = [0; 2];
    let len = super::read_up_to(&mut source, &mut start)?;
    let is_gzip = start == [0x1f, 0x8b];
    let whole = Cursor::new(start[..len].to_vec()).chain(source);
    let mut text = Vec::new();
    if is_gzip {
        MultiGzDecoder::new(whole).take(MAX_TEXT + 1).read_to_end(&mut text)?;
    } else {
        whole.take(MAX_TEXT + 1).read_to_end(&mut text)?;
    }
    if text.len() as u64 > MAX_TEXT {
        return Err(SamplesProblem::TableTooLong { limit: MAX_TEXT });
    }
    let records = records(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text))?;
    let Some(first) = records.first() else { return Err(SamplesProblem::NoRows) };
    let with_heading = has_heading(&records);
    let number_names = || (1..=first.len()).map(|number| number.to_string()).collect();
    let names: Vec<String> = if with_heading { first.iter().map(str::to_owned).collect() } else { number_names() };
    let rows = &records[usize::from(with_heading)..];
    let mut kept = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        match row.iter().position(is_missing) {
            None => kept.push(row),
            Some(column) if missing == Missing::Refuse => {
                return Err(SamplesProblem::MissingValue { row: index + 1, column: names[column].clone() });
            }
            Some(_) => {}
        }
    }
    if kept.is_empty() {
        return Err(SamplesProblem::NoRows);
    }
    let columns = (0..names.len()).map(|place| column(&kept, place)).collect();
    Ok(Table { names, columns, rows: kept.len(), dropped: rows.len() - kept.len() })
}

fn records(text: &[u8]) -> Result<Vec<StringRecord>, SamplesProblem> {
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let count = |delimiter: u8| line.iter().filter(|&&byte| byte == delimiter).count();
    // The first of the most frequent; a single column has none.
    let delimiter = [b'\t', b';', b','].into_iter().max_by_key(|&delimiter| count(delimiter)).unwrap_or(b',');
    let mut reader = ReaderBuilder::new().has_headers(false).delimiter(delimiter).trim(Trim::All).from_reader(text);
    let complaint = |error: csv::Error| SamplesProblem::Table { problem: error.to_string() };
    let mut records = Vec::new();
    for record in reader.records() {
        if records.len() > MAX_ROWS {
            return Err(SamplesProblem::TooManyRows { limit: MAX_ROWS });
        }
        records.push(record.map_err(complaint)?);
    }
    Ok(records)
}

fn is_missing(cell: &str) -> bool {
    MISSING.contains(&cell)
}

fn number(cell: &str) -> Option<f64> {
    cell.parse::<f64>().ok().filter(|number| number.is_finite())
}

fn has_heading(records: &[StringRecord]) -> bool {
    let [first, rest @ ..] = records else { return false };
    if rest.is_empty() {
        return false;
    }
    let is_number = |cell: &str| number(cell).is_some();
    let numeric = |place: usize| rest.iter().all(|row| row.get(place).is_some_and(|c| is_number(c) || is_missing(c)));
    let numeric: Vec<bool> = (0..first.len()).map(numeric).collect();
    let above_numbers =
        first.iter().zip(&numeric).any(|(cell, numeric)| *numeric && !is_number(cell) && !is_missing(cell));
    let stands_alone = |(place, cell)| rest.iter().all(|row| row.get(place) != Some(cell));
    above_numbers || !numeric.contains(&true) && first.iter().enumerate().all(stands_alone)
}

fn column(rows: &[&StringRecord], place: usize) -> Column {
    let cells = || rows.iter().map(|row| row.get(place).unwrap_or_default());
    if let Some(numbers) = cells().map(number).collect() {
        return Column::Numbers(numbers);
    }
    let mut words: Vec<&str> = cells().collect();
    words.sort_unstable();
    words.dedup();
    // Fewer words than rows, and rows are bounded by the text.
    let places = cells().map(|cell| words.partition_point(|word| *word < cell) as u32).collect();
    Column::Words { words: words.into_iter().map(str::to_owned).collect(), places }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(text: &str) -> Table {
        decode_table(text.as_bytes(), "table.csv", Missing::Refuse).unwrap_or_else(|error| panic!("{error}"))
    }

    fn problem(text: &[u8]) -> SamplesProblem {
        decode_table(text, "table.csv", Missing::Refuse).unwrap_err().problem
    }

    #[test]
    fn numbers_words_and_headings_are_told_apart() {
        for text in [
            "age,job,rich\n39, clerk ,0\n50,\"sales, all\",1\n38,clerk,0\n",
            "\u{feff}age;job;rich\r\n39;clerk;0\r\n50;sales, all;1\r\n38;clerk;0",
            "age\tjob\trich\n39\tclerk\t0\n50\tsales, all\t1\n38\tclerk\t0\n\n",
        ] {
            let mut table = table(text);
            assert_eq!(table.names(), ["age", "job", "rich"], "{text:?}");
            assert_eq!((table.rows(), table.dropped()), (3, 0));
            assert_eq!(table.columns()[0], Column::Numbers(vec![39.0, 50.0, 38.0]));
            let words = ["clerk", "sales, all"].map(str::to_owned).to_vec();
            assert_eq!(table.columns()[1], Column::Words { words, places: vec![0, 1, 0] });
            assert_eq!(table.take_labels("rich").unwrap(), (vec![0, 1, 0], vec!["0".to_owned(), "1".to_owned()]));
            assert_eq!(table.features().unwrap(), (vec![39.0, 1.0, 0.0, 50.0, 0.0, 1.0, 38.0, 1.0, 0.0], 3));
        }
        assert_eq!(table("1,2\n3,4\n").names(), ["1", "2"]);
        assert_eq!(table("a,b\na,c\n").rows(), 2);
        assert_eq!(table("name,job\nann,clerk\nbob,sales\n").rows(), 2);
        assert_eq!(table("5\n").rows(), 1);
    }

    #[test]
    fn columns_are_found_by_name_and_by_number() {
        let mut numbers = table("5,-0.0,7\n5,0,8\n6,-2,7\n");
        assert_eq!(numbers.take_labels("2").unwrap(), (vec![1, 1, 0], vec!["-2".to_owned(), "0".to_owned()]));
        numbers.remove("-1").unwrap();
        assert_eq!(numbers.features().unwrap(), (vec![5.0, 5.0, 6.0], 1));
        for wanted in ["0", "-2", "2", "x", ""] {
            let error = numbers.remove(wanted).unwrap_err();
            assert!(matches!(error, SamplesProblem::NoSuchColumn { .. }), "{wanted} {error}");
        }
        numbers.remove("1").unwrap();
        assert!(matches!(numbers.features(), Err(SamplesProblem::NoRows)));
    }

    #[test]
    fn rows_without_a_value_are_refused_or_left_out() {
        let text = "a,b\n1,2\n3,?\n,4\n5,6\n";
        assert!(matches!(problem(text.as_bytes()), SamplesProblem::MissingValue { row: 2, column } if column == "b"));
        let table = decode_table(text.as_bytes(), "table.csv", Missing::DropRow).unwrap();
        assert_eq!((table.rows(), table.dropped()), (2, 2));
        assert_eq!(table.features().unwrap(), (vec![1.0, 2.0, 5.0, 6.0], 2));
        assert!(matches!(
            decode_table(b"?,1\n", "table.csv", Missing::DropRow).unwrap_err().problem,
            SamplesProblem::NoRows
        ));
    }

    #[test]
    fn what_is_no_table_is_refused() {
        assert!(matches!(problem(b""), SamplesProblem::NoRows));
        assert!(matches!(problem(b"1,2\n3\n"), SamplesProblem::Table { .. }));
        assert!(matches!(problem(b"1,\xff\n"), SamplesProblem::Table { .. }));
        assert!(matches!(problem(b"\x1f\x8bno gzip"), SamplesProblem::Io(_)));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(prop::sample::select(b"1a,;\t\n\"?.-e\xff\x1f\x8b".to_vec()), 0..60)) {
            for missing in [Missing::Refuse, Missing::DropRow] {
                if let Ok(mut table) = decode_table(&bytes, "table.csv", missing) {
                    let (values, width) = table.features().unwrap();
                    prop_assert_eq!(values.len(), width * table.rows());
                    prop_assert!(values.iter().all(|value| value.is_finite()));
                    let (labels, classes) = table.take_labels("-1").unwrap();
                    prop_assert!(labels.len() == table.rows() && labels.iter().all(|label| *label < classes.len()));
                }
            }
        }
    }
}
