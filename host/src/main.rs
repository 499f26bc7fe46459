//! The program `maestro`. Everything is in [`host::cli`], so that it can be tested.

use std::process::ExitCode;

fn main() -> ExitCode {
    host::cli::main()
}
