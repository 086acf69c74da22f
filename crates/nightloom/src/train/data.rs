//! Files of samples as an agreement wants them.

use std::path::{Path, PathBuf};

use nightloom_fe::agreement::{Agreement, AgreementError, DataForm, Encoding, RawSamples, TargetForm};
use nightloom_fe::learn::data::DataError;
use nightloom_fe::learn::{Dataset, Inputs, Targets};

use crate::samples::{
    Column, Missing, SampleValues, Samples, SamplesError, Scaling, Table, read, read_labels, read_table,
};

/// Where the targets of samples are.
#[derive(Clone, Debug, PartialEq)]
pub enum TargetSource {
    /// Class numbers in a file of their own: IDX, NumPy or text.
    File(PathBuf),
    /// A column of the table: its heading, its number from 1, or `-1` for the last.
    Column(String),
}

/// Why files do not give samples under an agreement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataFileError {
    /// A file cannot be read.
    #[error(transparent)]
    Samples(#[from] SamplesError),
    /// The samples are not those agreed on.
    #[error("{}: {source}", path.display())]
    Agreement {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: AgreementError,
    },
    /// Samples and targets do not go together.
    #[error("{}: {source}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: DataError,
    },
    /// A class that the agreement does not have.
    #[error("{}: class '{found}' is none of the agreement's: {}", path.display(), wanted.join(", "))]
    Class {
        /// The file.
        path: PathBuf,
        /// The class.
        found: String,
        /// Those agreed on.
        wanted: Vec<String>,
    },
    /// A column of words where numbers were agreed on.
    #[error("{}: column '{column}' holds words, wanted numbers", path.display())]
    Words {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
    },
    /// A table of another number of columns.
    #[error(
        "{}: {found} columns besides the target, wanted {wanted}{}",
        path.display(),
        if *found == wanted + 1 { " (if the target is one of them, say which column it is)" } else { "" }
    )]
    Columns {
        /// The file.
        path: PathBuf,
        /// Columns there are.
        found: usize,
        /// Columns agreed on.
        wanted: usize,
    },
    /// Samples without targets, or targets that come in another way.
    #[error("{}: {wanted}", path.display())]
    NoTargets {
        /// The file.
        path: PathBuf,
        /// What would have been right.
        wanted: &'static str,
    },
}

/// Samples before they are integers.
pub struct RawData {
    path: PathBuf,
    values: RawValues,
    /// Samples.
    len: usize,
}

enum RawValues {
    Pixels(Vec<u8>),
    Numbers(Vec<f64>),
}

/// A table whose rows are classified: numbers row by row, and the class of each row.
pub struct LabelledRows {
    /// Numbers, row by row.
    pub rows: Vec<f64>,
    /// Numbers of a row.
    pub columns: usize,
    /// The class of each row, in the order of `classes`.
    pub labels: Vec<usize>,
    /// Names of the classes.
    pub classes: Vec<String>,
}

impl RawData {
    /// The number of samples, at least one.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Always `false`.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The samples as integers under an agreement.
    ///
    /// # Errors
    /// [`DataFileError::Agreement`] if they are of another kind or out of range.
    pub fn inputs(&self, form: &DataForm) -> Result<Inputs, DataFileError> {
        let raw = match &self.values {
            RawValues::Pixels(pixels) => RawSamples::Pixels(pixels),
            RawValues::Numbers(numbers) => RawSamples::Numbers(numbers),
        };
        form.inputs(raw).map_err(|source| DataFileError::Agreement { path: self.path.clone(), source })
    }

    /// The numbers of one row of a table.
    pub fn row(&self, index: usize) -> Vec<f64> {
        let at = |width: usize| index * width..(index + 1) * width;
        match &self.values {
            RawValues::Pixels(pixels) => pixels[at(pixels.len() / self.len)].iter().map(|&x| x.into()).collect(),
            RawValues::Numbers(numbers) => numbers[at(numbers.len() / self.len)].to_vec(),
        }
    }
}

/// Whether a file is read as a table.
pub fn is_table(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    [".csv", ".tsv", ".txt", ".data"].iter().any(|end| name.ends_with(end))
}

/// Reads samples without targets. Of a table, `target` names a column to be left out.
///
/// # Errors
/// [`DataFileError`].
pub fn read_samples(path: &Path, target: Option<&str>, form: &DataForm) -> Result<RawData, DataFileError> {
    if is_table(path) {
        let mut table = read_table(path, Missing::Refuse)?;
        if let Some(target) = target {
            table.remove(target).map_err(|problem| SamplesError { path: path.to_owned(), problem })?;
        }
        return rows(path, &table, form.input.len());
    }
    images(path, form)
}

/// Reads samples with their targets under an agreement.
///
/// # Errors
/// [`DataFileError`].
pub fn read_dataset(
    path: &Path,
    targets: Option<&TargetSource>,
    agreement: &Agreement,
) -> Result<Dataset, DataFileError> {
    let (raw, targets) = read_raw(path, targets, agreement.data())?;
    together(path, raw.inputs(agreement.data())?, targets)
}

/// Reads samples that nothing is to be learned from: their targets are class 0, or zeros. Of a table, `target` names a column to be
/// left out.
///
/// # Errors
/// [`DataFileError`].
pub fn read_unlabelled(path: &Path, target: Option<&str>, agreement: &Agreement) -> Result<Dataset, DataFileError> {
    let form = agreement.data();
    let raw = read_samples(path, target, form)?;
    let targets = match &form.targets {
        TargetForm::Classes(names) => Targets::classes(names.len(), &vec![0; raw.len()]),
        TargetForm::Numbers { .. } => {
            let width = form.targets.width();
            Targets::numbers(width, vec![0.0; width * raw.len()])
        }
    };
    let targets = targets.map_err(|source| DataFileError::Data { path: path.to_owned(), source })?;
    together(path, raw.inputs(form)?, targets)
}

/// Reads samples with their targets before they are integers.
///
/// # Errors
/// [`DataFileError`].
pub fn read_raw(
    path: &Path,
    targets: Option<&TargetSource>,
    form: &DataForm,
) -> Result<(RawData, Targets), DataFileError> {
    let no_targets = |wanted| Err(DataFileError::NoTargets { path: path.to_owned(), wanted });
    match (is_table(path), targets) {
        (true, Some(TargetSource::Column(column))) => {
            let mut table = read_table(path, Missing::Refuse)?;
            let targets = column_targets(path, &mut table, column, form)?;
            Ok((rows(path, &table, form.input.len())?, targets))
        }
        (table, Some(TargetSource::File(labels))) => {
            let raw = if table { read_samples(path, None, form)? } else { images(path, form)? };
            let TargetForm::Classes(names) = &form.targets else {
                return no_targets("the agreement's targets are numbers: give a table and the column that they are in");
            };
            let found = read_labels(labels)?;
            let targets = Targets::classes(names.len(), &found)
                .map_err(|source| DataFileError::Data { path: labels.clone(), source })?;
            Ok((raw, targets))
        }
        (false, Some(TargetSource::Column(_))) => no_targets("only a table has columns: give the labels as a file"),
        (true, None) => no_targets("which column is the target? Give its heading or number"),
        (false, None) => no_targets("the samples need labels: give them as a file"),
    }
}

/// Puts samples and targets together.
///
/// # Errors
/// [`DataFileError::Data`] if there are not as many of both.
pub fn together(path: &Path, inputs: Inputs, targets: Targets) -> Result<Dataset, DataFileError> {
    Dataset::new(inputs, targets).map_err(|source| DataFileError::Data { path: path.to_owned(), source })
}

/// Reads a table of numbers in which one column, the target, names classes.
///
/// # Errors
/// [`DataFileError`].
pub fn read_labelled_rows(path: &Path, target: &str) -> Result<LabelledRows, DataFileError> {
    let mut table = read_table(path, Missing::Refuse)?;
    let at = |problem| SamplesError { path: path.to_owned(), problem };
    let (labels, classes) = table.take_labels(target).map_err(at)?;
    only_numbers(path, &table)?;
    let (rows, columns) = table.features().map_err(at)?;
    Ok(LabelledRows { rows, columns, labels, classes })
}

fn only_numbers(path: &Path, table: &Table) -> Result<(), DataFileError> {
    let words = |(column, _): &(&Column, &String)| matches!(column, Column::Words { .. });
    match table.columns().iter().zip(table.names()).find(words) {
        Some((_, column)) => Err(DataFileError::Words { path: path.to_owned(), column: column.clone() }),
        None => Ok(()),
    }
}

fn rows(path: &Path, table: &Table, wanted: usize) -> Result<RawData, DataFileError> {
    only_numbers(path, table)?;
    let (numbers, found) = table.features().map_err(|problem| SamplesError { path: path.to_owned(), problem })?;
    if found != wanted {
        return Err(DataFileError::Columns { path: path.to_owned(), found, wanted });
    }
    Ok(RawData { path: path.to_owned(), values: RawValues::Numbers(numbers), len: table.rows() })
}

fn column_targets(path: &Path, table: &mut Table, column: &str, form: &DataForm) -> Result<Targets, DataFileError> {
    let at = |problem| SamplesError { path: path.to_owned(), problem };
    let data = |source| DataFileError::Data { path: path.to_owned(), source };
    let (labels, found) = table.take_labels(column).map_err(at)?;
    match &form.targets {
        TargetForm::Classes(names) => {
            let place = |class: &String| {
                names.iter().position(|name| name == class).ok_or_else(|| DataFileError::Class {
                    path: path.to_owned(),
                    found: class.clone(),
                    wanted: names.clone(),
                })
            };
            let places = found.iter().map(place).collect::<Result<Vec<_>, _>>()?;
            let labels: Vec<usize> = labels.into_iter().map(|label| places[label]).collect();
            Targets::classes(names.len(), &labels).map_err(data)
        }
        TargetForm::Numbers { .. } => {
            let number = |class: &String| {
                class
                    .parse::<f64>()
                    .map_err(|_| DataFileError::Words { path: path.to_owned(), column: column.to_owned() })
            };
            let numbers = found.iter().map(number).collect::<Result<Vec<_>, _>>()?;
            Targets::numbers(1, labels.into_iter().map(|label| numbers[label]).collect()).map_err(data)
        }
    }
}

fn images(path: &Path, form: &DataForm) -> Result<RawData, DataFileError> {
    let samples: Samples = read(path)?;
    let shape = form.input;
    let wanted: &[usize] = if (shape.height, shape.width) == (1, 1) {
        &[shape.channels]
    } else {
        &[shape.channels, shape.height, shape.width]
    };
    // Asks for nothing but the comparison of the shapes.
    let features = samples.features(wanted, Scaling { scale: 1.0, offset: 0.0 })?;
    let len = features.len();
    let pixels = !matches!(form.encoding, Encoding::Columns(_) | Encoding::Bins(_));
    let values = match samples.values() {
        SampleValues::Pixels(bytes) if pixels => RawValues::Pixels(bytes.clone()),
        _ => RawValues::Numbers(features.rows(0..len)),
    };
    Ok(RawData { path: path.to_owned(), values, len })
}
