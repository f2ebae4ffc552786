//! Programs of the machine that these tools lean on.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// The full path of `name`.
///
/// # Errors
///
/// It is not installed; the message says what installs it.
pub fn find(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Daemons are where only root looks.
    let folders = env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders.map(|dir| dir.join(name)).find(|file| file.is_file());
    found.with_context(|| format!("{name} is not installed; `ci/setup` installs it, or says how"))
}

/// The published device side of sockets, which `ci/setup` has cargo build.
///
/// # Errors
///
/// It was not built.
pub fn vhost_device_vsock() -> Result<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/bin/vhost-device-vsock");
    if file.is_file() { Ok(file) } else { find("vhost-device-vsock") }
}

/// A command for `program`. The kernel ends what it starts with the thread that started it, however
/// that comes to its end.
pub fn tied(program: &Path) -> Command {
    match find("setpriv") {
        Ok(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL"]).arg(program);
            command
        }
        Err(_) => Command::new(program),
    }
}

/// What the options' help says about [`qemu`].
pub const QEMU_HELP: &str = "The environment variable QEMU names another program than qemu-system-x86_64.";

/// The QEMU to run: the program that the environment variable `QEMU` names, or the usual one.
///
/// # Errors
///
/// It is not there; the message says which it was, and what says otherwise.
pub fn qemu() -> Result<PathBuf> {
    named_qemu(env::var_os("QEMU"))
}

fn named_qemu(named: Option<OsString>) -> Result<PathBuf> {
    let Some(named) = named else {
        return find("qemu-system-x86_64").context("the environment variable QEMU can name another program");
    };
    // A name with a slash is a path already.
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|dir| dir.join(&named)).find(|file| file.is_file());
    found.with_context(|| {
        format!("there is no {}, which the environment variable QEMU names", named.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_names_the_qemu() {
        let sh = find("sh").unwrap();
        assert_eq!(named_qemu(Some("sh".into())).unwrap(), sh);
        assert_eq!(named_qemu(Some(sh.clone().into())).unwrap(), sh);
        let error = named_qemu(Some("/opt/no-such-qemu".into())).unwrap_err().to_string();
        assert!(error.contains("/opt/no-such-qemu") && error.contains("variable QEMU"), "{error}");
    }

    #[test]
    fn finds_what_is_there_and_names_what_is_not() {
        assert!(find("sh").unwrap().is_absolute());
        let error = find("no-such-program").unwrap_err().to_string();
        assert!(error.contains("no-such-program") && error.contains("ci/setup"), "{error}");
    }
}
