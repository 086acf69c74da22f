//! The service's half: it holds a program and clients' evaluation keys, and has no way to decrypt.

use std::io::{Read, Write};

use nightloom_he::wire as scheme;
use nightloom_he::{Ciphertext, CkksParams, CompressedCiphertext, EvaluationKeys};
use nightloom_program::wire::{
    self, BatchHeader, PackedBatch, program_id, read_batch_header, read_program, write_batch_header,
};
use nightloom_program::{
    Compression, DEFAULT_WEIGHT_BYTES, EncryptedModel, ExecuteError, Executor, Program, ProgramId,
};
use nightloom_wire::{DecodeError, Kind, Writer};

/// A program, ready to serve.
#[derive(Debug)]
pub struct Server {
    executor: Executor,
    id: ProgramId,
    insecure: bool,
}

/// Bytes of keys that a client may send beyond twice what the program needs.
const MAX_SURPLUS: u64 = 1 << 26;

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
    /// An encrypted model for another program.
    #[error("the encrypted model is for program {found}, this is {wanted}: encrypt this program's .owner file")]
    ForeignModel {
        /// The program in the model.
        found: ProgramId,
        /// This program.
        wanted: ProgramId,
    },
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
    /// Reads a program (`NAME.server`) and prepares it for a number of threads.
    ///
    /// # Errors
    /// [`ServerError::Decode`], [`ServerError::Execute`] if threads cannot be started.
    pub fn read(source: impl Read, threads: usize) -> Result<Self, ServerError> {
        Self::read_with(source, threads, DEFAULT_WEIGHT_BYTES)
    }

    /// As [`read`](Self::read), with a limit on the memory for encoded weights; those beyond it are encoded each time.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_with(mut source: impl Read, threads: usize, weight_bytes: usize) -> Result<Self, ServerError> {
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes).map_err(DecodeError::Io)?;
        let (program, insecure) = read_program(&*bytes)?;
        Ok(Self { executor: Executor::new(program, threads, weight_bytes)?, id: program_id(&bytes), insecure })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        self.executor.program()
    }

    /// What runs it.
    pub fn executor(&self) -> &Executor {
        &self.executor
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
        self.program().params()
    }

    /// Reads a client's evaluation keys, which must be all that the program needs.
    ///
    /// # Errors
    /// [`ServerError::Decode`], [`ServerError::Execute`] for a key that is missing.
    pub fn read_evaluation_keys(&self, source: impl Read) -> Result<EvaluationKeys, ServerError> {
        // More keys than the program needs do no harm.
        let limit = 2 * scheme::evaluation_keys_bytes(self.params(), &self.program().evaluation_keys()) + MAX_SURPLUS;
        let keys = scheme::read_evaluation_keys(source, self.params(), limit)?;
        self.executor.check_keys(&keys)?;
        Ok(keys)
    }

    /// Reads a model that its owner encrypted for this program under a client's public key.
    ///
    /// # Errors
    /// [`ServerError::Decode`], [`ServerError::ForeignModel`], [`ServerError::Execute`] if it is not what the program takes.
    pub fn read_model(&self, source: impl Read) -> Result<EncryptedModel, ServerError> {
        let model = wire::read_encrypted_model(source, self.program(), self.executor.threads())?;
        if model.program != self.id {
            return Err(ServerError::ForeignModel { found: model.program, wanted: self.id });
        }
        self.executor.check_model(&model.arrays)?;
        Ok(model)
    }

    /// Runs a program whose weights are in the clear on every batch of a request and writes the response. `progress` is
    /// called with the part of the work that is done, from 0 to 1. One batch is in memory at a time.
    ///
    /// # Errors
    /// [`ServerError`]; what was written by then is useless.
    pub fn run(
        &self,
        request: impl Read,
        keys: &EvaluationKeys,
        sink: impl Write,
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<BatchHeader, ServerError> {
        let none = EncryptedModel { program: self.id, arrays: Vec::new() };
        self.run_with_model(request, &none, keys, sink, progress)
    }

    /// As [`run`](Self::run), with a model that was encrypted under the key of the request.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_with_model(
        &self,
        request: impl Read,
        model: &EncryptedModel,
        keys: &EvaluationKeys,
        sink: impl Write,
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<BatchHeader, ServerError> {
        let (header, mut reader) = self.read_header(request)?;
        let response = BatchHeader { ciphertexts: self.program().output_type().features, ..header };
        let mut writer = Writer::new(sink);
        self.write_header(&mut writer, &response)?;
        for batch in 0..header.batches {
            let packed = PackedBatch::read(&mut reader, self.params(), &header, self.executor.threads())?;
            let overall = |part| progress((batch as f64 + part) / header.batches as f64);
            // All at once: a pool takes long to wake.
            let results = self.executor.install(|| {
                let results = self.executor.run_with_model(packed.unpack()?, &model.arrays, keys, &overall)?;
                Ok::<_, ServerError>(self.results(results)?)
            })?;
            self.write_results(&mut writer, &results)?;
        }
        reader.finish()?;
        Ok(response)
    }

    /// Reads the head of a request, which must be for this program.
    pub(crate) fn read_header<R: Read>(
        &self,
        request: R,
    ) -> Result<(BatchHeader, nightloom_wire::Reader<R>), ServerError> {
        let (header, reader) = read_batch_header(request, Kind::Request, self.params(), self.program().capacity())?;
        if header.program != self.id {
            return Err(ServerError::Foreign { found: header.program, wanted: self.id });
        }
        let wanted = self.program().input_type().features;
        if header.ciphertexts != wanted {
            return Err(ExecuteError::Inputs { found: header.ciphertexts, wanted }.into());
        }
        Ok((header, reader))
    }

    pub(crate) fn write_header(
        &self,
        writer: &mut Writer<impl Write>,
        header: &BatchHeader,
    ) -> Result<(), ServerError> {
        let each = wire::result_bytes(self.program());
        write_batch_header(writer, Kind::Response, self.params(), header, each).map_err(ServerError::Write)
    }

    /// What a program's results are sent as; on the threads of the pool that the current thread belongs to.
    pub(crate) fn results(&self, results: Vec<Ciphertext>) -> Result<Results, ExecuteError> {
        let Some(Compression { slots, bits }) = self.program().compression() else {
            return Ok(Results::Whole(results));
        };
        let compressed = results.iter().map(|result| CompressedCiphertext::new(result, slots, bits));
        Ok(Results::Compressed(compressed.collect::<Result<_, _>>()?))
    }

    pub(crate) fn write_results(&self, writer: &mut Writer<impl Write>, results: &Results) -> Result<(), ServerError> {
        match results {
            Results::Whole(results) => results.iter().try_for_each(|result| scheme::write_ciphertext(writer, result)),
            Results::Compressed(results) => {
                results.iter().try_for_each(|result| scheme::write_compressed_ciphertext(writer, result))
            }
        }
        .map_err(ServerError::Write)
    }
}

/// The results of one batch, as they are sent.
pub(crate) enum Results {
    Whole(Vec<Ciphertext>),
    Compressed(Vec<CompressedCiphertext>),
}
