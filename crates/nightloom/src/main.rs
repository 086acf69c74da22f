//! The `nightloom` command.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::run(cli::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut told = error.to_string();
            eprintln!("error: {told}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                // An error that names a file ends with its cause already.
                let text = cause.to_string();
                if !told.ends_with(&text) {
                    eprintln!("  because: {text}");
                }
                (told, source) = (text, cause.source());
            }
            ExitCode::FAILURE
        }
    }
}
