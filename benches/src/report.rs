//! A table of costs, each also as a multiple of shale's.

use std::fmt;

use crate::measure::Cost;

/// The figures of one case.
#[derive(Debug)]
pub struct Table {
    case: String,
    rows: Vec<(String, Cost)>,
    notes: Vec<String>,
}

impl Table {
    /// An empty table.
    pub fn new(case: &str) -> Self {
        Self { case: case.to_owned(), rows: Vec::new(), notes: Vec::new() }
    }

    /// Adds a row; the row called `shale`, or `shale …`, is what the others are compared with.
    pub fn add(&mut self, name: &str, cost: Cost) {
        self.rows.push((name.to_owned(), cost));
    }

    /// Adds a line below the table, once.
    pub fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = format!("case {}", self.case);
        writeln!(
            f,
            "{title:<24} {:>9} {:>7} {:>9} {:>7} {:>9} {:>7}",
            "wall s", "ratio", "cpu s", "ratio", "MB", "ratio"
        )?;
        for (name, cost) in &self.rows {
            // "docker images" is compared with "shale images".
            let ours = name.split_once(' ').map_or("shale".to_owned(), |(_, what)| format!("shale {what}"));
            let base = self.rows.iter().find(|(name, _)| *name == ours).map(|(_, cost)| *cost);
            let ratio = |figure: fn(&Cost) -> f64| match base {
                Some(base) if figure(&base) > 0.0 => format!("{:.2}", figure(cost) / figure(&base)),
                _ => "-".to_owned(),
            };
            writeln!(
                f,
                "{name:<24} {:>9.3} {:>7} {:>9.2} {:>7} {:>9.1} {:>7}",
                cost.wall_s,
                ratio(|cost| cost.wall_s),
                cost.cpu_s,
                ratio(|cost| cost.cpu_s),
                cost.peak_mb,
                ratio(|cost| cost.peak_mb),
            )?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))
    }
}
