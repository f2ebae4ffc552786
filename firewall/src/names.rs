//! Words that are the language's, and those that were likely meant.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// What a line begins with.
pub(crate) const STATEMENTS: [&str; 7] = ["zone", "set", "service", "allow", "reject", "drop", "default"];

/// What a rule's conditions and actions begin with.
pub(crate) const CLAUSES: [&str; 10] =
    ["from", "to", "tcp", "udp", "icmp", "icmpv6", "protocol", "limit", "log", "counter"];

const OTHERS: [&str; 5] = ["any", "source-port", "burst", "per", "source"];

/// Whether nothing else can be called so.
pub(crate) fn is_reserved(word: &str) -> bool {
    STATEMENTS.contains(&word) || CLAUSES.contains(&word) || OTHERS.contains(&word)
}

/// What other firewalls say for our words.
const ELSEWHERE: [(&str, &str); 6] = [
    ("accept", "allow"),
    ("pass", "allow"),
    ("permit", "allow"),
    ("block", "drop"),
    ("deny", "drop"),
    ("policy", "default"),
];

/// For a word that begins no line.
pub(crate) fn statement_help(word: &str) -> String {
    meant(word, &STATEMENTS).unwrap_or_else(|| format!("a line begins with {}", one_of(STATEMENTS)))
}

/// For a word that is no verdict.
pub(crate) fn verdict_help(word: &str) -> String {
    const VERDICTS: [&str; 3] = ["allow", "reject", "drop"];
    meant(word, &VERDICTS).unwrap_or_else(|| format!("a verdict is {}", one_of(VERDICTS)))
}

fn meant(word: &str, ours: &[&str]) -> Option<String> {
    let elsewhere = ELSEWHERE.iter().find(|(theirs, meant)| *theirs == word && ours.contains(meant));
    let meant = elsewhere.map(|(_, meant)| *meant).or_else(|| nearest(word, ours.iter().copied()))?;
    Some(format!("did you mean `{meant}`?"))
}

/// For a name that is not there, where there are `names`.
pub(crate) fn unknown_help<'a>(word: &str, names: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(meant) = nearest(word, names.clone()) {
        return format!("did you mean `{meant}`?");
    }
    match names.into_iter().take(8).collect::<Vec<_>>() {
        names if names.is_empty() => "there is none at all".into(),
        names => format!("there is {}", one_of(names)),
    }
}

/// `a`, `b` or `c`.
pub(crate) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let mut quoted: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match quoted.pop() {
        Some(last) if quoted.is_empty() => last,
        Some(last) => format!("{} or {last}", quoted.join(", ")),
        None => String::new(),
    }
}

/// Which of `names` differs least from `word`, if few slips lead from one to the other.
pub(crate) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Names and words of strangers' making: no more work than a person's typing is worth.
    if word.len() > 32 {
        return None;
    }
    let most = (word.chars().count() / 3).clamp(1, 2);
    let near = names.into_iter().take(1_000).filter(|name| name.len().abs_diff(word.len()) <= most);
    let measured = near.map(|name| (slips(word, name), name));
    measured.filter(|&(slips, _)| slips <= most).min_by_key(|&(slips, _)| slips).map(|(_, name)| name)
}

/// How many characters are missing, too many, wrong, or changed places with the next one.
fn slips(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let at = |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX / 2);
    for (i, from) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(last.len());
        row.push(i + 1);
        for (j, to) in b.iter().enumerate() {
            let put = at(&last, j) + usize::from(from != to);
            let mut least = put.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(to) && b.get(j - 1) == Some(from);
            if swapped {
                least = least.min(at(&before_last, j - 1) + 1);
            }
            row.push(least);
        }
        before_last = core::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted() {
        let counted =
            [("office", "ofice"), ("office", "offcie"), ("web", "wob"), ("", "abc"), ("abcd", "badc")];
        assert_eq!(counted.map(|(a, b)| slips(a, b)), [1, 1, 1, 3, 2]);
    }

    #[test]
    fn another_word_is_not_meant() {
        assert_eq!(nearest("ofice", ["public", "office"]), Some("office"));
        assert_eq!(nearest("web", ["dns", "ssh"]), None);
        assert_eq!(unknown_help("web", ["dns", "ssh"]), "there is `dns` or `ssh`");
    }
}
