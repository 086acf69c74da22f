//! What a command says, and where.
//!
//! Every word goes through here: nothing that a file brings along, such as the name of a node, reaches the terminal as a
//! control character, and a standard output that is closed or full ends a command without a panic.

use std::fmt::{Display, Write as _};
use std::io;

use super::error::CliError;

/// Writes a command's result, or a part of it, as a line on standard output.
///
/// # Errors
/// [`CliError::Stdout`], also if nobody reads any more: then the command has nothing left to do.
pub fn show(text: impl Display) -> Result<(), CliError> {
    write_line(&mut io::stdout().lock(), text).map_err(|source| CliError::Stdout { source })
}

/// Writes a line about what was done, or will be, on standard output. The work does not depend on somebody reading it.
///
/// # Errors
/// [`CliError::Stdout`], unless the reason is that nobody reads.
pub fn say(text: impl Display) -> Result<(), CliError> {
    match write_line(&mut io::stdout().lock(), text) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Stdout { source }),
        _ => Ok(()),
    }
}

/// Writes a line on standard error. If that fails, there is nowhere left to say so.
pub fn warn(text: impl Display) {
    let _ = write_line(&mut io::stderr().lock(), text);
}

fn write_line(stream: &mut impl io::Write, text: impl Display) -> io::Result<()> {
    let mut line = printable(&text.to_string());
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    stream.flush()
}

/// The text with control characters, other than line feeds, in the escapes of JSON, in which such characters only occur
/// inside of strings.
pub fn printable(text: &str) -> String {
    escaped(text, |c| c != '\n' && steers(c))
}

/// A name that a file brings along, on one line.
pub fn name(text: &str) -> String {
    escaped(text, steers)
}

/// A word of a command, quoted for a POSIX shell where it needs that.
pub fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that steer a terminal, or the order in which it shows others (Unicode TR36, section 2.9).
fn steers(c: char) -> bool {
    let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || reorders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_spelled_out() {
        assert_eq!(
            printable("a\x1b[31mb\r\u{9b}\u{202e}\u{7f}\nc é 数"),
            "a\\u001b[31mb\\u000d\\u009b\\u202e\\u007f\nc é 数"
        );
        assert_eq!(name("fc1\nwrote all"), "fc1\\u000awrote all");
        assert_eq!(["a.html", "a b's", ""].map(word), ["a.html", r"'a b'\''s'", "''"]);
        let json = serde_json::to_string("x\u{7f}\u{202e}\"").unwrap();
        assert_eq!(serde_json::from_str::<String>(&printable(&json)).unwrap(), "x\u{7f}\u{202e}\"");
    }
}
