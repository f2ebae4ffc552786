//! The shape of what is compiled; whether it is right, `tests/compiled-firewall` knows.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;

use paravane_firewall::Rules;
use paravane_firewall_build::{BuildError, build, compile, render};

fn compiled(text: &str) -> String {
    let zones = ["a", "b", "c", "d"];
    compile(&Rules::read(text, &zones).unwrap().0)
}

#[test]
fn nothing_in_it_may_panic() {
    let code = compiled(
        include_str!("../../rules/example.rules")
            .replace("public", "a")
            .replace("private", "b")
            .replace("admin", "c")
            .replace("self", "d")
            .replace(", lab", "")
            .as_str(),
    );
    for word in ["unsafe", "unwrap", "expect(", "panic", "unreachable!"] {
        assert!(!code.contains(word), "{word}");
    }
}

#[test]
fn sets_are_arrays_and_single_values_are_comparisons() {
    let code = compiled(
        "drop a -> b from { 10.0.0.1, 10.0.0.3, 10.0.0.5-10.0.0.9 }\nallow a -> b tcp 80\ndefault drop",
    );
    assert!(code.contains(
        "[(u32, u32); 3] = [(167772161, 167772161), (167772163, 167772163), (167772165, 167772169)]"
    ));
    assert!(code.contains("port == 80"));
}

#[test]
fn what_pairs_of_zones_share_is_there_once() {
    let code =
        compiled("allow a -> { b, c } tcp 80 to 10.0.0.1\nallow b -> c tcp 80 to 10.0.0.1\ndefault drop");
    assert_eq!(code.matches("to == 167772161").count(), 2, "rule 0 and rule 1:\n{code}");
    assert!(code.contains("(0, 1) | (0, 2) =>"));
}

#[test]
fn a_rule_for_many_zones_is_not_multiplied() {
    let mut text = String::new();
    for number in 0..1_000 {
        _ = writeln!(
            text,
            "allow any -> d tcp {number}\nallow {} -> any udp {number}",
            ["a", "b"][number % 2]
        );
    }
    let code = compiled(&(text + "default drop"));
    assert!(code.len() < 600_000, "{}", code.len());
}

#[test]
fn no_function_is_long() {
    let mut text = String::new();
    for number in 0..1_000 {
        _ = writeln!(text, "allow a -> b tcp {} to 10.0.{}.{}", number + 1, number / 256, number % 256);
        // Their ports overlap in so many ways that no table is worth it.
        _ = writeln!(
            text,
            "drop a -> c tcp {}-{} from 10.0.{}.1-11.0.0.{}",
            number,
            9_000 - number,
            number / 256,
            number % 256
        );
    }
    let code = compiled(&(text + "default drop"));
    for function in code.split("#[inline(never)]").skip(1) {
        let function = function.split("\n}\n").next().unwrap();
        assert!(function.lines().count() < 100, "{function}");
    }
}

#[test]
fn a_build_script_is_told_all_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.rules");
    std::fs::write(&file, "allow a -> z\nallow z -> a").unwrap();
    let error = build(&file, &["a"]).unwrap_err();
    assert!(
        matches!(&error, BuildError::Rules(said) if said.matches("there is no zone `z`").count() == 2),
        "{error}"
    );
    assert!(matches!(build(folder.path().join("b.rules"), &["a"]), Err(BuildError::File { .. })));
}

#[test]
fn colours_are_only_there_when_asked_for() {
    let text = "allow a -> z";
    let errors = Rules::read(text, &["a"]).unwrap_err();
    assert!(!render(&errors, "f", text, false).contains('\u{1b}'));
    assert!(render(&errors, "f", text, true).contains('\u{1b}'));
}
