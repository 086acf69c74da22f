//! The service's half: it holds a program and clients' evaluation keys, and has no way to decrypt.

use std::io::{Read, Write};

use nightloom_he::wire as scheme;
use nightloom_he::{CkksParams, RelinearizationKey};
use nightloom_program::wire::{
    self, BatchHeader, program_id, read_batch_header, read_program, response_ciphertext_bytes, write_batch_header,
};
use nightloom_program::{ExecuteError, Executor, Program, ProgramId};
use nightloom_wire::{DecodeError, Kind, Writer};

/// A program, ready to serve.
#[derive(Debug)]
pub struct Server {
    program: Program,
    id: ProgramId,
    insecure: bool,
}

/// Why the service's half failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Bytes that are not what they should be.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The request does not fit the program.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// Writing failed.
    #[error("cannot write: {0}")]
    Write(#[source] std::io::Error),
    /// A request for another program.
    #[error("the request is for program {found}, this is {wanted}: encrypt with this program's .client file")]
    Foreign {
        /// The program in the request.
        found: ProgramId,
        /// This program.
        wanted: ProgramId,
    },
}

impl Server {
    /// Reads a program (`NAME.server`).
    ///
    /// # Errors
    /// [`ServerError::Decode`].
    pub fn read(mut source: impl Read) -> Result<Self, ServerError> {
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes).map_err(DecodeError::Io)?;
        let (program, insecure) = read_program(&*bytes)?;
        Ok(Self { program, id: program_id(&bytes), insecure })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Its identifier.
    pub fn id(&self) -> ProgramId {
        self.id
    }

    /// Whether its owner accepted parameters below 128 bits of security.
    pub fn is_insecure(&self) -> bool {
        self.insecure
    }

    /// The parameters.
    pub fn params(&self) -> &CkksParams {
        self.program.params()
    }

    /// Reads a client's evaluation keys.
    ///
    /// # Errors
    /// [`ServerError::Decode`].
    pub fn read_evaluation_keys(&self, source: impl Read) -> Result<RelinearizationKey, ServerError> {
        Ok(scheme::read_relinearization_key(source, self.params())?)
    }

    /// Runs the program on every batch of a request and writes the response. `progress` is called with the part of the
    /// work that is done, from 0 to 1. One batch is in memory at a time.
    ///
    /// # Errors
    /// [`ServerError`]; what was written by then is useless.
    pub fn run(
        &self,
        request: impl Read,
        key: Option<&RelinearizationKey>,
        threads: usize,
        sink: impl Write,
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<BatchHeader, ServerError> {
        let (header, mut reader) = read_batch_header(request, Kind::Request, self.params())?;
        if header.program != self.id {
            return Err(ServerError::Foreign { found: header.program, wanted: self.id });
        }
        let wanted = self.program.input_type().features;
        if header.ciphertexts != wanted {
            return Err(ExecuteError::Inputs { found: header.ciphertexts, wanted }.into());
        }
        let executor = Executor::new(&self.program, key, threads)?;
        let output = self.program.output_type();
        let response = BatchHeader { ciphertexts: output.features, ..header };
        let each = response_ciphertext_bytes(self.params(), output.level, &output.scale);
        let mut writer = Writer::new(sink);
        write_batch_header(&mut writer, Kind::Response, self.params(), &response, each).map_err(ServerError::Write)?;
        for batch in 0..header.batches {
            let ciphertexts = wire::read_batch(&mut reader, self.params(), &header, executor.threads())?;
            let overall = |part| progress((batch as f64 + part) / header.batches as f64);
            for ciphertext in executor.run(ciphertexts, &overall)? {
                scheme::write_ciphertext(&mut writer, &ciphertext).map_err(ServerError::Write)?;
            }
        }
        reader.finish()?;
        Ok(response)
    }
}
