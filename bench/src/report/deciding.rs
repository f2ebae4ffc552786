//! The part of the report that is about what a firewall's compiled rules cost a flow.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::Bar;
use crate::count::count;
use crate::decide::{BURST, FILES};

/// One figure of the table.
pub(super) struct Figure {
    file: &'static str,
    what: &'static str,
    limit: Option<f64>,
    instructions: f64,
}

/// Measures all of them, and prints them.
pub(super) fn measure(scratch: &Path) -> Result<Vec<Figure>> {
    println!(
        "\ninstructions for a decision of compiled rules, mean over packets at the bounds of each rule\n"
    );
    let mut figures = Vec::new();
    for (file, what, limit) in FILES {
        let instructions = count(&["counted-decisions", file], BURST, scratch)?;
        println!("{what:<58} {instructions:>8.1}");
        figures.push(Figure { file, what, limit, instructions });
    }
    Ok(figures)
}

impl Figure {
    /// Where there is a limit.
    pub(super) fn bar(&self) -> Option<Bar> {
        let what = format!("a new flow's rule: {}", self.what);
        Some(Bar { what, figure: Some(self.instructions), limit: self.limit?, at_most: true })
    }

    /// For programs.
    pub(super) fn as_json(&self) -> Value {
        json!({ "rules": self.file, "instructions_per_decision": self.instructions })
    }
}
