//! The result table, which is filled round by round.

use super::gauge::median;

/// Whether a figure should be above or below its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    AtLeast,
    AtMost,
}

/// One line of the table. Shows medians over the rounds; the ratio is the median of the rounds' ratios.
#[derive(Debug)]
struct Row {
    name: String,
    unit: &'static str,
    sense: Sense,
    mark: f64,
    goal: f64,
    measured: Vec<f64>,
    baseline: Vec<f64>,
    ratios: Vec<f64>,
    note: String,
}

/// The mark and the goal with which a row is compared.
#[derive(Clone, Copy, Debug)]
pub struct Yardstick {
    pub name: &'static str,
    pub unit: &'static str,
    pub sense: Sense,
    pub mark: f64,
    pub goal: f64,
}

/// All rows, in the order in which they were first filled.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
    probes: Vec<f64>,
    others: Vec<(String, &'static str, Vec<f64>)>,
}

impl Table {
    /// Records a figure and its baseline from the same round.
    pub fn compare(&mut self, mark: Yardstick, measured: f64, baseline: f64) {
        let row = self.row(mark);
        row.measured.push(measured);
        row.baseline.push(baseline);
        assert!(
            (measured / baseline).is_finite(),
            "{} has no figure: {measured} against {baseline}",
            mark.name
        );
        row.ratios.push(measured / baseline);
        eprintln!("  {}: {} against {} {}", mark.name, figure(measured), figure(baseline), mark.unit);
    }

    /// Records a figure without a baseline.
    pub fn absolute(&mut self, mark: Yardstick, measured: f64) {
        let row = self.row(mark);
        row.measured.push(measured);
        row.ratios.push(measured);
        eprintln!("  {}: {} {}", mark.name, figure(measured), mark.unit);
    }

    /// Sets the note below a row; replaces an earlier one.
    pub fn note(&mut self, name: &str, note: String) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == name) {
            row.note = note;
        }
    }

    /// Records a figure without a mark, which is printed below the table.
    pub fn other(&mut self, name: &str, unit: &'static str, figure: f64) {
        match self.others.iter_mut().find(|(known, ..)| known == name) {
            Some((.., figures)) => figures.push(figure),
            None => self.others.push((name.to_owned(), unit, vec![figure])),
        }
    }

    /// Records the disk probe of a round.
    pub fn probe(&mut self, per_second: f64) {
        self.probes.push(per_second);
    }

    fn row(&mut self, mark: Yardstick) -> &mut Row {
        let found = self.rows.iter().position(|row| row.name == mark.name);
        let place = found.unwrap_or_else(|| {
            self.rows.push(Row {
                name: mark.name.to_owned(),
                unit: mark.unit,
                sense: mark.sense,
                mark: mark.mark,
                goal: mark.goal,
                measured: Vec::new(),
                baseline: Vec::new(),
                ratios: Vec::new(),
                note: String::new(),
            });
            self.rows.len() - 1
        });
        &mut self.rows[place]
    }

    /// Prints the table to standard output.
    pub fn print(&self) {
        println!();
        println!(
            "{:<58} {:>7} {:>6} {:>11} {:>11} {:>7}  {:>13} {:>6}  verdict",
            "what", "mark", "goal", "measured", "baseline", "ratio", "min..max", "rounds"
        );
        for row in &self.rows {
            let ratio = median(&row.ratios);
            let good = |limit: f64| match row.sense {
                Sense::AtLeast => ratio >= limit,
                Sense::AtMost => ratio <= limit,
            };
            let verdict = match (good(row.mark), good(row.goal)) {
                (_, true) => "goal",
                (true, false) => "mark",
                (false, false) => "below",
            };
            let sign = if row.sense == Sense::AtLeast { "≥" } else { "≤" };
            let baseline = if row.baseline.is_empty() {
                "–".to_owned()
            } else {
                figure(median(&row.baseline))
            };
            let least = row.ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let most = row.ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            println!(
                "{:<58} {:>7} {:>6} {:>11} {:>11} {:>7}  {:>13} {:>6}  {}",
                format!("{}, {}", row.name, row.unit),
                format!("{sign} {}", row.mark),
                row.goal.to_string(),
                figure(median(&row.measured)),
                baseline,
                if row.baseline.is_empty() {
                    "–".to_owned()
                } else {
                    format!("{ratio:.2}")
                },
                format!("{}..{}", short(least), short(most)),
                row.ratios.len(),
                verdict
            );
            if !row.note.is_empty() {
                println!("    {}", row.note);
            }
        }
        println!();
        for (name, unit, figures) in &self.others {
            println!("{name}: {} {unit} ({} rounds)", figure(median(figures)), figures.len());
        }
        let probes: Vec<String> = self.probes.iter().map(|probe| figure(*probe)).collect();
        println!("fdatasync/s, probe by probe: {}", probes.join(" "));
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
