//! The QEMU process: found, started, and ended whatever happens.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::QtestError;

const PROGRAM: &str = "qemu-system-x86_64";
/// The end of what it says is what matters.
const MAX_SAID_BYTES: usize = 4096;
/// How long the last of it may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A running QEMU. Dropping it ends it; it also ends with the thread that started it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
    /// Who listens to it.
    listener: Option<JoinHandle<()>>,
}

/// The program: `$QEMU`, or the usual name in `$PATH`.
pub(crate) fn find() -> Result<PathBuf, QtestError> {
    let wanted = env::var_os("QEMU").unwrap_or_else(|| PROGRAM.into());
    find_in(&path(), &wanted)
}

fn path() -> OsString {
    env::var_os("PATH").unwrap_or_default()
}

/// Where `name` is in the folders of `path`.
fn find_in(path: &OsStr, name: &OsStr) -> Result<PathBuf, QtestError> {
    // A name with a slash replaces the folder it is joined to, as the shell would have it.
    env::split_paths(path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| QtestError::NotInstalled { program: name.to_string_lossy().into_owned() })
}

/// Runs the program with `words` to its end; its standard output.
pub(crate) fn ask(words: &[&str]) -> Result<String, QtestError> {
    let program = find()?;
    let output = Command::new(&program).args(words).stdin(Stdio::null()).output();
    let output = output.map_err(|error| QtestError::system(format!("run {}", program.display()), error))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Process {
    pub(crate) fn start(words: &[OsString]) -> Result<Self, QtestError> {
        let program = find()?;
        // The kernel ends the child with the thread that started it, however that comes to its end.
        let mut command = match find_in(&path(), "setpriv".as_ref()) {
            Ok(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL"]).arg(&program);
                command
            }
            Err(_) => Command::new(&program),
        };
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let fails = |error| QtestError::system(format!("start {}", program.display()), error);
        let mut child = command.spawn().map_err(fails)?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let mut listener = None;
        if let Some(mut stderr) = child.stderr.take() {
            let said = Arc::clone(&said);
            // Ends when QEMU does.
            listener = Some(thread::spawn(move || {
                let mut chunk = [0; 1024];
                while let Ok(len @ 1..) = stderr.read(&mut chunk) {
                    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    said.extend_from_slice(chunk.get(..len).unwrap_or_default());
                    let surplus = said.len().saturating_sub(MAX_SAID_BYTES);
                    said.drain(..surplus);
                }
            }));
        }
        Ok(Self { child, said, listener })
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self, during: &str) -> Option<QtestError> {
        let status = self.child.try_wait().ok().flatten()?;
        // Its last words may still be on their way from the pipe, which closes behind them, unless
        // somebody inherited it.
        let deadline = Instant::now() + LAST_WORDS;
        while self.listener.as_ref().is_some_and(|listener| !listener.is_finished())
            && Instant::now() < deadline
        {
            thread::sleep(Duration::from_millis(1));
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        Some(QtestError::Ended {
            during: during.into(),
            status: status.to_string(),
            said: String::from_utf8_lossy(&said).trim().to_owned(),
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = env::join_paths([folder.path().join("none"), folder.path().into()]).unwrap();
        let error = find_in(&path, "qemu".as_ref()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "qemu is not installed: nothing of that name in PATH; set QEMU to use another"
        );
        assert!(error.is_not_installed());
        std::fs::create_dir(folder.path().join("qemu")).unwrap();
        assert!(find_in(&path, "qemu".as_ref()).is_err(), "a folder is no program");
    }

    #[test]
    fn a_program_is_found_in_a_later_folder_or_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = env::join_paths([folder.path().join("none"), folder.path().into()]).unwrap();
        let file = folder.path().join("qemu");
        std::fs::write(&file, "").unwrap();
        assert_eq!(find_in(&path, "qemu".as_ref()).unwrap(), file);
        assert_eq!(find_in("/nowhere".as_ref(), file.as_os_str()).unwrap(), file);
    }
}
