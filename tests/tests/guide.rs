//! That the code in the repository's pages is compiled: as a documentation test, or, in the two
//! guides, as lines of a program that runs.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// The guides, and the programs that they walk through.
const GUIDES: [(&str, &[&str]); 3] = [
    ("docs/testing-your-driver.md", &["mock-hal/examples/toy.rs"]),
    ("docs/embedding.md", &["tests/tests/embedding/kernel.rs"]),
    ("docs/adding.md", EXAMPLE),
];

/// The class of device that does not exist: its driver, then its model and its test.
const EXAMPLE: &[&str] = &[
    "virtio/src/example.rs",
    "virtio/src/example/queue.rs",
    "virtio/src/example/model.rs",
    "virtio/src/example/tests.rs",
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
    for (guide, programs) in GUIDES {
        let program: String = programs.iter().map(|program| text(program)).collect();
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

#[test]
fn a_class_of_device_is_added_in_under_150_lines() {
    let lines: usize = EXAMPLE[..2].iter().map(|file| text(file).lines().count()).sum();
    assert!(lines < 150, "the driver has {lines} lines");
}

/// What a walk sends its reader to is there, but for what is to be added.
#[test]
fn the_files_that_are_walked_through_exist() {
    let page = text("docs/adding.md");
    let named: Vec<_> = page.split('`').skip(1).step_by(2).filter(|name| name.contains('/')).collect();
    assert!(named.len() > 30, "{named:?}");
    for name in named.into_iter().filter(|name| !name.contains("NAME") && !name.contains([' ', '\n'])) {
        assert!(root().join(name).exists(), "docs/adding.md names {name}");
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
