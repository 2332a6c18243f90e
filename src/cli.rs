//! The command line: one file per subcommand below `cli/`.

pub mod args;
pub mod bench;

use std::process::ExitCode;

/// Runs the program with the process's own arguments.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
