//! The result table, which is filled round by round.

use super::measurements::median;

/// Whether a figure should be above or below the required value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    AtLeast,
    AtMost,
}

/// One line of the table. Shows medians over the rounds; the ratio is the median of the rounds' ratios.
#[derive(Debug)]
struct Row {
    name: String,
    unit: &'static str,
    bound: Bound,
    required: f64,
    goal: f64,
    measured: Vec<f64>,
    baseline: Vec<f64>,
    ratios: Vec<f64>,
    note: String,
}

/// The required value and the goal with which a row is compared.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub name: &'static str,
    pub unit: &'static str,
    pub bound: Bound,
    pub required: f64,
    pub goal: f64,
}

/// All rows, in the order in which they were first filled.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
    disk_probes: Vec<f64>,
    unpaired: Vec<(String, &'static str, Vec<f64>)>,
}

impl Table {
    /// Records a figure and its baseline from the same round.
    pub fn compare(&mut self, target: Target, measured: f64, baseline: f64) {
        let row = self.row(target);
        row.measured.push(measured);
        row.baseline.push(baseline);
        assert!(
            (measured / baseline).is_finite(),
            "{} has no ratio: {measured} against {baseline}",
            target.name
        );
        row.ratios.push(measured / baseline);
        eprintln!(
            "  {}: {} against {} {}",
            target.name,
            figure(measured),
            figure(baseline),
            target.unit
        );
    }

    /// Records a figure without a baseline.
    pub fn absolute(&mut self, target: Target, measured: f64) {
        let row = self.row(target);
        row.measured.push(measured);
        row.ratios.push(measured);
        eprintln!("  {}: {} {}", target.name, figure(measured), target.unit);
    }

    /// Sets the note below a row; replaces an earlier one.
    pub fn note(&mut self, name: &str, note: String) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == name) {
            row.note = note;
        }
    }

    /// Records a figure without a required value, which is printed below the table.
    pub fn unpaired(&mut self, name: &str, unit: &'static str, figure: f64) {
        match self.unpaired.iter_mut().find(|(existing, ..)| existing == name) {
            Some((.., figures)) => figures.push(figure),
            None => self.unpaired.push((name.to_owned(), unit, vec![figure])),
        }
    }

    /// Records the disk probe of a round.
    pub fn disk_probe(&mut self, per_second: f64) {
        self.disk_probes.push(per_second);
    }

    fn row(&mut self, target: Target) -> &mut Row {
        let found = self.rows.iter().position(|row| row.name == target.name);
        let index = found.unwrap_or_else(|| {
            self.rows.push(Row {
                name: target.name.to_owned(),
                unit: target.unit,
                bound: target.bound,
                required: target.required,
                goal: target.goal,
                measured: Vec::new(),
                baseline: Vec::new(),
                ratios: Vec::new(),
                note: String::new(),
            });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }

    /// Prints the table to standard output.
    pub fn print(&self) {
        println!();
        println!(
            "{:<58} {:>8} {:>6} {:>11} {:>11} {:>7}  {:>13} {:>6}  reached",
            "what", "required", "goal", "measured", "baseline", "ratio", "min..max", "rounds"
        );
        for row in &self.rows {
            let ratio = median(&row.ratios);
            let meets = |limit: f64| match row.bound {
                Bound::AtLeast => ratio >= limit,
                Bound::AtMost => ratio <= limit,
            };
            let verdict = match (meets(row.required), meets(row.goal)) {
                (_, true) => "goal",
                (true, false) => "required",
                (false, false) => "neither",
            };
            let sign = if row.bound == Bound::AtLeast { "≥" } else { "≤" };
            let baseline = if row.baseline.is_empty() {
                "–".to_owned()
            } else {
                figure(median(&row.baseline))
            };
            let min = row.ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let max = row.ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            println!(
                "{:<58} {:>8} {:>6} {:>11} {:>11} {:>7}  {:>13} {:>6}  {}",
                format!("{}, {}", row.name, row.unit),
                format!("{sign} {}", row.required),
                row.goal.to_string(),
                figure(median(&row.measured)),
                baseline,
                if row.baseline.is_empty() {
                    "–".to_owned()
                } else {
                    format!("{ratio:.2}")
                },
                format!("{}..{}", short(min), short(max)),
                row.ratios.len(),
                verdict
            );
            if !row.note.is_empty() {
                println!("    {}", row.note);
            }
        }
        println!();
        for (name, unit, figures) in &self.unpaired {
            println!("{name}: {} {unit} ({} rounds)", figure(median(figures)), figures.len());
        }
        let disk_probes: Vec<String> = self.disk_probes.iter().map(|disk_probe| figure(*disk_probe)).collect();
        println!("fdatasync/s, per probe: {}", disk_probes.join(" "));
    }
}

fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

fn short(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}
