//! The other half that nobody here wrote: keepalived, and Linux's own translation of addresses, in
//! a namespace of their own.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use paravane_tests::tool;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::network::{PRIVATE_VIP, PUBLIC_VIP, SINGLE};
use super::{INTERVAL_MS, PRIVATE_ID, PUBLIC_ID};
use crate::fleet::ends::THIRD;

/// Below that of balancers.
const PRIORITY: u8 = 50;

/// What keepalived reads.
fn configuration() -> String {
    let instance = |name: &str, id: u8, address| {
        format!(
            "vrrp_instance {name} {{\n    state BACKUP\n    interface {name}\n    virtual_router_id {id}\n    \
             priority {PRIORITY}\n    advert_int {}\n    nopreempt\n    virtual_ipaddress {{\n        {address}/32\n    }}\n}}\n",
            f64::from(INTERVAL_MS) / 1000.0
        )
    };
    format!(
        "global_defs {{\n    vrrp_version 3\n}}\nvrrp_sync_group pair {{\n    group {{\n        public\n        private\n    }}\n}}\n{}{}",
        instance("public", PUBLIC_ID, PUBLIC_VIP),
        instance("private", PRIVATE_ID, PRIVATE_VIP),
    )
}

/// How Linux translates: what comes for the service goes to its server, and what that sends is the
/// service's, whoever of them is heard first of a connection that another machine had.
fn rules() -> String {
    let (_, server) = THIRD;
    format!(
        "table ip pair {{\n    chain there {{\n        type nat hook prerouting priority dstnat;\n        \
         ip daddr {} tcp dport {} dnat to {server}\n    }}\n    chain back {{\n        \
         type nat hook postrouting priority srcnat;\n        ip saddr {} tcp sport {} snat to {SINGLE}\n    }}\n}}\n",
        SINGLE.ip(),
        SINGLE.port(),
        server.ip(),
        server.port(),
    )
}

/// Becomes the machine of keepalived, in a namespace that is just made, until standard input ends:
/// then keepalived is told to stop, as an operator would.
pub(crate) fn run() -> Result<()> {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot have Linux pass packets on")?;
    let folder = TempDir::new()?;
    let file = |name: &str, text: &str| -> Result<_> {
        let path = folder.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    };
    println!("settled");
    let mut lines = io::stdin().lock().lines();
    lines.next().transpose()?;
    let translated = Command::new(tool::find("nft")?).arg("-f").arg(file("rules", &rules())?).status()?;
    ensure!(translated.success(), "nft does not take the rules");

    let mut command = tool::tied(&tool::find("keepalived")?);
    command.args(["--dont-fork", "--log-console", "--log-detail", "--vrrp"]);
    command.arg("--use-file").arg(file("keepalived.conf", &configuration())?);
    for (option, name) in [("--pid", "pid"), ("--vrrp_pid", "vrrp"), ("--checkers_pid", "checkers")] {
        command.arg(option).arg(folder.path().join(name));
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let pipes = child.stdout.take().zip(child.stderr.take());
    let (stdout, stderr) = pipes.context("the pipes of a process just started are missing")?;
    thread::spawn(move || follow(BufReader::new(stdout)));
    thread::spawn(move || follow(BufReader::new(stderr)));
    let told = lines.try_for_each(|line| line.map(drop)).context("standard input");
    stop(folder.path())?;
    child.wait()?;
    told
}

/// Says, in a word, what it becomes.
fn follow(says: impl io::BufRead) {
    for line in says.lines().map_while(Result::ok) {
        for (words, word) in [
            ("(public) Entering BACKUP STATE", "backup"),
            ("(public) Entering MASTER STATE", "active"),
            ("Invalid VRRPv3 checksum", "it does not understand what is said"),
        ] {
            if line.contains(words) {
                println!("{word}");
            }
        }
    }
}

/// Tells it to stop: it gives its addresses up, and says so.
fn stop(folder: &Path) -> Result<()> {
    let pid = fs::read_to_string(folder.join("pid")).context("keepalived has not begun")?;
    let pid = pid.trim().parse().ok().and_then(Pid::from_raw).context("keepalived's pid is none")?;
    kill_process(pid, Signal::TERM).context("keepalived does not hear")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shares_what_the_balancers_do() {
        let text = configuration();
        for line in [
            "virtual_router_id 7",
            "virtual_router_id 8",
            "10.77.1.80/32",
            "10.77.2.254/32",
            "advert_int 0.25",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(rules().contains("ip daddr 10.77.1.80 tcp dport 81 dnat to 10.77.3.13:8001"));
    }
}
