//! A firewall's rules: those of a file, or those that were built in.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use paravane_appliance::filter::{OWN, RuleSet};
use paravane_firewall::Rules;
use paravane_firewall::compiled::Compiled;

use super::config::firewall::Chosen;
use super::config::{Config, Fault};

/// The longest file that is read.
pub const MAX_BYTES: u32 = 1 << 20;

#[cfg(built_in_rules)]
mod compiled {
    include!(concat!(env!("OUT_DIR"), "/firewall.rs"));
}

/// The rules that were compiled into the program: at build time `PARAVANE_RULES` names their file,
/// and `PARAVANE_ZONES` the NICs that they are for.
#[must_use]
pub const fn built_in() -> Option<&'static Compiled> {
    #[cfg(built_in_rules)]
    return Some(&compiled::FIREWALL);
    #[cfg(not(built_in_rules))]
    None
}

/// Rules that are there, and where they are from.
#[derive(Debug)]
pub struct Loaded {
    /// The file, or that they are built in.
    pub name: String,
    /// The rules.
    pub rules: RuleSet,
    /// What was surely not meant, in a line each.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// The rules that `config` wants, where NICs have these `names`; `None` where it wants none, or
    /// they are wrong. All that is wrong with them is a fault of `config` afterwards. A file is
    /// what `read` gives of that name.
    pub fn of(
        config: &mut Config,
        names: &[String],
        read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    ) -> Option<Self> {
        let zones: Vec<&str> = names.iter().map(String::as_str).chain([OWN]).collect();
        let loaded = match &config.firewall.rules.value {
            Chosen::Nobodys => return None,
            Chosen::BuiltIn => Self::of_image(built_in()?, &zones),
            Chosen::File(name) => match read(name) {
                Ok(text) => Self::of_file(name, &text, &zones),
                Err(reason) => Err(vec![format!("{name}: {reason}")]),
            },
        };
        let origin = config.firewall.rules.origin;
        let faults = |reasons: Vec<String>| {
            config.faults.extend(reasons.into_iter().map(|reason| Fault { origin, reason }));
        };
        loaded.map_err(faults).ok()
    }

    /// Each reason has the place in the file.
    fn of_file(name: &str, text: &[u8], zones: &[&str]) -> Result<Self, Vec<String>> {
        let text = str::from_utf8(text).map_err(|error| {
            let line = text.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count();
            vec![format!("{name}:{}: this is no text of UTF-8", line.saturating_add(1))]
        })?;
        let (rules, warnings) = Rules::read(text, zones)
            .map_err(|errors| errors.iter().map(|error| format!("{name}:{error}")).collect::<Vec<_>>())?;
        let warnings = warnings.iter().map(|warning| format!("{name}:{warning}")).collect();
        Ok(Self { name: name.into(), rules: RuleSet::Read(rules), warnings })
    }

    /// They were made for a list of zones, which is to be the one that there is: `any` is all of
    /// them.
    fn of_image(compiled: &'static Compiled, zones: &[&str]) -> Result<Self, Vec<String>> {
        let list: Vec<_> = zones.iter().copied().filter(|zone| *zone != OWN).collect();
        let help = format!("build with PARAVANE_ZONES={}", list.join(","));
        let without = zones.iter().filter(|zone| !compiled.zones.contains(zone));
        let without = without.map(|zone| format!("the rules that are built in do not know `{zone}`: {help}"));
        let beyond = compiled.zones.iter().filter(|zone| !zones.contains(zone));
        let beyond = beyond
            .map(|zone| format!("the rules that are built in are for `{zone}`, which no NIC is: {help}"));
        let reasons: Vec<_> = without.chain(beyond).collect();
        if !reasons.is_empty() {
            return Err(reasons);
        }
        Ok(Self { name: "built in".to_string(), rules: RuleSet::Compiled(compiled), warnings: Vec::new() })
    }
}
