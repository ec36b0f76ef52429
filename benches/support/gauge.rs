//! Figures of the machine and of processes: disk latency, CPU time, resident memory.

use std::{
    fs,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

/// How often the disk makes a 4 kB append durable, per second. Beside every round, because the disk of a shared machine moves.
pub fn fdatasync_per_second(directory: &Path) -> f64 {
    let mut file = tempfile::tempfile_in(directory).expect("the directory can be written");
    let page = [1_u8; 4096];
    let begun = Instant::now();
    let mut count = 0_u32;
    while begun.elapsed() < Duration::from_millis(200) {
        file.write_all(&page).expect("the disk has room");
        file.sync_data().expect("the disk syncs");
        count += 1;
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}

/// CPU seconds, user and system, that a process has used.
pub fn cpu_seconds(pid: u32) -> f64 {
    // Linux counts in ticks of 1/100 s wherever Rust's standard library runs.
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name may hold spaces; fields are counted after its closing parenthesis: utime is the 12th there, stime the 13th.
    let fields = stat.rsplit_once(')').expect("stat names the program").1;
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<f64>().expect("ticks are a number"))
        .sum();
    ticks / TICKS
}

/// Resident memory in kB.
pub fn resident_kb(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("a process has memory");
    let number = line.split_whitespace().next().expect("VmRSS has a value");
    number.parse().expect("VmRSS is a number")
}

/// The middle of some figures; the mean of the two in the middle when their number is even.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}
