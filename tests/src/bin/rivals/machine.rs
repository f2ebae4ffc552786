//! A contender that runs in QEMU, with hosts of ours on two of its NICs.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use paravane_tests::qemu::{self, Accel, Config, Machine as Chipset, Qemu};
use serde_json::json;

use crate::contender::Contender;
use crate::counter::Counter;
use crate::link::{Cables, Side, Socket};
use crate::packet::Ends;

/// RAM, where it is not said otherwise.
pub(crate) const MEMORY_MIB: u32 = 256;
/// From the start of QEMU to the first answer.
pub(crate) const BOOT_LIMIT: Duration = Duration::from_secs(60);
/// How long a probe may take to be answered.
pub(crate) const PROBE: Duration = Duration::from_millis(20);
/// Console lines shown after a failure.
const REPORT_LINES: usize = 15;

/// Which NIC all three are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Nic {
    /// virtio-net, the modern interface, split rings.
    Virtio,
    /// VMware's.
    Vmxnet3,
}

impl Nic {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::Vmxnet3 => "vmxnet3",
        }
    }

    fn device(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-net-pci,disable-legacy=on,disable-modern=off",
            Self::Vmxnet3 => "vmxnet3",
        }
    }
}

/// One that runs.
#[derive(Debug)]
pub(crate) struct Machine {
    qemu: Qemu,
    /// The cables of `public` and `private`.
    pub(crate) cables: Cables,
    /// Its instructions, where they are counted.
    pub(crate) counter: Option<Counter>,
    ram: PathBuf,
    /// When QEMU was started.
    pub(crate) started: Instant,
}

impl Machine {
    /// Boots `contender`. Its instructions are counted where a plugin is given that does, and it
    /// has time of its own then, an instruction a nanosecond.
    pub(crate) fn boot(
        contender: &Contender,
        nic: Nic,
        memory_mib: u32,
        plugin: Option<&Path>,
    ) -> Result<Self> {
        let folder = Qemu::folder()?;
        let [ram, count, public, private] =
            ["ram", "count", "cable1", "cable2"].map(|name| folder.path().join(name));
        let sockets = [Socket::bind(&public)?, Socket::bind(&private)?];
        let mut extras: Vec<String> = Vec::new();
        let mut add = |name: &str, value: String| extras.extend([name.to_owned(), value]);
        // For random numbers.
        add("-cpu", "max".into());
        let object =
            format!("memory-backend-file,id=ram,size={memory_mib}M,share=on,mem-path={}", ram.display());
        add("-object", object);
        add("-machine", "memory-backend=ram".into());
        if let Some(initrd) = &contender.initrd {
            add("-initrd", initrd.display().to_string());
        }
        let cables = [None, Some(&public), Some(&private)];
        for (index, cable) in cables.into_iter().enumerate() {
            let id = qemu::netdev_id(index);
            add(
                "-netdev",
                match cable {
                    Some(path) => {
                        format!("stream,id={id},server=off,addr.type=unix,addr.path={}", path.display())
                    }
                    None => format!("hubport,id={id},hubid=0"),
                },
            );
            let (device, mac) = (nic.device(), qemu::nic_mac(index));
            add("-device", format!("{device},netdev={id},mac={mac},addr={:#x},romfile=", 4 + index));
        }
        let counter = match plugin {
            Some(plugin) => {
                add("-plugin", format!("{},count={}", plugin.display(), count.display()));
                Some(Counter::make(&count)?)
            }
            None => None,
        };
        let accel = if plugin.is_some() { Accel::TcgCounted } else { Accel::Tcg };
        let append = format!("{} nic={}", contender.words, nic.name());
        let append = if contender.is_ours { contender.words.clone() } else { append };
        let image = contender.kernel.clone();
        let machine = Chipset::Q35;
        let config = Config { machine, accel, memory_mib, nics: Vec::new(), extras, image, append };
        let started = Instant::now();
        let qemu = Qemu::start(&config, folder)?;
        let cables =
            Cables::accept(&sockets).map_err(|error| anyhow!("{error:#}\n{}", qemu.report(REPORT_LINES)))?;
        Ok(Self { qemu, cables, counter, ram, started })
    }

    /// Does `probe` until it says that an answer came. When that was, from the start of QEMU.
    pub(crate) fn wait_answer(
        &mut self,
        mut probe: impl FnMut(&mut Cables) -> Result<bool>,
    ) -> Result<Duration> {
        loop {
            if probe(&mut self.cables)? {
                return Ok(self.started.elapsed());
            }
            if self.started.elapsed() > BOOT_LIMIT {
                bail!("no answer within {} s", BOOT_LIMIT.as_secs());
            }
            if let Some(how) = self.qemu.ended() {
                bail!("{how}");
            }
        }
    }

    /// Stops its time, so that it neither runs beside others nor misses its neighbours meanwhile.
    /// From then on it runs in [`counted`](Self::counted) alone.
    pub(crate) fn pause(&mut self) -> Result<()> {
        self.qemu.monitor()?.execute("stop", json!({})).context("QEMU does not pause")?;
        Ok(())
    }

    /// Instructions that `work` makes the guest execute, where they are counted, and what it gives.
    pub(crate) fn counted<T>(&mut self, work: impl FnOnce(&mut Cables) -> Result<T>) -> Result<(u64, T)> {
        let before = self.counter.as_ref().map_or(Ok(0), Counter::read)?;
        self.qemu.monitor()?.execute("cont", json!({})).context("QEMU does not go on")?;
        let result = work(&mut self.cables)?;
        let after = self.counter.as_ref().map_or(Ok(0), Counter::settled)?;
        self.pause()?;
        Ok((after - before, result))
    }

    /// RAM that the guest has touched so far.
    pub(crate) fn touched_bytes(&self) -> Result<u64> {
        Ok(fs::metadata(&self.ram).context("the guest's RAM is gone")?.blocks() * 512)
    }

    /// The end of the console, for an error.
    pub(crate) fn report(&self) -> String {
        self.qemu.report(REPORT_LINES)
    }
}

/// A frame to the guest every few milliseconds until one comes out as it should; who was slow to
/// answer is heard out afterwards.
pub(crate) fn probe_routing(cables: &mut Cables, ends: Ends) -> Result<bool> {
    cables.queue(Side::Public, &crate::packet::datagram(64, ends, u32::MAX));
    cables.wait(Duration::from_millis(10))?;
    while cables.next(Side::Public).is_some() {}
    while let Some(frame) = cables.next(Side::Private) {
        if crate::packet::number_of(&frame).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
