//! What operations take on a machine: measured once, kept in a small JSON file, read by the planner.

use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use nightloom_program::cost::{CalibrateError, Prices, calibrate};
use nightloom_ring::{RingError, kernels};
use serde::{Deserialize, Serialize};

use crate::bench::{Machine, today};
use crate::output::{NewFile, NewFolder, OutputError};

/// The version of the file's format.
const FORMAT: u32 = 1;
/// More than such a file has.
const MAX_BYTES: u64 = 1 << 16;
/// Prices in nanoseconds beyond this are no machine's.
const MAX_PRICE: f64 = 1e6;

/// The prices of one thread of a machine, and which machine that is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    format: u32,
    /// The name that the processor gives itself.
    pub cpu: String,
    /// Its vector extensions, of those that matter.
    pub features: Vec<String>,
    /// The kernel that computed.
    pub kernel: String,
    /// Day of the measurement in UTC, `YYYY-MM-DD`.
    pub date: String,
    /// Nanoseconds.
    pub prices: Prices,
}

/// Why there are no prices.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// The environment names a kernel that this processor does not have.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The scheme refuses to be measured: a defect.
    #[error(transparent)]
    Calibrate(#[from] CalibrateError),
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is something else, or damaged.
    #[error("{path}: no calibration of a machine: {problem} (nightloom calibrate makes one)")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// There is no folder for caches.
    #[error("no folder to keep the calibration in: neither XDG_CACHE_HOME nor HOME is set; give a file with --output")]
    NoCache,
}

impl Calibration {
    /// Measures this machine with the kernel in use; takes some seconds and half a gigabyte.
    ///
    /// # Errors
    /// [`CalibrationError::Ring`].
    pub fn measure() -> Result<Self, CalibrationError> {
        let kernel = kernels::select()?;
        let (cpu, features) = this_machine();
        let prices = calibrate(kernel)?;
        Ok(Self { format: FORMAT, cpu, features, kernel: kernel.name().to_owned(), date: today(), prices })
    }

    /// Reads what [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// [`CalibrationError::Read`], [`CalibrationError::Malformed`].
    pub fn read(path: &Path) -> Result<Self, CalibrationError> {
        let unreadable = |source| CalibrationError::Read { path: path.to_owned(), source };
        let malformed = |problem: String| CalibrationError::Malformed { path: path.to_owned(), problem };
        let mut text = Vec::new();
        File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut text)).map_err(unreadable)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(malformed(format!("more than {MAX_BYTES} bytes")));
        }
        let found: Self = serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
        if found.format != FORMAT {
            return Err(malformed(format!("format {} where {FORMAT} is wanted", found.format)));
        }
        let Prices { butterfly, multiplication, stream, transfer, read, multiply_accumulate } = found.prices;
        for price in [butterfly, multiplication, stream, transfer, read, multiply_accumulate] {
            if !(0.0..=MAX_PRICE).contains(&price) {
                return Err(malformed(format!("a price of {price} ns, wanted 0 to {MAX_PRICE}")));
            }
        }
        Ok(found)
    }

    /// Writes the file whole or not at all; over an older one only if told so.
    ///
    /// # Errors
    /// [`CalibrationError::Output`].
    pub fn write(&self, path: &Path, replace: bool) -> Result<(), CalibrationError> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        NewFile::at(path).replace_existing(replace).write(|file| file.write_all(text.as_bytes()))?;
        Ok(())
    }

    /// Keeps the calibration for this machine's later compilations, and says where.
    ///
    /// # Errors
    /// [`CalibrationError::NoCache`], [`CalibrationError::Output`].
    pub fn keep(&self) -> Result<PathBuf, CalibrationError> {
        let path = Self::cache_path().ok_or(CalibrationError::NoCache)?;
        if let Some(folder) = path.parent() {
            NewFolder::make(folder)?.keep();
        }
        self.write(&path, true)?;
        Ok(path)
    }

    /// The calibration that was kept for this machine and the kernel in use, if it was.
    pub fn kept() -> Option<Self> {
        let found = Self::read(&Self::cache_path()?).ok()?;
        let (cpu, features) = this_machine();
        let kernel = kernels::select().ok()?.name();
        ((&found.cpu, &found.features, &*found.kernel) == (&cpu, &features, kernel)).then_some(found)
    }

    /// Where calibrations are kept.
    fn cache_path() -> Option<PathBuf> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
        Some(cache.join("nightloom").join("calibration.json"))
    }
}

fn this_machine() -> (String, Vec<String>) {
    let Machine { cpu, features, .. } = Machine::this();
    (cpu, features.into_iter().map(str::to_owned).collect())
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Prices { butterfly, multiplication, stream, transfer, read, multiply_accumulate } = self.prices;
        writeln!(f, "{}, kernel {}, one thread, {}", self.cpu, self.kernel, self.date)?;
        writeln!(f, "{butterfly:>8.3} ns a butterfly of a transform")?;
        writeln!(f, "{multiplication:>8.3} ns a modular multiplication")?;
        writeln!(f, "{stream:>8.3} ns more for a residue of a key or of a weight")?;
        writeln!(f, "{transfer:>8.3} ns more for a residue that is permuted or leaves the cache")?;
        writeln!(f, "{read:>8.3} ns a residue of a request, from its bytes")?;
        write!(f, "{multiply_accumulate:>8.3} ns a multiply-accumulate of an integer matrix")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightloom_program::cost::REFERENCE;

    fn calibration() -> Calibration {
        Calibration {
            format: FORMAT,
            cpu: "a \"fast\" one".into(),
            features: vec!["avx2".into()],
            kernel: "avx2".into(),
            date: "2026-01-02".into(),
            prices: REFERENCE,
        }
    }

    #[test]
    fn calibrations_are_written_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machine.json");
        for _ in 0..2 {
            calibration().write(&path, true).unwrap();
            assert_eq!(Calibration::read(&path).unwrap(), calibration());
        }
    }

    #[test]
    fn what_is_no_calibration_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machine.json");
        assert!(matches!(Calibration::read(&path), Err(CalibrationError::Read { .. })));
        let good = serde_json::to_string(&calibration()).unwrap();
        let prices = |price: f64| {
            let prices = Prices { stream: price, ..REFERENCE };
            serde_json::to_string(&Calibration { prices, ..calibration() }).unwrap()
        };
        for bad in [
            String::new(),
            "[]".into(),
            good.replace("\"format\":1", "\"format\":2"),
            good.replace("\"date\"", "\"dates\""),
            prices(-1.0),
            prices(1e9),
            " ".repeat(1 << 17),
        ] {
            std::fs::write(&path, &bad).unwrap();
            let error = Calibration::read(&path).unwrap_err();
            assert!(matches!(error, CalibrationError::Malformed { .. }), "{bad}: {error}");
        }
    }
}
