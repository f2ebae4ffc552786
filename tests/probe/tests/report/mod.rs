//! A report, taken apart.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeMap;

use paravane_probe::Summary;

/// How a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    AsExpected,
    Differs,
    NotShown,
}

/// What a line tells.
#[derive(Debug)]
struct Fact {
    id: String,
    seen: String,
    verdict: Verdict,
}

/// The lines of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    identity: Vec<(String, String)>,
    facts: Vec<Fact>,
}

impl Report {
    pub(crate) fn add(&mut self, line: &str) {
        println!("{line}");
        let parts: Vec<_> = line.split(": ").collect();
        match parts[..] {
            ["probe", name, what] if name.starts_with("identity ") => {
                self.identity.push((name.trim_start_matches("identity ").into(), what.into()));
            }
            ["probe", id, expected, seen, verdict] => {
                assert!(expected.starts_with("expected ") && seen.starts_with("seen "), "{line}");
                let verdict = match verdict {
                    "as expected" => Verdict::AsExpected,
                    "differs" => Verdict::Differs,
                    _ => {
                        assert!(verdict.starts_with("not shown (") && verdict.ends_with(')'), "{line}");
                        Verdict::NotShown
                    }
                };
                let seen = seen.trim_start_matches("seen ").into();
                self.facts.push(Fact { id: id.into(), seen, verdict });
            }
            _ => panic!("no line of a report: {line}"),
        }
    }

    /// What the device says of itself.
    pub(crate) fn identity(&self, name: &str) -> &str {
        let found = self.identity.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, what)| what.as_str())
    }

    /// How a fact came out, if it was asked.
    pub(crate) fn verdict(&self, id: &str) -> Option<Verdict> {
        self.facts.iter().find(|fact| fact.id == id).map(|fact| fact.verdict)
    }

    /// That this is what was seen of each.
    pub(crate) fn saw(&self, all: &[(&str, &str)]) {
        for (id, due) in all {
            let fact = self.facts.iter().find(|fact| fact.id == *id);
            assert_eq!(fact.map(|fact| fact.seen.as_str()), Some(*due), "{id}");
        }
    }

    /// That all facts were asked that the device's description names, each once, and came out as
    /// expected but for `others`; of those of `either`, this is not asked.
    pub(crate) fn holds(&self, summary: Summary, others: &[(&str, Verdict)], either: &[&str]) {
        let text = include_str!("../../../../docs/vmxnet3-device.md");
        let mut named = text
            .split('`')
            .skip(1)
            .step_by(2)
            .filter_map(|word| word.strip_prefix("probe "))
            .flat_map(|ids| ids.split(", "))
            .collect::<Vec<_>>();
        named.sort_unstable();
        let mut asked: Vec<_> = self.facts.iter().map(|fact| fact.id.as_str()).collect();
        asked.sort_unstable();
        assert_eq!(asked, named, "facts that are asked, and those that are described");
        let verdicts: BTreeMap<_, _> = others.iter().copied().collect();
        assert_eq!(verdicts.len(), others.len(), "each once");
        let due = |id: &str| verdicts.get(id).copied().unwrap_or(Verdict::AsExpected);
        let wrong: Vec<_> = (self.facts.iter())
            .map(|fact| (fact.id.as_str(), fact.verdict, due(&fact.id)))
            .filter(|(id, seen, due)| seen != due && !either.contains(id))
            .collect();
        assert_eq!(wrong, [], "what came out, and what was due");
        let count = |verdict| self.facts.iter().filter(|fact| fact.verdict == verdict).count();
        let counted = Summary {
            as_expected: count(Verdict::AsExpected),
            differs: count(Verdict::Differs),
            not_shown: count(Verdict::NotShown),
        };
        assert_eq!(summary, counted);
    }
}
