//! Sets and steps as sorted arrays, each once.

use std::collections::HashMap;
use std::fmt;
use std::fmt::Write as _;

/// All arrays.
#[derive(Default)]
pub(crate) struct Tables {
    names: HashMap<String, String>,
    out: String,
}

impl fmt::Display for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.out)
    }
}

impl Tables {
    fn array(&mut self, kind: &str, item: &str, items: &[String]) -> String {
        let rest = format!(": [{item}; {}] = [{}];\n", items.len(), items.join(", "));
        let number = self.names.len();
        let out = &mut self.out;
        let name = self.names.entry(rest).or_insert_with_key(|rest| {
            let name = format!("{kind}_{number}");
            _ = write!(out, "static {name}{rest}");
            name
        });
        name.clone()
    }

    /// Where each step begins, and the number of what is there.
    pub(crate) fn steps(&mut self, (number, largest): (&str, u128), steps: &[(u128, usize)]) -> String {
        // Behind the last number an axis has steps that nothing comes to.
        let steps = steps.iter().filter(|&&(first, _)| first <= largest);
        let items: Vec<_> = steps.map(|(first, leaf)| format!("({first}, {leaf})")).collect();
        self.array("STEPS", &format!("({number}, u16)"), &items)
    }

    /// Whether the variable is in one of `ranges`.
    pub(crate) fn test(
        &mut self,
        variable: &str,
        (number, largest): (&str, u128),
        ranges: &[(u128, u128)],
    ) -> String {
        match ranges {
            [] => "false".into(),
            [(first, last)] if first == last => format!("{variable} == {first}"),
            [(0, last)] => format!("{variable} <= {last}"),
            [(first, last)] if *last == largest => format!("{variable} >= {first}"),
            [(first, last)] => format!("({first}..={last}).contains(&{variable})"),
            [(a, also_a), (b, also_b)] if a == also_a && b == also_b => {
                format!("({variable} == {a} || {variable} == {b})")
            }
            ranges => {
                let items: Vec<_> = ranges.iter().map(|(first, last)| format!("({first}, {last})")).collect();
                let table = self.array("SET", &format!("({number}, {number})"), &items);
                format!("contains(&{table}, {variable})")
            }
        }
    }
}
