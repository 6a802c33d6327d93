//! The rows as they are measured, printed as a table and written as JSON.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use crate::machine::{Machine, median};

/// What stands in the design: the bar, the goal, and in which direction better lies.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Aim {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) bar: f64,
    pub(crate) goal: f64,
    pub(crate) more_is_better: bool,
}

impl Aim {
    fn verdict(&self, value: f64) -> &'static str {
        let reaches = |aim: f64| if self.more_is_better { value >= aim } else { value <= aim };
        match (reaches(self.goal), reaches(self.bar)) {
            (true, _) => "goal",
            (false, true) => "bar",
            (false, false) => "below",
        }
    }
}

/// One round of a row.
#[derive(Clone, Debug, Serialize)]
struct Round {
    row: &'static str,
    value: f64,
    /// In words, what the value was made of.
    from: String,
    figures: Value,
}

#[derive(Default)]
pub(crate) struct Report {
    aims: Vec<Aim>,
    rounds: Vec<Round>,
}

impl Report {
    /// Adds a round and says so at once: a run takes minutes.
    pub(crate) fn add(&mut self, aim: Aim, value: f64, from: String, figures: &impl Serialize) -> anyhow::Result<()> {
        writeln!(std::io::stderr(), "{:<13} {value:>8.2} {:<3} {from}", aim.name, aim.unit)?;
        if !self.aims.iter().any(|known| known.name == aim.name) {
            self.aims.push(aim);
        }
        self.rounds.push(Round { row: aim.name, value, from, figures: serde_json::to_value(figures)? });
        Ok(())
    }

    fn values(&self, aim: &Aim) -> Vec<f64> {
        self.rounds.iter().filter(|round| round.row == aim.name).map(|round| round.value).collect()
    }

    fn table(&self, machine: &Machine) -> String {
        let mut text = format!(
            "\n{} · {} cores · {:.0} GB · Linux {} · {} · PostgreSQL {} · {} · commit {} · {}\n\n",
            machine.cpu,
            machine.cores,
            machine.memory_gb,
            machine.kernel,
            machine.file_system,
            machine.postgresql,
            machine.nats,
            machine.commit,
            machine.measured_at
        );
        let _ = writeln!(text, "| row | what | bar | goal | median | rounds | reached | last round |");
        let _ = writeln!(text, "|---|---|---|---|---|---|---|---|");
        for aim in &self.aims {
            let values = self.values(aim);
            let middle = median(&values);
            let rounds: Vec<String> = values.iter().map(|value| format!("{value:.2}")).collect();
            let from = self.rounds.iter().rfind(|round| round.row == aim.name).map_or("", |round| &round.from);
            let _ = writeln!(
                text,
                "| {} | {} | {}{unit} | {}{unit} | **{middle:.2}{unit}** | {} | {} | {from} |",
                aim.name,
                aim.what,
                aim.bar,
                aim.goal,
                rounds.join(" "),
                aim.verdict(middle),
                unit = aim.unit
            );
        }
        text
    }

    /// Prints the table and writes the file.
    pub(crate) fn finish(&self, machine: &Machine, file: &Path) -> anyhow::Result<()> {
        writeln!(std::io::stdout(), "{}", self.table(machine))?;
        let rows: Vec<Value> = self
            .aims
            .iter()
            .map(|aim| {
                let values = self.values(aim);
                json!({"aim": aim, "median": median(&values), "values": values, "reached": aim.verdict(median(&values))})
            })
            .collect();
        let json = json!({"machine": machine, "rows": rows, "rounds": self.rounds});
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(file, serde_json::to_vec_pretty(&json)?)?;
        Ok(())
    }
}
