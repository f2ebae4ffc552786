//! What each crate's manifest and folder have to have.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The folders of the workspace's crates, and of the one that stands alone.
fn crates() -> Vec<PathBuf> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = manifest.split_once("\nmembers = [").unwrap().1.split_once(']').unwrap().0;
    let members: Vec<_> =
        members.split('"').skip(1).step_by(2).chain(["fuzz"]).map(|at| root().join(at)).collect();
    assert!(members.len() > 10 && members.iter().all(|folder| folder.join("Cargo.toml").is_file()));
    members
}

/// A crate is downloaded without its workspace, so the licences have to be in its own folder.
#[test]
fn each_crate_has_the_licences() {
    for folder in crates() {
        for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
            let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
            let whole = fs::read_to_string(root().join(name)).unwrap();
            assert!(text == whole, "{} has no {name} like that of the root", folder.display());
        }
    }
}

/// Features of a dependency are switched on for everybody in a program. What smoltcp can do is the
/// program's choice.
#[test]
fn the_adapter_asks_smoltcp_for_ethernet_only() {
    let manifest = fs::read_to_string(root().join("net-smoltcp/Cargo.toml")).unwrap();
    let dependencies = manifest.split_once("\n[dependencies]\n").unwrap().1;
    let smoltcp = dependencies.lines().find(|line| line.starts_with("smoltcp")).unwrap();
    assert_eq!(smoltcp, r#"smoltcp = { workspace = true, features = ["medium-ethernet"] }"#);
    assert!(!manifest.contains("\ndefault ="), "a default feature is a choice made for others");
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(workspace.contains(r#"smoltcp = { version = "0.14", default-features = false }"#));
}
