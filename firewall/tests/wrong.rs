//! Files that are wrong, or likely to be, with what is said of them.

use paravane_firewall::{Diagnostic, Rules};

const CASES: &str = include_str!("cases.txt");
const ZONES: [&str; 4] = ["public", "private", "admin", "self"];

fn read(file: &str) -> Vec<Diagnostic> {
    let (Err(problems) | Ok((_, problems))) = Rules::read(file, &ZONES);
    problems
}

/// The files of the table, and the lines of what is said of each.
fn cases() -> impl Iterator<Item = (String, Vec<&'static str>)> {
    CASES.split("\n\n").skip(1).map(|case| {
        let (file, expected): (Vec<_>, Vec<_>) = case.lines().partition(|line| !line.starts_with("=> "));
        (file.join("\n") + "\n", expected.iter().map(|line| &line[3..]).collect())
    })
}

#[test]
fn each_file_is_told_what_is_wrong_with_it() {
    assert!(cases().count() >= 40);
    for (file, expected) in cases() {
        let said: Vec<_> = read(&file).iter().map(ToString::to_string).collect();
        assert_eq!(said, expected, "{file}");
    }
}

#[test]
fn a_span_is_in_the_file_and_its_place_is_where_it_begins() {
    for (file, _) in cases() {
        for problem in read(&file) {
            let before = file.get(..problem.span.start).unwrap();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
            let place = (problem.place.line, problem.place.column);
            assert_eq!(place, (u32::try_from(line).unwrap(), u32::try_from(column).unwrap()), "{problem}");
            assert!(file.get(problem.span.clone()).is_some_and(|text| !text.contains('\n')), "{problem}");
        }
    }
}

#[test]
fn lines_of_windows_are_the_same() {
    for (file, expected) in cases() {
        let said: Vec<_> = read(&file.replace('\n', "\r\n")).iter().map(ToString::to_string).collect();
        assert_eq!(said, expected, "{file}");
    }
}

#[test]
fn more_zones_or_rules_than_there_may_be_are_said() {
    let zones: Vec<_> = (0..65).map(|number| format!("zone{number}")).collect();
    let zones: Vec<_> = zones.iter().map(String::as_str).collect();
    let errors = Rules::read("default drop", &zones).unwrap_err();
    assert_eq!(errors[0].to_string(), "1:1: error: there are 65 zones: there may be 64");
    assert!(Rules::read("default drop", &zones[..64]).is_ok());

    let rules = |count: usize| "allow public -> self tcp 80\n".repeat(count) + "default drop";
    assert!(Rules::read(&rules(Rules::LIMIT), &ZONES).is_ok());
    let errors = Rules::read(&rules(Rules::LIMIT + 1), &ZONES).unwrap_err();
    let expected = "16385:1: error: this is one rule more than the 16384 that there may be: \
                    what shares a verdict stands in one rule, with a set";
    assert_eq!(errors[0].to_string(), expected);
}

#[test]
fn a_file_that_was_made_to_be_wrong_is_read_in_its_length() {
    let line = format!("set a = {{ {} }}\n", "x, ".repeat(100_000));
    assert_eq!(Rules::read(&line, &ZONES).unwrap_err().len(), 1_000);
    // Warnings leave room for an error.
    let unused = (0..2_000).map(|number| format!("set a{number} = 80\n")).collect::<String>();
    assert!(Rules::read(&unused, &ZONES).is_err());
    assert_eq!(Rules::read(&(unused + "default drop"), &ZONES).unwrap().1.len(), 1_000);
}
