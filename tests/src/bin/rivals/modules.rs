//! Kernel modules: where one is, and which others it needs loaded first.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// How far modules may lean on each other.
const MAX_DEPTH: usize = 16;

/// All modules of a kernel.
#[derive(Debug)]
pub(crate) struct Modules {
    files: Vec<PathBuf>,
}

impl Modules {
    /// Those under `root`.
    pub(crate) fn of(root: &Path) -> Result<Self> {
        let (mut files, mut folders) = (Vec::new(), vec![root.join("lib/modules")]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| format!("no folder {}", folder.display()))? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "ko") {
                    files.push(path);
                }
            }
        }
        Ok(Self { files })
    }

    /// The modules called `names` and those that they need, each behind what it needs.
    pub(crate) fn in_order(&self, names: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut order = Vec::new();
        for name in names {
            self.add(name, 0, &mut order)?;
        }
        Ok(order)
    }

    fn add(&self, name: &str, depth: usize, order: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
        if order.iter().any(|(there, _)| there == name) {
            return Ok(());
        }
        ensure!(depth < MAX_DEPTH, "the kernel's modules lean on each other: {name}");
        let is_it = |path: &&PathBuf| {
            path.file_stem().is_some_and(|stem| stem.to_string_lossy().replace('-', "_") == name)
        };
        let file =
            self.files.iter().find(is_it).with_context(|| format!("the kernel has no module {name}"))?;
        let content = fs::read(file)?;
        for needed in depends(&content) {
            self.add(&needed, depth + 1, order)?;
        }
        order.push((name.to_owned(), content));
        Ok(())
    }
}

/// What a module says that it needs, in its section `.modinfo`.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let start = module.windows(KEY.len()).position(|bytes| bytes == KEY);
    let text = start.and_then(|start| module.get(start + KEY.len()..)).unwrap_or_default();
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(text);
    names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_behind_what_they_need() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = folder.path().join("lib/modules/6/kernel/net");
        fs::create_dir_all(&kernel).unwrap();
        let make = |name: &str, depends: &str| {
            fs::write(kernel.join(name), format!("\x7fELF\0license=GPL\0depends={depends}\0name=x\0"))
                .unwrap();
        };
        make("ip_vs.ko", "nf-conntrack,libcrc32c");
        make("nf_conntrack.ko", "libcrc32c");
        make("libcrc32c.ko", "");
        make("bad.ko", "bad2");
        let modules = Modules::of(folder.path()).unwrap();
        let order = modules.in_order(&["ip_vs", "libcrc32c"]).unwrap();
        let names: Vec<_> = order.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["libcrc32c", "nf_conntrack", "ip_vs"]);
        assert!(modules.in_order(&["bad"]).unwrap_err().to_string().contains("no module bad2"));
    }
}
