//! The `sandgate` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    sandgate::cli::run()
}
