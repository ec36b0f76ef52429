//! The executable: sets the allocator and the TLS provider, and runs the library's command line.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Ignore the error, which only means that a provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    parley::cli::main()
}
