//! Fetches the code under test from the drivers' sources, and has it use loom's atomics and fences.
//!
//! A file or a function is taken as it stands; what changes is where its names lead. A function
//! that is not there any more stops the build.

#![allow(clippy::panic, clippy::expect_used, reason = "a build script stops by panicking")]

use std::path::Path;
use std::{env, fs};

/// `source` from the line that starts with `head` to the closing brace at the same depth.
fn function(source: &str, head: &str) -> String {
    let start = source.find(head).unwrap_or_else(|| panic!("no `{head}` in the sources"));
    assert!(source[start + head.len()..].find(head).is_none(), "`{head}` is there twice");
    let line = &source[source[..start].rfind('\n').map_or(0, |at| at + 1)..];
    let indent = &line[..line.len() - line.trim_start().len()];
    let rest = &source[start..];
    let end = rest.find(&format!("\n{indent}}}\n")).expect("a function ends");
    format!("{}\n{indent}}}\n", &rest[..end])
}

/// Leads the names of atomics and of the platform's crate to this crate's stand-ins.
fn led_here(source: &str) -> String {
    let code: String =
        source.lines().filter(|line| !line.starts_with("//!")).map(|line| format!("{line}\n")).collect();
    code.replace("core::sync::atomic", "loom::sync::atomic").replace("paravane_hal::", "crate::platform::")
}

/// Everything before the tests of a module. What else is there for tests stays.
fn without_tests(source: &str) -> String {
    let code = ["#[cfg(test)]\nmod tests", "#[cfg(test)]\n#[path"]
        .iter()
        .fold(source, |code, tests| code.split(tests).next().unwrap_or(code));
    code.replace("#[cfg(test)]\npub(crate) mod referee;\n", "")
        // Where the memory comes from makes no difference, and this crate has it elsewhere.
        .replace("pub(crate) mod legacy;\n", "")
        .replace("split::legacy::memory(of, size)?", "split::memory::SplitMemory::new(of, size)?")
}

/// The device's handle to the memory of a ring.
const OTHER_SIDE: &str = "
impl SplitMemory<()> {
    pub(crate) fn other_side(&self) -> Self {
        let Self { descriptors, avail, used, size } = self;
        Self { descriptors: descriptors.clone(), avail: avail.clone(), used: used.clone(), size: *size }
    }
}
";

/// The same of a packed one; and the device's wish, as it is.
const OTHER_SIDE_PACKED: &str = "
impl PackedMemory<()> {
    pub(crate) fn other_side(&self) -> Self {
        let Self { slots, driver, device } = self;
        Self { slots: slots.clone(), driver: driver.clone(), device: device.clone() }
    }

    pub(crate) fn load_device_wish(&self) -> u32 {
        self.device.words()[0].load()
    }
}
";

fn main() {
    let root = Path::new("../..");
    let out = env::var("OUT_DIR").expect("cargo says where");
    let read = |path: &str| {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
        fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let write =
        |name: &str, text: String| fs::write(Path::new(&out).join(name), text).expect("OUT_DIR is writable");

    for name in [
        "ring",
        "ring/size",
        "ring/packed",
        "ring/packed/memory",
        "ring/packed/layout",
        "ring/split",
        "ring/split/memory",
        "ring/split/layout",
        "ring/split/notify",
    ] {
        let mut source = without_tests(&read(&format!("virtio/src/{name}.rs")));
        match name {
            "ring/split/memory" => source.push_str(OTHER_SIDE),
            "ring/packed/memory" => source.push_str(OTHER_SIDE_PACKED),
            _ => {}
        }
        // What is included looks for its modules beside itself.
        let name = if name == "ring" { "ring/mod" } else { name };
        let file = Path::new(&out).join(format!("{name}.rs"));
        fs::create_dir_all(file.parent().expect("it has a name")).expect("OUT_DIR is writable");
        fs::write(file, led_here(&source)).expect("OUT_DIR is writable");
    }
    write("ring.rs", led_here(&without_tests(&read("vmxnet3/src/ring.rs"))));
    let batch = read("vmxnet3/src/batch.rs");
    let head = "fn hand_over(first: &Words<4>, first_words: u64, last: &Words<4>, last_words: u64) {";
    write("batch.rs", function(&batch, head));
    let rx = read("vmxnet3/src/rx.rs");
    let word3 = function(&rx, "fn word3_of_new(completion: &Words<4>, at: Cursor) -> Option<u32> {");
    let all = function(&rx, "fn read_new(completion: &Words<4>, at: Cursor) -> Option<[u32; 4]> {");
    write("read_new.rs", word3 + &all);
    let has = function(&rx, "fn has_completion(&self) -> bool {");
    let arm = function(&rx, "fn arm(&mut self) -> Result<Armed, DeviceFault> {");
    write("rx.rs", format!("impl RxQueue {{ {has} pub(crate) {arm} }}"));
    let give = function(&read("vmxnet3/src/rx_ring.rs"), "fn give(slots: &[Words<4>], word2: u32) {");
    write("rx_ring.rs", give);
    let arm = function(&read("vmxnet3/src/control.rs"), "fn arm(&mut self) -> Result<Armed, DeviceFault> {");
    write("control.rs", format!("impl VmxControl {{ pub(crate) {arm} }}"));
    let tx = read("vmxnet3/src/tx.rs");
    let look = function(&tx, "fn observe(&mut self) -> Result<(), DeviceFault> {");
    let has = function(&tx, "fn has_completion(&self) -> bool {");
    let arm = function(&tx, "fn arm(&mut self) -> Result<Armed, DeviceFault> {");
    write("tx.rs", format!("impl TxQueue {{ {look} {has} pub(crate) {arm} }}"));
}
