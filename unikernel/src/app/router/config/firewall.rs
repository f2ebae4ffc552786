//! `[firewall]`: which rules there are, and what they are not asked.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::read::{Refused, parse, put, unknown};
use super::values::boolean;
use super::{Config, Origin, Setting, Source};
use crate::app::config::file::Entry;
use crate::app::router::rules::built_in;

const OF_FIREWALL: &str = "rules, pick-up";

/// The longest name that a file of a disk has.
const LONGEST_NAME: usize = 255;

/// Which rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Chosen {
    /// Those that are built in, if any are.
    #[default]
    BuiltIn,
    /// Those of a file of the disk.
    File(String),
    /// None, though some are built in.
    Nobodys,
}

/// What is said of the firewall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Firewall {
    /// Which rules.
    pub rules: Setting<Chosen>,
    /// Whether a TCP connection may come in its middle, of which nothing is known here.
    pub picks_up: Setting<bool>,
}

impl Config {
    pub(super) fn take_firewall(&mut self, source: Source, entry: &Entry, key: &str) -> Result<(), Refused> {
        let origin = Origin::Said(source, entry.at);
        match key {
            "rules" => put(&mut self.firewall.rules, parse(&entry.value, chosen), origin, entry),
            "pick-up" => put(&mut self.firewall.picks_up, boolean(&entry.value), origin, entry),
            key => unknown(entry, key, " in [firewall]", OF_FIREWALL),
        }
    }

    /// Whether there are to be rules.
    pub(super) fn has_rules(&self) -> bool {
        match self.firewall.rules.value {
            Chosen::BuiltIn => built_in().is_some(),
            Chosen::File(_) => true,
            Chosen::Nobodys => false,
        }
    }

    pub(super) fn effective_firewall(&self, all: &mut Vec<(String, String, Origin)>) {
        let Firewall { rules, picks_up } = &self.firewall;
        if !self.has_rules() && rules.origin == Origin::Default {
            return;
        }
        let name = match &rules.value {
            Chosen::File(name) => name,
            Chosen::BuiltIn => "built in",
            Chosen::Nobodys => "none",
        };
        all.push(("firewall.rules".into(), name.into(), rules.origin));
        all.push(("firewall.pick-up".into(), picks_up.value.to_string(), picks_up.origin));
    }
}

/// A file in the root directory, or none.
fn chosen(text: &str) -> Result<Chosen, String> {
    if text == "none" {
        return Ok(Chosen::Nobodys);
    }
    let is_name = |char: char| !char.is_control() && !"\\/:*?\"<>|".contains(char);
    if text.is_empty() || text.len() > LONGEST_NAME || !text.chars().all(is_name) {
        return Err(format!(
            "'{text}' is no file in the disk's root directory; write its name, as rules = \"shop.rules\", or \"none\""
        ));
    }
    Ok(Chosen::File(text.into()))
}
