use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use nightloom_he::ParamsId;
use nightloom_he::wire::VERSION;
use nightloom_program::wire::{Security, program_id, read_client_spec, read_program};
use nightloom_wire::{HEADER_BYTES, Header, Kind, Reader};

use super::compile::open;
use super::error::{At, CliError};

#[derive(Debug, Args)]
pub struct Inspect {
    /// Any file that Nightloom wrote
    file: PathBuf,
}

impl Inspect {
    pub fn run(self) -> Result<(), CliError> {
        let path = &self.file;
        let mut source = open(path)?;
        let header = Header::read(&mut source).at(path)?;
        let size = std::fs::metadata(path).at(path)?.len();
        println!("{}: {}, format version {}, {size} bytes", path.display(), header.kind, header.version);
        if size != HEADER_BYTES + header.length {
            println!("DAMAGED: the header announces {} bytes", HEADER_BYTES.saturating_add(header.length));
        }
        if header.version > VERSION {
            println!("made by a newer version: this one reads up to format version {VERSION}");
            return Ok(());
        }
        let mut reader = Reader::new(&mut source, header.length);
        println!("parameters {}", ParamsId(reader.bytes().at(path)?));
        match header.kind {
            Kind::Program => self.program()?,
            Kind::ClientSpec => self.client_spec()?,
            Kind::Request | Kind::Response => {
                let program: [u8; 32] = reader.bytes().at(path)?;
                println!("program {}", nightloom_program::ProgramId(program));
                let (samples, batches) = (reader.u64().at(path)?, reader.u32().at(path)?);
                println!("{samples} samples in {batches} batches of {} ciphertexts", reader.u32().at(path)?);
            }
            Kind::SecretKey => println!("decrypts everything encrypted under it: never send it"),
            Kind::PublicKey => println!("encrypts only"),
            Kind::EvaluationKeys => {
                println!("one relinearisation key; the service needs it and cannot decrypt with it")
            }
            Kind::Ciphertext => {}
        }
        Ok(())
    }

    fn program(&self) -> Result<(), CliError> {
        let mut bytes = Vec::new();
        open(&self.file)?.read_to_end(&mut bytes).at(&self.file)?;
        let (program, _) = read_program(&*bytes).at(&self.file)?;
        println!("program {}", program_id(&bytes));
        println!("{:?}", program.params().spec());
        println!("{:<20} {:>6} {:>3} {:>6} {:>9}  layer", "operation", "cts", "of", "level", "scale");
        for ((op, result), name) in program.ops().iter().zip(program.types()).zip(program.names()) {
            println!(
                "{:<20} {:>6} {:>3} {:>6} {:>9}  {name}",
                op.name(),
                result.features,
                result.components,
                result.level,
                result.scale.to_string()
            );
        }
        Ok(())
    }

    fn client_spec(&self) -> Result<(), CliError> {
        // The body is JSON made for people.
        read_client_spec(open(&self.file)?, Security::Waived).at(&self.file)?;
        let mut text = Vec::new();
        open(&self.file)?.read_to_end(&mut text).at(&self.file)?;
        let start = (HEADER_BYTES as usize + 32).min(text.len());
        print!("{}", String::from_utf8_lossy(&text[start..]));
        Ok(())
    }
}
