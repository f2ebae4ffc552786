//! That the code in the repository's pages is compiled: as a documentation test, or, in the two
//! guides, as lines of a program that runs.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// The guides, and the programs that they walk through.
const GUIDES: [(&str, &str); 2] = [
    ("docs/testing-your-driver.md", "mock-hal/examples/toy.rs"),
    ("docs/embedding.md", "tests/tests/embedding/kernel.rs"),
];

/// The folder of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn the_guides_show_what_is_compiled() {
    for (guide, program) in GUIDES {
        let program = text(program);
        let mut shown = 0;
        for block in text(guide).split("```rust").skip(1) {
            let (_, code) = block.split("```").next().unwrap().split_once('\n').unwrap();
            for line in code.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"))
            {
                assert!(
                    program.lines().any(|compiled| compiled.trim() == line),
                    "{guide} shows what is not in its program: {line}"
                );
                shown += 1;
            }
        }
        assert!(shown > 20, "{guide}: {shown} lines");
    }
}

/// All pages under `folder`.
fn pages(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                pages(&path, into);
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            into.push(path);
        }
    }
}

/// Whether rustdoc has this page among the documentation of a crate.
fn is_documentation(page: &str) -> bool {
    if page == "README.md" {
        return text("tests/src/lib.rs").contains(r#"include_str!("../../README.md")"#);
    }
    let folder = root().join(page);
    ["lib.rs", "main.rs"].iter().any(|file| {
        let source = fs::read_to_string(folder.with_file_name("src").join(file)).unwrap_or_default();
        page.ends_with("/README.md") && source.contains(r#"include_str!("../README.md")"#)
    })
}

#[test]
fn all_code_in_pages_is_compiled() {
    let mut found = Vec::new();
    pages(root(), &mut found);
    assert!(found.len() > 15, "{found:?}");
    for page in found {
        let name = page.strip_prefix(root()).unwrap().to_str().unwrap();
        let fences: Vec<_> = fs::read_to_string(&page)
            .unwrap()
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("```").map(str::to_owned))
            .step_by(2)
            .collect();
        for fence in &fences {
            assert!(!fence.contains("ignore"), "{name}: a block that nobody compiles: {fence}");
        }
        let has_code = fences.iter().any(|fence| fence.starts_with("rust"));
        let is_guide = GUIDES.iter().any(|(guide, _)| *guide == name);
        assert!(!has_code || is_guide || is_documentation(name), "{name} shows code that nobody compiles");
    }
}
