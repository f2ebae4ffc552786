//! That the code in `docs/testing-your-driver.md` is the code of the example that it walks through.

#![allow(clippy::unwrap_used, reason = "tests")]

const GUIDE: &str = include_str!("../../docs/testing-your-driver.md");
const TOY: &str = include_str!("../../mock-hal/examples/toy.rs");

#[test]
fn the_guide_shows_what_is_compiled() {
    let mut shown = 0;
    for block in GUIDE.split("```rust").skip(1) {
        let (_, code) = block.split("```").next().unwrap().split_once('\n').unwrap();
        for line in code.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")) {
            assert!(TOY.lines().any(|compiled| compiled.trim() == line), "not in the example: {line}");
            shown += 1;
        }
    }
    assert!(shown > 20, "{shown} lines");
}
