//! `convolog openapi`: prints the document that `GET /openapi.json` answers.

use std::io::{ErrorKind, Write as _};

use super::{Exit, Failure};

/// Shown by `--help`.
pub const EXAMPLES: &str = "Examples:
  convolog openapi                         to read, or for a generator of clients
  convolog openapi > docs/openapi.json     what a changed API needs before its tests are green";

/// Prints it.
pub fn run() -> Result<Exit, Failure> {
    match std::io::stdout().lock().write_all(api::openapi::document().as_bytes()) {
        // Whoever reads only the beginning has what they want.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(Exit::Done),
    }
}
