//! A table of figures, each also as a multiple of shale's.

use std::fmt;

/// What one measurement gave.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Requests or megabytes in a second; or milliseconds, where that is what is asked.
    pub rate: f64,
    /// Processor time by request or by gigabyte.
    pub cpu: f64,
    /// Highest resident memory.
    pub peak_mb: f64,
}

/// The median of each figure by itself.
pub fn median(figures: &[Figures]) -> Figures {
    let middle = |figure: fn(&Figures) -> f64| {
        let mut sorted: Vec<f64> = figures.iter().map(figure).collect();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    };
    Figures { rate: middle(|f| f.rate), cpu: middle(|f| f.cpu), peak_mb: middle(|f| f.peak_mb) }
}

/// The figures of one case.
#[derive(Debug)]
pub struct Table {
    title: String,
    rate: String,
    cpu: String,
    rows: Vec<(String, String, Figures)>,
}

impl Table {
    /// An empty table; `rate` and `cpu` are the units of its columns.
    pub fn new(title: &str, rate: &str, cpu: &str) -> Self {
        Self { title: title.to_owned(), rate: rate.to_owned(), cpu: cpu.to_owned(), rows: Vec::new() }
    }

    /// Adds what `peer` needs for `what`.
    pub fn add(&mut self, what: &str, peer: &str, figures: Figures) {
        self.rows.push((what.to_owned(), peer.to_owned(), figures));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<34} {:<16} {:>12} {:>7} {:>11} {:>7} {:>8}",
            self.title, "", self.rate, "ratio", self.cpu, "ratio", "MB"
        )?;
        for (what, peer, figures) in &self.rows {
            let ours = self.rows.iter().find(|(other, peer, _)| other == what && peer == "shale");
            let ratio = |figure: fn(&Figures) -> f64| match ours {
                Some((_, _, base)) if figure(base) > 0.0 => format!("{:.2}", figure(figures) / figure(base)),
                _ => "-".to_owned(),
            };
            writeln!(
                f,
                "{what:<34} {peer:<16} {:>12.1} {:>7} {:>11.3} {:>7} {:>8.1}",
                figures.rate,
                ratio(|f| f.rate),
                figures.cpu,
                ratio(|f| f.cpu),
                figures.peak_mb
            )?;
        }
        Ok(())
    }
}
