# The daily commands; `just` lists them. CONTRIBUTING.md has the time that each takes.

# The features of the tests. With others, Cargo compiles every dependency again.
flags := "--workspace --locked --features faults"

_list:
    @just --list --unsorted

# Check the crates and the program after an edit
check:
    cargo check {{ flags }}

# Check everything, the tests and benchmarks too
check-all:
    cargo check {{ flags }} --all-targets

# Run the behaviour tests whose names contain NAME
one NAME *ARGUMENTS:
    cargo test {{ flags }} --test it -- {{ NAME }} {{ ARGUMENTS }}

# Run the unit tests whose names contain NAME
unit NAME *ARGUMENTS:
    cargo test {{ flags }} --lib --bins -- {{ NAME }} {{ ARGUMENTS }}

# Format, lints, unit tests and the core behaviour on SQLite
fast:
    ./test fast

# Everything
test:
    ./test

# Compile the contract after a change of proto/
descriptors:
    cargo xtask descriptors

# Run the benchmarks
bench *ARGUMENTS:
    ./bench {{ ARGUMENTS }}

# Build the documentation, as ./test does
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc {{ flags }} --no-deps

# Format the sources
fmt:
    cargo fmt --all
