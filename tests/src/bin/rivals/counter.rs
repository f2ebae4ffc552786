//! How many instructions a guest has executed, from outside: QEMU's translator counts them in a
//! file, by a plugin that is compiled here.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use paravane_tests::tool;

use crate::packages;

/// How long a guest may still work when all is done that was asked of it.
const SETTLE: Duration = Duration::from_millis(100);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// What a clock's interrupts come to between two looks.
const IDLE: u64 = 20_000;

/// Compiles the plugin; where it is.
pub(crate) fn build() -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugin/count.rs");
    let plugin = packages::folder()?.join("count.so");
    let made = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    if made(&plugin).is_some_and(|at| Some(at) > made(&source)) {
        return Ok(plugin);
    }
    let words = ["--edition", "2024", "-O", "-C", "panic=abort", "-C", "strip=symbols"];
    let mut command = Command::new(tool::find("rustc")?);
    command.args(words).args(["--crate-type", "cdylib", "-o"]).arg(&plugin).arg(&source);
    packages::said(&mut command).context("the plugin that counts does not compile")?;
    Ok(plugin)
}

/// The count of one guest.
#[derive(Debug)]
pub(crate) struct Counter {
    file: File,
}

impl Counter {
    /// Makes the file at `path`, with a count of 0.
    pub(crate) fn make(path: &Path) -> Result<Self> {
        fs::write(path, [0; 4096]).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file: File::open(path)? })
    }

    /// The instructions so far.
    pub(crate) fn read(&self) -> Result<u64> {
        let mut count = [0; 8];
        self.file.read_exact_at(&mut count, 0).context("cannot read the count of instructions")?;
        Ok(u64::from_ne_bytes(count))
    }

    /// The same once the guest has come to rest.
    pub(crate) fn settled(&self) -> Result<u64> {
        let mut before = self.read()?;
        for _ in 0..SETTLE.as_millis() / LOOK_AGAIN.as_millis() {
            thread::sleep(LOOK_AGAIN);
            let now = self.read()?;
            if now - before < IDLE {
                return Ok(now);
            }
            before = now;
        }
        Ok(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_read_as_it_stands_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("count");
        let counter = Counter::make(&path).unwrap();
        assert_eq!(counter.read().unwrap(), 0);
        fs::write(&path, 77_777_u64.to_ne_bytes()).unwrap();
        assert_eq!(counter.settled().unwrap(), 77_777);
    }
}
