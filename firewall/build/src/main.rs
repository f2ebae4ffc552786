//! Rules at a terminal.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{fs, io};

use clap::{Args, Parser};
use paravane_firewall::{Diagnostic, Rules};
use paravane_firewall_build::render;

/// Looks at a firewall's rules.
#[derive(Parser)]
#[command(name = "paravane-firewall", version)]
enum Command {
    /// Says all that is wrong with a file of rules, and what is likely to be.
    Check {
        #[command(flatten)]
        file: RuleFile,
    },
    /// Says which rule decides about a packet, and why none before it does.
    Explain {
        #[command(flatten)]
        file: RuleFile,
        /// Such as `public -> private tcp 203.0.113.7:5000 10.0.0.11:80`: zones, protocol, source,
        /// destination. For ICMP the type, such as `echo-request` or `3/4`, comes last.
        #[arg(required = true, allow_hyphen_values = true)]
        packet: Vec<String>,
    },
}

#[derive(Args)]
struct RuleFile {
    /// The file of rules.
    file: PathBuf,
    /// The zones that there are, with commas between them; if none are given, those that the file
    /// speaks of.
    #[arg(long, value_delimiter = ',')]
    zones: Vec<String>,
}

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(said) => {
            print!("{said}");
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            eprint!("{wrong}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<String, String> {
    match command {
        Command::Check { file } => {
            let Read { text, rules, warnings } = read(&file)?;
            eprint!("{}", render(&warnings, &file.name(), &text, is_coloured()));
            let mut said = format!("{}: {}", file.name(), count(rules.rules().len(), "rule"));
            if !warnings.is_empty() {
                said += &format!(", {}", count(warnings.len(), "warning"));
            }
            if file.zones.is_empty() {
                said += &format!("; zones as the file has them: {}", rules.zones().join(", "));
            }
            Ok(said + "\n")
        }
        Command::Explain { file, packet } => {
            let Read { text, rules, .. } = read(&file)?;
            explain(&rules, &text, &packet.join(" "))
        }
    }
}

impl RuleFile {
    fn name(&self) -> String {
        self.file.display().to_string()
    }
}

struct Read {
    text: String,
    rules: Rules,
    warnings: Vec<Diagnostic>,
}

fn read(file: &RuleFile) -> Result<Read, String> {
    let text = fs::read_to_string(&file.file).map_err(|error| format!("{}: {error}\n", file.name()))?;
    let zones = match file.zones.as_slice() {
        [] => Rules::zones_in(&text),
        zones => zones.iter().map(String::as_str).collect(),
    };
    match Rules::read(&text, &zones) {
        Ok((rules, warnings)) => Ok(Read { rules, warnings, text }),
        Err(errors) => {
            let all = render(&errors, &file.name(), &text, is_coloured());
            Err(format!("{all}{}: {}\n", file.name(), count(errors.len(), "error")))
        }
    }
}

fn count(count: usize, of: &str) -> String {
    format!("{count} {of}{}", if count == 1 { "" } else { "s" })
}

fn is_coloured() -> bool {
    io::stderr().is_terminal()
}

fn explain(rules: &Rules, text: &str, packet: &str) -> Result<String, String> {
    let packet = rules.packet(packet).map_err(|error| format!("{error}\n"))?;
    let explanation = rules.explain(&packet);
    let at = |rule: u32| {
        let line = rules.action(rule).line;
        let written = text.lines().nth(line.saturating_sub(1) as usize).unwrap_or("");
        (line, written.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let mut said = String::new();
    for (rule, why) in (0..).zip(&explanation.before) {
        let (line, written) = at(rule);
        said += &format!("  line {line}: {written}\n           no: {why}\n");
    }
    let (line, written) = at(explanation.decision.rule);
    Ok(format!("{said}> line {line}: {written}\n{}\n", explanation.decision.verdict))
}
