//! Programs that other people wrote, each with a port of the loopback interface, without rights.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use paravane_tests::tool;
use serde_json::Value;

/// A port of UDP on the loopback interface that nobody listens on now.
fn free_port() -> Result<u16> {
    Ok(UdpSocket::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A program that ends with this value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &str, arguments: &[&str], log: &Path) -> Result<Ended> {
    let program = tool::find(program)?;
    let log = fs::File::create(log)?;
    let mut command = tool::tied(&program);
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(Ended(command.spawn().with_context(|| format!("cannot start {}", program.display()))?))
}

/// A collector of syslog.
pub(crate) struct Rsyslog {
    pub(crate) port: u16,
    file: PathBuf,
    log: PathBuf,
    _child: Ended,
}

impl Rsyslog {
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let port = free_port()?;
        let [file, log, configuration, pid] =
            ["messages", "rsyslog.log", "rsyslog.conf", "rsyslog.pid"].map(|name| folder.join(name));
        fs::write(
            &configuration,
            format!(
                "module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")\n\
                 template(name=\"json\" type=\"list\") {{ property(name=\"jsonmesg\") constant(value=\"\\n\") }}\n\
                 action(type=\"omfile\" file=\"{}\" template=\"json\")\n",
                file.display()
            ),
        )?;
        let [configuration, pid] = [configuration, pid].map(|path| path.display().to_string());
        let child = start("rsyslogd", &["-n", "-f", &configuration, "-i", &pid], &log)?;
        Ok(Self { port, file, log, _child: child })
    }

    /// What it wrote, once there is a message that `is_it`.
    pub(crate) fn wait(&self, is_it: impl Fn(&Value) -> bool, limit: Duration) -> Result<Vec<Value>> {
        let deadline = Instant::now() + limit;
        loop {
            let text = fs::read_to_string(&self.file).unwrap_or_default();
            // The last line may be written just now.
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let messages: Vec<Value> = whole
                .lines()
                .map(|line| serde_json::from_str(line).with_context(|| format!("not of rsyslog: {line}")))
                .collect::<Result<_>>()?;
            if messages.iter().any(&is_it) {
                return Ok(messages);
            }
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            ensure!(Instant::now() < deadline, "the message did not come; there are {text}\nrsyslog: {log}");
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// A server of the time that trusts this machine's clock, and leaves it alone.
pub(crate) struct Chrony {
    pub(crate) port: u16,
    _child: Ended,
}

impl Chrony {
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let port = free_port()?;
        let [configuration, pid, log] =
            ["chrony.conf", "chrony.pid", "chrony.log"].map(|name| folder.join(name));
        fs::write(
            &configuration,
            format!(
                "local stratum 5\nport {port}\nbindaddress 127.0.0.1\nallow 127.0.0.1\ncmdport 0\npidfile {}\n",
                pid.display()
            ),
        )?;
        let configuration = configuration.display().to_string();
        let child = start("chronyd", &["-x", "-d", "-U", "-u", "root", "-f", &configuration], &log)?;
        Ok(Self { port, _child: child })
    }
}

/// The frames of a file that a display filter lets through: interface, and what they are.
pub(crate) fn tshark(file: &Path, filter: &str) -> Result<Vec<String>> {
    let mut command = Command::new(tool::find("tshark")?);
    command.arg("-r").arg(file).args(["-T", "fields", "-e", "frame.interface_name", "-e", "frame.protocols"]);
    if !filter.is_empty() {
        command.args(["-Y", filter]);
    }
    let output = command.output().context("cannot run tshark")?;
    let complaints: Vec<_> = String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| !line.starts_with("Running as user"))
        .map(str::to_owned)
        .collect();
    ensure!(output.status.success() && complaints.is_empty(), "tshark: {complaints:?}");
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

/// How far a time as messages have it is from `now`, by the reckoning of `date`.
pub(crate) fn apart(time: &str, now: SystemTime) -> Result<Duration> {
    let output = Command::new("date").args(["--date", time, "+%s.%N"]).output().context("cannot run date")?;
    ensure!(output.status.success(), "'{time}' is no time to date");
    let seconds: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    let then = SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(seconds)?;
    Ok(now.duration_since(then).unwrap_or_else(|early| early.duration()))
}
