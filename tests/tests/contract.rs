//! Every test that `docs/untrusted-device.md` names exists.

use std::fs;
use std::path::Path;

#[test]
fn every_test_named_in_the_contract_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let contract = fs::read_to_string(root.join("docs/untrusted-device.md")).expect("the contract is there");
    let mut named = 0;
    let mut missing = Vec::new();
    for line in contract.lines() {
        let Some(name) = line.strip_prefix("- `").and_then(|rest| rest.strip_suffix('`')) else { continue };
        let (file, test) = name.split_once("::").expect("a file and a test");
        let source = fs::read_to_string(root.join(file)).unwrap_or_default();
        named += 1;
        if !source.contains(&format!("fn {test}(")) {
            missing.push(name);
        }
    }
    assert_eq!(missing, Vec::<&str>::new());
    assert!(named >= 50, "only {named} tests are named: is the page still written that way?");
}

#[test]
fn every_clause_of_the_contract_names_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let contract = fs::read_to_string(root.join("docs/untrusted-device.md")).expect("the contract is there");
    // What follows a clause's first mark, up to the next clause.
    for clause in contract.split("\n**").skip(1) {
        let name = clause.split('.').next().unwrap_or_default();
        assert!(clause.contains("\n- `"), "clause {name} names no test");
    }
}
