//! Sparse matrices in compressed rows.

/// A matrix in compressed sparse rows; the columns of a row ascend and no stored entry is zero.
#[derive(Debug, Clone, PartialEq)]
pub struct SparseMatrix {
    columns: usize,
    offsets: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f64>,
}

impl SparseMatrix {
    /// A matrix without rows, to be filled by [`SparseMatrix::push_row`].
    pub fn new(columns: usize) -> SparseMatrix {
        SparseMatrix { columns, offsets: vec![0], indices: vec![], values: vec![] }
    }

    /// The identity on `size` elements, `first` columns to the right, among `columns` columns.
    ///
    /// # Errors
    /// [`MatrixError::Column`] if it does not fit.
    pub fn shifted_identity(size: usize, first: usize, columns: usize) -> Result<SparseMatrix, MatrixError> {
        let mut matrix = SparseMatrix::new(columns);
        for i in 0..size {
            matrix.push_row([(first + i, 1.0)])?;
        }
        Ok(matrix)
    }

    /// Appends a row of `(column, value)` pairs; zero values are left out.
    ///
    /// # Errors
    /// [`MatrixError`] if the columns do not ascend strictly or one of them is not below [`SparseMatrix::columns`] and
    /// `2^32`. The matrix is then as before.
    pub fn push_row(&mut self, row: impl IntoIterator<Item = (usize, f64)>) -> Result<(), MatrixError> {
        let start = self.indices.len();
        let mut free = 0;
        for (column, value) in row {
            let error = if column >= self.columns {
                Some(MatrixError::Column { column, columns: self.columns })
            } else if column < free {
                Some(MatrixError::Order { column, row: self.rows() })
            } else {
                None
            };
            let index = u32::try_from(column).map_err(|_| MatrixError::Column { column, columns: 1 << 32 });
            match (error, index) {
                (None, Ok(index)) => {
                    free = column + 1;
                    if value != 0.0 {
                        self.indices.push(index);
                        self.values.push(value);
                    }
                }
                (Some(error), _) | (None, Err(error)) => {
                    self.indices.truncate(start);
                    self.values.truncate(start);
                    return Err(error);
                }
            }
        }
        self.offsets.push(self.indices.len());
        Ok(())
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of stored entries, all of them nonzero.
    pub fn nonzeros(&self) -> usize {
        self.indices.len()
    }

    /// Columns and values of row `row`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> (&[u32], &[f64]) {
        let range = self.offsets[row]..self.offsets[row + 1];
        (&self.indices[range.clone()], &self.values[range])
    }

    /// The nonzero entries of row `row` as `(column, value)`, columns ascending.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn entries(&self, row: usize) -> impl ExactSizeIterator<Item = (usize, f64)> + '_ {
        let (columns, values) = self.row(row);
        columns.iter().zip(values).map(|(&column, &value)| (column as usize, value))
    }
}

/// Why a row cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatrixError {
    /// A column beyond the last.
    #[error("column {column} of a matrix with {columns} columns")]
    Column {
        /// Column asked for.
        column: usize,
        /// Columns of the matrix.
        columns: usize,
    },
    /// Columns out of order or repeated.
    #[error("column {column} out of order in row {row}")]
    Order {
        /// Column that came too late.
        column: usize,
        /// Row being written.
        row: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_stored_without_zeros() {
        let mut matrix = SparseMatrix::new(4);
        matrix.push_row([(0, 1.5), (2, 0.0), (3, -2.0)]).unwrap();
        matrix.push_row([]).unwrap();
        assert_eq!((matrix.rows(), matrix.columns(), matrix.nonzeros()), (2, 4, 2));
        assert_eq!(matrix.entries(0).collect::<Vec<_>>(), [(0, 1.5), (3, -2.0)]);
        assert_eq!(matrix.entries(1).len(), 0);
    }

    #[test]
    fn bad_rows_change_nothing() {
        let mut matrix = SparseMatrix::shifted_identity(2, 1, 3).unwrap();
        let before = matrix.clone();
        assert_eq!(matrix.push_row([(1, 1.0), (1, 1.0)]), Err(MatrixError::Order { column: 1, row: 2 }));
        assert_eq!(matrix.push_row([(0, 1.0), (3, 1.0)]), Err(MatrixError::Column { column: 3, columns: 3 }));
        assert_eq!(matrix, before);
        assert!(SparseMatrix::shifted_identity(2, 2, 3).is_err());
    }
}
