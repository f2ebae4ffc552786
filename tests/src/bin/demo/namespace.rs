//! Network namespaces, each with a process of this program in it: what is made there is gone with
//! that.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use paravane_tests::tool;

/// A namespace, and the process in it, which ends with its standard input.
pub(crate) struct Namespace {
    role: &'static str,
    child: Child,
    told: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Namespace {
    /// Starts this program once more, with that role, in a namespace that is just made.
    pub(crate) fn new(role: &'static str) -> Result<Self> {
        let mut command = tool::tied(&tool::find("unshare")?);
        command.arg("--net").arg("--").arg(std::env::current_exe()?).args(["--role", role]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (told, says) = pipes.context("the pipes of a process just started are missing")?;
        Ok(Self { role, child, told, says: BufReader::new(says) })
    }

    /// Tells the process something, in a line.
    pub(crate) fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.told, "{line}").with_context(|| format!("the process of {}", self.role))
    }

    /// Waits for the process's next line, which is to be that.
    pub(crate) fn hear(&mut self, wanted: &str) -> Result<()> {
        let mut line = String::new();
        self.says.read_line(&mut line)?;
        let (role, said) = (self.role, line.trim_end());
        ensure!(said == wanted, "the process of {role} says {said:?}, {wanted:?} is expected");
        Ok(())
    }

    /// Runs `ip` with these words in it.
    pub(crate) fn ip(&self, words: &str) -> Result<()> {
        run("nsenter", &format!("--net=/proc/{}/ns/net ip {words}", self.child.id()))
    }

    /// Has a network device of ours be one of its own.
    pub(crate) fn take(&self, device: &str) -> Result<()> {
        ip(&format!("link set {device} netns {}", self.child.id()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `ip` with these words in the namespace that this process is in.
pub(crate) fn ip(words: &str) -> Result<()> {
    run("ip", words)
}

fn run(program: &str, words: &str) -> Result<()> {
    let output = Command::new(tool::find(program)?).args(words.split_whitespace()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{program} {words}` failed: {}", said.trim_end());
    Ok(())
}
