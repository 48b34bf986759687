//! The `nslookout` program; what it does stands in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Here and nowhere else, so that a new commit builds this file anew, not the library.
    nslookout::cli::main(option_env!("NSLOOKOUT_REVISION").unwrap_or("unknown"))
}
