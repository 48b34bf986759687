//! The `nslookout` program; what it does stands in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    nslookout::cli::main()
}
