//! Measurements of the machine and of processes: disk latency, CPU time, resident memory.

use std::{
    fs,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

/// Returns how many 4 kB appends per second the disk can make durable. Measured with every round, because the performance of a shared
/// machine's disk varies.
pub fn fdatasync_per_second(directory: &Path) -> f64 {
    let mut file = tempfile::tempfile_in(directory).expect("the directory can be written");
    let page = [1_u8; 4096];
    let started = Instant::now();
    let mut count = 0_u32;
    while started.elapsed() < Duration::from_millis(200) {
        file.write_all(&page).expect("the disk has space");
        file.sync_data().expect("the disk syncs");
        count += 1;
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}

/// Returns the user and system CPU seconds that a process has used.
pub fn cpu_seconds(pid: u32) -> f64 {
    // Linux reports ticks of 1/100 s on all platforms supported by Rust's standard library.
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The program name can contain spaces, so count fields after its closing parenthesis: utime is the 12th, stime the 13th.
    let fields = stat.rsplit_once(')').expect("/proc/PID/stat contains the program name").1;
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<f64>().expect("ticks are a number"))
        .sum();
    ticks / TICKS
}

/// Returns the resident memory of a process in kB.
pub fn resident_kb(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("/proc/PID/status contains VmRSS");
    let number = line.split_whitespace().next().expect("VmRSS has a value");
    number.parse().expect("VmRSS is a number")
}

/// Returns the median; for an even number of figures, the mean of the middle two.
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
