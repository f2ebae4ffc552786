//! How large it is.

use crate::ecmp::Kind;

pub(crate) const HELP: &str = "\
usage: fleet [--full] [--balancers N] [--servers N] [--flows N] [--places PRIME]
             [--ecmp threshold|modulo|resilient] [--seed N]

16 balancers, 100 servers, 1,000,000 flows and a table of 8191 places, if nothing else is said;
with --full 256, 1000, 10,000,000 and 131,071.
";

/// How large it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) balancers: u16,
    pub(crate) servers: u16,
    pub(crate) flows: u64,
    pub(crate) places: u32,
    /// Only that one.
    pub(crate) ecmp: Option<Kind>,
    pub(crate) seed: u64,
}

impl Options {
    pub(crate) const SMALL: Self =
        Self { balancers: 16, servers: 100, flows: 1_000_000, places: 8191, ecmp: None, seed: 1 };
    pub(crate) const FULL: Self =
        Self { balancers: 256, servers: 1000, flows: 10_000_000, places: 131_071, ..Self::SMALL };

    /// What was asked for; `None` of `--help`.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self::SMALL;
        let mut arguments = arguments.peekable();
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--help" | "-h" => return Ok(None),
                "--full" => {
                    options = Self { ecmp: options.ecmp, seed: options.seed, ..Self::FULL };
                    continue;
                }
                _ => {}
            }
            let value = arguments.next().ok_or_else(|| format!("{name}: a value is needed; see --help"))?;
            match name.as_str() {
                "--balancers" => options.balancers = number(&name, &value, 4, 256)?,
                "--servers" => options.servers = number(&name, &value, 10, 10_000)?,
                "--flows" => options.flows = number(&name, &value, 1, 1_000_000_000)?,
                "--places" => options.places = number(&name, &value, 1, u32::MAX)?,
                "--seed" => options.seed = number(&name, &value, 0, u64::MAX)?,
                "--ecmp" => options.ecmp = Some(kind(&value)?),
                _ => return Err(format!("{name}: there is no such option; see --help")),
            }
        }
        Ok(Some(options))
    }
}

fn number<T>(name: &str, text: &str, least: T, most: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let number = text.replace([',', '_'], "").parse().ok();
    let number = number.filter(|number| (&least..=&most).contains(&number));
    number.ok_or_else(|| format!("{name} {text}: a number from {least} to {most} is needed"))
}

fn kind(text: &str) -> Result<Kind, String> {
    let known = Kind::ALL.into_iter().find(|kind| kind.name() == text);
    known.ok_or_else(|| format!("--ecmp {text}: threshold, modulo or resilient is needed"))
}
