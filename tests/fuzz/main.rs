//! Fuzz targets for every reader of untrusted input, with a ceiling on memory.
//!
//! A target receives its corpus (`corpus/TARGET`), and then mutations of it for a few seconds. No input may take more memory than 8 times
//! its size plus 8 MiB, panic, overflow the stack, or hang. An input that takes more memory relative to its size than all earlier ones
//! joins the pool. A failing input is written to the corpus, so that it is tried first from then on.
//!
//! Each target runs in a process of its own, all at the same time, so that the memory of one is not attributed to another.
//! `PARLEY_FUZZ_SECONDS` sets the duration (1 by default; `./test` uses 10, `./test nightly` more), `PARLEY_FUZZ_SEED` repeats a run, and
//! `PARLEY_FUZZ_TARGET` selects one target.

#![allow(clippy::expect_used)]

mod mutate;
mod targets;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use peak_alloc::PeakAlloc;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use targets::{TARGETS, Target};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The memory that an input may take in addition to 8 times its size.
const BASE: usize = 8 * 1024 * 1024;

/// The maximum number of inputs that mutations start from.
const POOL: usize = 256;

/// How much longer than its duration a target may run before it counts as hanging.
const GRACE: Duration = Duration::from_mins(1);

fn main() -> ExitCode {
    let seconds = number("PARLEY_FUZZ_SECONDS").unwrap_or(1);
    match std::env::var("PARLEY_FUZZ_CHILD") {
        Ok(name) => {
            let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
            // The stack size of a runtime worker.
            let run = std::thread::Builder::new()
                .stack_size(2 * 1024 * 1024)
                .spawn(move || fuzz(target, seconds));
            run.expect("a thread").join().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        Err(_) => run_all(seconds),
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Runs each target in a process of its own.
fn run_all(seconds: u64) -> ExitCode {
    let only = std::env::var("PARLEY_FUZZ_TARGET").ok();
    let seed = number("PARLEY_FUZZ_SEED").unwrap_or_else(|| rand::rng().random());
    println!("fuzz: {seconds} s for each target, PARLEY_FUZZ_SEED={seed}");
    let program = std::env::current_exe().expect("this program");
    let mut running: Vec<_> = TARGETS
        .iter()
        .filter(|target| only.as_deref().is_none_or(|only| only == target.name))
        .map(|target| {
            let child = Command::new(&program)
                .env("PARLEY_FUZZ_CHILD", target.name)
                .env("PARLEY_FUZZ_SEED", seed.to_string())
                // A library may panic if the service catches it. The symbols for a backtrace would take more memory than any input.
                .env("RUST_BACKTRACE", "0")
                .spawn()
                .expect("this program starts");
            (target, child)
        })
        .collect();
    let ends = Instant::now() + Duration::from_secs(seconds) + GRACE;
    let mut failed = false;
    while !running.is_empty() {
        running.retain_mut(|(target, child)| {
            let status = match child.try_wait().expect("a child") {
                None if Instant::now() < ends => return true,
                None => {
                    let _ = child.kill();
                    child.wait().expect("a child")
                }
                Some(status) => status,
            };
            if !status.success() {
                let kept = keep(target);
                println!("fuzz: {}: {status}; its last input is {}", target.name, kept.display());
                failed = true;
            }
            false
        });
        std::thread::sleep(Duration::from_millis(50));
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn corpus(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target.name)
}

/// The file to which a process writes each input before trying it: after a stack overflow nothing else is left.
fn last(target: &Target) -> PathBuf {
    std::env::temp_dir().join(format!("parley-fuzz-{}", target.name))
}

/// Copies the last input to the corpus.
fn keep(target: &Target) -> PathBuf {
    let input = std::fs::read(last(target)).unwrap_or_default();
    let kept = corpus(target).join(format!("failed-{:08x}", crc32fast::hash(&input)));
    let _ = std::fs::write(&kept, input);
    kept
}

fn fuzz(target: &Target, seconds: u64) {
    let mut random = StdRng::seed_from_u64(number("PARLEY_FUZZ_SEED").unwrap_or_default());
    let folder = std::fs::read_dir(corpus(target)).expect("each target has a corpus");
    let mut files: Vec<_> = folder.map(|entry| entry.expect("the corpus can be read").path()).collect();
    files.sort();
    let mut pool: Vec<Vec<u8>> = files
        .iter()
        .map(|file| std::fs::read(file).expect("the corpus can be read"))
        .collect();
    assert!(!pool.is_empty(), "{}: the corpus is empty", target.name);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    // Initialize lazy statics first, so that their memory is not attributed to the first input.
    std::sync::LazyLock::force(&parley_proto::description::POOL);
    run(target, &runtime, &pool[0]);
    for input in &pool {
        check(target, &runtime, input);
    }
    let (mut tried, mut densest) = (0_u64, 0.0_f64);
    let ends = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < ends {
        let input = mutate::mutated(&mut random, &pool, target.words);
        let taken = check(target, &runtime, &input);
        tried += 1;
        #[allow(clippy::cast_precision_loss)] // only used for comparison
        let density = taken as f64 / (input.len() + 1024) as f64;
        if density > densest || random.random_ratio(1, 1000) {
            densest = densest.max(density);
            if pool.len() == POOL {
                let at = random.random_range(files.len().min(POOL - 1)..POOL);
                pool.swap_remove(at);
            }
            pool.push(input);
        }
    }
    println!("fuzz: {}: {tried} inputs; at most {densest:.1} bytes for a byte", target.name);
}

/// Tries an input. Returns the memory that it took, and fails above the ceiling.
fn check(target: &Target, runtime: &tokio::runtime::Runtime, input: &[u8]) -> usize {
    std::fs::write(last(target), input).expect("the input is written");
    let taken = run(target, runtime, input);
    let most = 8 * input.len() + BASE;
    assert!(
        taken <= most,
        "{}: {} bytes took {taken}, more than {most}",
        target.name,
        input.len()
    );
    taken
}

fn run(target: &Target, runtime: &tokio::runtime::Runtime, input: &[u8]) -> usize {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    (target.run)(runtime, input);
    MEMORY.peak_usage().saturating_sub(before)
}
