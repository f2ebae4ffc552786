//! What people see.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::process::{Command, Output};

struct Said {
    good: bool,
    out: String,
    err: String,
}

/// Runs it with `text` as `shop.rules`.
fn run(text: &str, arguments: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("shop.rules"), text).unwrap();
    let program = env!("CARGO_BIN_EXE_paravane-firewall");
    let Output { status, stdout, stderr } =
        Command::new(program).args(arguments).current_dir(&folder).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { good: status.success(), out: text(stdout), err: text(stderr) }
}

#[test]
fn all_errors_are_shown_beside_their_lines() {
    let text = "allow public -> privte tcp 80\nallow public -> private from 10.0.0.300\ndefault drop\n";
    let said = run(text, &["check", "--zones", "public,private", "shop.rules"]);
    let expected = "Error: there is no zone `privte`
   ╭─[ shop.rules:1:17 ]
   │
 1 │ allow public -> privte tcp 80
   │                 ───┬──  
   │                    ╰──── did you mean `private`?
───╯
Error: `10.0.0.300` is no address
   ╭─[ shop.rules:2:30 ]
   │
 2 │ allow public -> private from 10.0.0.300
   │                              ─────┬────  
   │                                   ╰────── addresses look like `192.0.2.1` and `2001:db8::1`, prefixes like `192.0.2.0/24`
───╯
shop.rules: 2 errors
";
    assert_eq!(said.err, expected);
    assert!(!said.good && said.out.is_empty());
}

#[test]
fn a_shadowed_rule_is_shown_with_both_lines() {
    let text = "drop public -> any\nallow public -> private tcp 80\ndefault drop\n";
    let said = run(text, &["check", "shop.rules"]);
    assert!(said.good);
    assert_eq!(said.out, "shop.rules: 2 rules, 1 warning; zones as the file has them: public, private\n");
    let expected = "Warning: this rule never decides: line 1 matches all of its packets
   ╭─[ shop.rules:2:1 ]
   │
 1 │ drop public -> any
   │ ─────────┬────────  
   │          ╰────────── this one decides
 2 │ allow public -> private tcp 80
   │ ───────────────┬──────────────  
   │                ╰──────────────── put it above line 1 if it is an exception, or take it out
───╯
";
    assert_eq!(said.err, expected);
}

#[test]
fn a_decision_is_explained_rule_by_rule() {
    let text = "drop any -> any from 198.51.100.0/24\nallow public  -> private tcp 80\ndefault drop\n";
    let packet = ["public", "->", "private", "tcp", "203.0.113.7:5000", "10.0.0.11:80"];
    let said = run(text, &[&["explain", "shop.rules"], &packet[..]].concat());
    let expected = "  line 1: drop any -> any from 198.51.100.0/24
           no: 203.0.113.7 is not among its sources
> line 2: allow public -> private tcp 80
allow
";
    assert_eq!((said.out.as_str(), said.good), (expected, true));
    let said = run(text, &["explain", "shop.rules", &packet.join(" ")]);
    assert_eq!(said.out, expected);

    let said = run(text, &["explain", "shop.rules", "pubic -> private"]);
    assert_eq!((said.err.as_str(), said.good), ("there is no zone `pubic`: did you mean `public`?\n", false));
}

#[test]
fn a_file_that_is_not_there_is_said() {
    let said = run("", &["check", "other.rules"]);
    assert!(said.err.starts_with("other.rules: ") && !said.good);
}
