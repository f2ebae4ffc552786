//! The running guest of the demonstration: its console on ours, until it is told to stop.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use paravane_tests::guest::nic_name;
use paravane_tests::qemu::{Backend, Config, Qemu};
use tempfile::TempDir;

use crate::Options;

/// From the start of QEMU to the line `ready`.
const BOOT_LIMIT: Duration = Duration::from_secs(60);
/// From there to an address on every NIC.
const ADDRESS_LIMIT: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const REPORT_LINES: usize = 25;

pub(crate) struct Session {
    qemu: Qemu,
    /// Console lines shown so far.
    shown: usize,
}

impl Session {
    /// Starts QEMU and shows nothing.
    pub(crate) fn start(config: &Config) -> Result<Self> {
        Self::start_in(config, Qemu::folder()?)
    }

    /// The same with its sockets in `folder`.
    pub(crate) fn start_in(config: &Config, folder: TempDir) -> Result<Self> {
        Ok(Self { qemu: Qemu::start(config, folder)?, shown: 0 })
    }

    /// The process.
    pub(crate) fn qemu(&self) -> &Qemu {
        &self.qemu
    }

    /// Ends it at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.qemu.kill()
    }

    /// Shows the console until the guest is ready.
    pub(crate) fn wait_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while self.qemu.console().find(0, &["] ready"]).is_none() {
            self.look(start + BOOT_LIMIT).context("waiting for the guest to be ready")?;
        }
        self.show_new_lines();
        Ok(())
    }

    /// Starts QEMU and shows the console until every NIC has an address. A NIC that gets none in
    /// time is left for the fetches to report.
    pub(crate) fn boot(config: &Config) -> Result<Self> {
        let mut session = Self::start(config)?;
        session.wait_ready()?;
        let deadline = Instant::now() + ADDRESS_LIMIT;
        let mut waiting: BTreeSet<usize> = (0..config.nics.len()).collect();
        while !waiting.is_empty() && Instant::now() < deadline {
            session.look(deadline + LOOK_AGAIN)?;
            let console = session.qemu.console();
            let is_settled = |nic: &usize| {
                let name = format!("nic {}:", nic_name(*nic));
                console.find(0, &[&name, " address "]).or(console.find(0, &[&name, "skipped"])).is_some()
            };
            waiting.retain(|nic| !is_settled(nic));
        }
        session.show_new_lines();
        Ok(session)
    }

    /// Waits for a line with all of `words`.
    pub(crate) fn wait(&self, words: &[&str], limit: Duration) -> Result<String> {
        let found = self.qemu.console().find_by(0, words, Instant::now() + limit);
        let found = found.with_context(|| format!("no console line with {words:?}\n{}", self.report()))?;
        Ok(found.line)
    }

    /// Shows what is new and waits a little; an error once `deadline` has passed or QEMU has ended.
    fn look(&mut self, deadline: Instant) -> Result<()> {
        let has_ended = self.qemu.console().has_ended();
        self.show_new_lines();
        if has_ended {
            let how = self.qemu.ended().unwrap_or_else(|| "QEMU closed the console".into());
            bail!("{how}\n{}", self.report());
        }
        if Instant::now() >= deadline {
            bail!("out of time\n{}", self.report());
        }
        thread::sleep(LOOK_AGAIN);
        Ok(())
    }

    pub(crate) fn show_new_lines(&mut self) {
        for line in self.qemu.console().lines_from(self.shown) {
            self.shown += 1;
            // QEMU's own device speaks on the same stream, and has a complaint about each look at
            // its counters.
            if !line.starts_with("[vmxnet3]") {
                println!("    {line}");
            }
        }
    }

    /// Says how it went; before that, where it is wanted, the guest goes on. Whether all was right.
    pub(crate) fn close(&mut self, options: &Options, config: &Config, judged: Result<()>) -> Result<bool> {
        if options.interactive {
            self.stay(config)?;
        }
        match &judged {
            Ok(()) => println!("all right"),
            Err(problem) => {
                println!("!!  {problem:#}");
                print!("{}", self.report());
                println!("NOT all right");
            }
        }
        Ok(judged.is_ok())
    }

    pub(crate) fn report(&self) -> String {
        self.qemu.report(REPORT_LINES)
    }

    /// Prints where the guest can be reached and shows its console until Ctrl-C or the end of
    /// input.
    pub(crate) fn stay(&mut self, config: &Config) -> Result<()> {
        for (index, (_, backend)) in config.nics.iter().enumerate() {
            if let Backend::User { host_port } = backend {
                println!("{:8} http://127.0.0.1:{host_port}/", nic_name(index));
            }
        }
        println!("running until Ctrl-C or the end of input (Ctrl-D)");
        let stop = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&stop))
            .context("cannot catch Ctrl-C")?;
        let end_of_input = Arc::clone(&stop);
        thread::spawn(move || {
            // What is typed is of no interest, only that it ends; so is why it ended.
            let _ = io::stdin().lock().read_to_end(&mut Vec::new());
            end_of_input.store(true, Ordering::Relaxed);
        });
        while !stop.load(Ordering::Relaxed) {
            let looked = self.look(Instant::now() + 2 * LOOK_AGAIN);
            // Ctrl-C reaches QEMU as well, and it may be quicker.
            if stop.load(Ordering::Relaxed) {
                break;
            }
            looked?;
        }
        println!();
        Ok(())
    }
}
