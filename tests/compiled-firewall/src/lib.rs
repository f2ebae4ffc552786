//! Compiled rules, and packets from where rules begin and end.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "helpers of tests")]

mod boundaries;
mod corpus;

use paravane_firewall::Rules;
use paravane_firewall::compiled::Compiled;

pub use boundaries::Draw;

macro_rules! compiled {
    ($($name:ident),*) => {
        $(mod $name {
            include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".rs"));
        })*

        /// In the corpus's order.
        static COMPILED: [(&str, &Compiled); 8] = [$((stringify!($name), &$name::FIREWALL)),*];
    };
}

compiled!(example, distinct_16, distinct_256, distinct_4096, one_set, mixed_256, mixed_4096, many_zones);

/// A file of rules, in both forms.
pub struct Subject {
    /// Its name.
    pub name: &'static str,
    /// To be interpreted.
    pub rules: Rules,
    /// Compiled.
    pub compiled: &'static Compiled,
}

/// All files.
#[must_use]
pub fn subjects() -> Vec<Subject> {
    let texts = corpus::all().into_iter();
    let each = texts.zip(&COMPILED).map(|((name, text), &(compiled_name, compiled))| {
        assert_eq!(name, compiled_name);
        Subject { name, rules: Rules::read(&text, &corpus::ZONES).unwrap().0, compiled }
    });
    each.collect()
}

/// The one of that name.
#[must_use]
pub fn subject(name: &str) -> Subject {
    subjects().into_iter().find(|subject| subject.name == name).unwrap()
}
