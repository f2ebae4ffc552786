//! Debian's packages that the rivals are made of, downloaded and unpacked under `target`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use paravane_tests::tool;

/// The package that always depends on the newest kernel for machines like ours.
const KERNEL: &str = "linux-image-cloud-amd64";
/// What the guests run, and the libraries that those need.
const PROGRAMS: [&str; 35] = [
    "busybox-static",
    "ethtool",
    "haproxy",
    "ipvsadm",
    "libbsd0",
    "libc6",
    "libcap2",
    "libcrypt1",
    "libedit2",
    "libgcc-s1",
    "libgcrypt20",
    "libgmp10",
    "libgpg-error0",
    "libjansson4",
    "liblua5.3-0",
    "liblz4-1",
    "liblzma5",
    "libmd0",
    "libmnl0",
    "libnftables1",
    "libnftnl11",
    "libnl-3-200",
    "libnl-genl-3-200",
    "libopentracing-c-wrapper0",
    "libopentracing1",
    "libpcre2-8-0",
    "libpopt0",
    "libssl3",
    "libstdc++6",
    "libsystemd0",
    "libtinfo6",
    "libxtables12",
    "libzstd1",
    "nftables",
    "zlib1g",
];
const WHY: &str =
    "The rivals are built from packages of Debian 12: apt's lists and its network are needed once";

/// What they hold, unpacked.
#[derive(Debug)]
pub(crate) struct Packages {
    root: PathBuf,
    files: Vec<String>,
}

impl Packages {
    /// Downloads what is not there yet, and unpacks all of it.
    pub(crate) fn fetch() -> Result<Self> {
        let folder = folder()?;
        let debs = folder.join("debs");
        fs::create_dir_all(&debs).with_context(|| format!("cannot make {}", debs.display()))?;
        let names = names(&debs).context(WHY)?;
        let missing: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| file_of(&debs, name).is_none()).collect();
        if !missing.is_empty() {
            download(&debs, &missing).context(WHY)?;
        }
        let file = |name: &String| file_of(&debs, name).with_context(|| format!("apt-get left no {name}"));
        let files = names.iter().map(file).collect::<Result<Vec<_>>>()?;
        let root = folder.join("root");
        unpack(&debs, &files, &root)?;
        Ok(Self { root, files })
    }

    /// The folder that stands for `/`.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The version of package `name`, or of the first one whose name starts so.
    pub(crate) fn version(&self, name: &str) -> &str {
        let file = self.files.iter().find(|file| file.starts_with(name));
        file.and_then(|file| file.split('_').nth(1)).unwrap_or("?")
    }
}

/// Where all of this is kept.
pub(crate) fn folder() -> Result<PathBuf> {
    let target = match env::var_os("CARGO_TARGET_DIR") {
        Some(target) => PathBuf::from(target),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    };
    let folder = target.join("rivals");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(fs::canonicalize(folder)?)
}

/// The packages: those above and a kernel, one that is there before a newer one.
fn names(debs: &Path) -> Result<Vec<String>> {
    let there = fs::read_dir(debs)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut kernels = there.filter(|name| name.starts_with("linux-image-"));
    let kernel = match kernels.next().and_then(|file| Some(file.split_once('_')?.0.to_owned())) {
        Some(kernel) => kernel,
        None => newest_kernel()?,
    };
    Ok(PROGRAMS.iter().map(|&name| name.to_owned()).chain([kernel]).collect())
}

fn newest_kernel() -> Result<String> {
    let words = ["depends", "--important", KERNEL];
    let said = said(Command::new(tool::find("apt-cache")?).args(words))
        .or_else(|_| update().and_then(|()| said(Command::new(tool::find("apt-cache")?).args(words))))?;
    let mut depends = said.lines().filter_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let version = depends.next().with_context(|| format!("{KERNEL} depends on no kernel: {said:?}"))?;
    Ok(format!("linux-image-{version}"))
}

fn download(debs: &Path, names: &[&str]) -> Result<()> {
    println!("==> downloading {} packages of Debian to {}", names.len(), debs.display());
    let apt = tool::find("apt-get")?;
    let once = || said(Command::new(&apt).arg("download").args(names).current_dir(debs));
    // Lists that are too old, or not there, fail the first attempt.
    once().or_else(|_| update().and_then(|()| once())).map(drop)
}

fn update() -> Result<()> {
    said(Command::new(tool::find("apt-get")?).arg("update")).map(drop)
}

/// The name of the file of package `name`.
fn file_of(debs: &Path, name: &str) -> Option<String> {
    let files = fs::read_dir(debs).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let start = format!("{name}_");
    files.filter(|file| file.starts_with(&start) && file.ends_with(".deb")).max()
}

/// Unpacks them, unless these were unpacked before.
fn unpack(debs: &Path, files: &[String], root: &Path) -> Result<()> {
    let (stamp, wanted) = (root.join("packages"), files.join("\n"));
    if fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    let dpkg = tool::find("dpkg-deb").context(WHY)?;
    // What was not finished, or is of other versions.
    let _ = fs::remove_dir_all(root);
    fs::create_dir_all(root)?;
    for file in files {
        said(Command::new(&dpkg).arg("--extract").arg(debs.join(file)).arg(root))?;
    }
    fs::write(stamp, wanted)?;
    Ok(())
}

/// What `command` writes to its standard output.
pub(crate) fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} says: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_found_by_its_whole_name() {
        let folder = tempfile::tempdir().unwrap();
        for file in
            ["libc6_2.36_amd64.deb", "libc6-dev_2.36_amd64.deb", "libc6_2.35_amd64.deb", "libc6_3.part"]
        {
            fs::write(folder.path().join(file), "").unwrap();
        }
        assert_eq!(file_of(folder.path(), "libc6").unwrap(), "libc6_2.36_amd64.deb");
        assert_eq!(file_of(folder.path(), "libc"), None);
    }

    #[test]
    fn a_program_that_fails_is_quoted() {
        let error = said(Command::new("sh").args(["-c", "echo no lists >&2; exit 1"])).unwrap_err();
        assert!(error.to_string().ends_with("says: no lists"), "{error}");
    }
}
