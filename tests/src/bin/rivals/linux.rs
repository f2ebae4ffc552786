//! Debian guests with one program each: its kernel, and a first file system with busybox, the
//! modules that it needs, and the program.
//!
//! They are tuned: no mitigations, memory not cleared when it is taken, one processor, connections
//! tracked only where rules ask for it (and then as many as come), no IPv6, a scheduler's tick only
//! while there is work; the kernel is booted unpacked, which is twice as quick.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use paravane_tests::tool;

use crate::contender::Work;
use crate::cpio::Archive;
use crate::lz4;
use crate::modules::Modules;
use crate::packages::{self, Packages};

/// One of them.
#[derive(Debug)]
pub(crate) struct Guest {
    /// The package of its program, if the kernel alone does not do, and what the table calls it.
    program: Option<(&'static str, &'static str)>,
    /// What it is called behind the kernel's version.
    title: &'static str,
    /// Modules beside the NIC's.
    modules: &'static [&'static str],
    /// Files of packages that it runs, with all libraries that they need.
    programs: &'static [&'static str],
    /// Other files, with what is in them.
    files: Vec<(&'static str, String)>,
    /// What its first program does when the NICs have addresses.
    script: &'static str,
}

/// Those that do `work`.
pub(crate) fn guests(work: Work) -> Vec<Guest> {
    let plain =
        Guest { program: None, title: "", modules: &[], programs: &[], files: Vec::new(), script: "" };
    if let Some(rules) = work.rules() {
        let of = |title, rules| Guest {
            title,
            modules: &["nft_ct"],
            programs: &[ETHTOOL, "usr/sbin/nft"],
            files: vec![("etc/nftables.conf", rules)],
            script: "
                ip route add 100.64.0.0/10 via 10.77.1.1
                ip route add 10.128.0.0/9 via 10.77.2.1
                tune
                echo 65536 >/sys/module/nf_conntrack/parameters/hashsize
                sysctl -q -w net.netfilter.nf_conntrack_max=262144
                nft -f /etc/nftables.conf",
            ..plain
        };
        return vec![of("nftables", rules.theirs())];
    }
    vec![match work {
        Work::Nat => Guest {
            title: "IPVS",
            modules: &["ip_vs", "ip_vs_rr"],
            programs: &[ETHTOOL, "sbin/ipvsadm"],
            script: "
                tune
                ipvsadm -A -t 10.77.1.2:80 -s rr
                ipvsadm -a -t 10.77.1.2:80 -r 10.77.2.11:80 -m
                ipvsadm -a -t 10.77.1.2:80 -r 10.77.2.12:80 -m",
            ..plain
        },
        Work::Proxy => Guest {
            program: Some(("haproxy", "HAProxy")),
            title: "mode tcp",
            programs: &["usr/sbin/haproxy"],
            files: vec![("etc/haproxy.cfg", HAPROXY.into())],
            script: "haproxy -D -f /etc/haproxy.cfg",
            ..plain
        },
        _ => Guest {
            title: "routing",
            programs: &[ETHTOOL],
            script: "ip route add 198.51.100.0/24 via 10.77.2.1; tune",
            ..plain
        },
    }]
}

const ETHTOOL: &str = "sbin/ethtool";
const HAPROXY: &str = "
global
    maxconn 4000
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen service
    bind 10.77.1.2:80
    balance roundrobin
    server one 10.77.2.11:80
    server two 10.77.2.12:80
";

/// Modules of both kinds of NIC; the command line says which are loaded.
const NICS: [(&str, &[&str]); 2] = [("virtio", &["virtio_pci", "virtio_net"]), ("vmxnet3", &["vmxnet3"])];
/// `idle=halt`, for the translator halts no processor that waits for a word of memory.
const WORDS: &str =
    "console=ttyS0 quiet mitigations=off init_on_alloc=0 nr_cpus=1 idle=halt audit=0 panic=-1 rdinit=/init";

/// What all of them do first. `%MODULES%` and `%SCRIPT%` are filled in.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/bin:/sbin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for word in $(cat /proc/cmdline); do case $word in nic=*) nic=${word#nic=} ;; esac; done
for module in $(cat /modules/$nic) %MODULES%; do insmod /modules/$module.ko; done
sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ip link set lo up
for number in 0 1 2; do
    ip addr add 10.77.$number.2/24 dev eth$number
    ip link set eth$number up
done
# What routers are told: nobody here waits for packets, and few frames can be put together.
tune() {
    sysctl -q -w net.ipv4.ip_early_demux=0
    for number in 0 1 2; do ethtool -K eth$number gro off; done
}
%SCRIPT%
# Last: whoever gets an answer finds all of it done, rules loaded among it.
sysctl -q -w net.ipv4.ip_forward=1
echo "guest: ready, $(grep MemAvailable /proc/meminfo)"
while :; do sleep 1000000; done
"#;

/// A guest that can be booted.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) name: String,
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    pub(crate) words: String,
    pub(crate) stored_bytes: u64,
}

/// Builds `guest`.
pub(crate) fn build(guest: &Guest, packages: &Packages) -> Result<Built> {
    let version = packages.version("linux-image-").split('-').next().unwrap_or("?");
    let name = match guest.program {
        Some((package, title)) => {
            let version = packages.version(package);
            format!(
                "{title} {}",
                version.rsplit("%3a").next().unwrap_or(version).split('-').next().unwrap_or("?")
            )
        }
        None => format!("Linux {version}"),
    };
    let name = format!("{name}, {}", guest.title);
    let packed = kernel_in(packages.root())?;
    let initrd = first_files(guest, packages.root()).with_context(|| format!("the guest of {name}"))?;
    let folder = packages::folder()?;
    let initrd_path = folder.join(format!("{}.cpio", guest.title.replace([',', ' '], "-")));
    fs::write(&initrd_path, &initrd)?;
    // As a distribution stores it; booted as it is, which is quicker.
    packages::said(
        Command::new(tool::find("gzip")?).args(["--force", "--keep", "--best"]).arg(&initrd_path),
    )?;
    let stored = initrd_path.with_extension("cpio.gz").metadata()?.len();
    Ok(Built {
        name,
        kernel: unpack_kernel(&packed, &folder)?,
        initrd: initrd_path,
        words: WORDS.into(),
        stored_bytes: packed.metadata()?.len() + stored,
    })
}

fn kernel_in(root: &Path) -> Result<PathBuf> {
    let files = fs::read_dir(root.join("boot"))?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut kernels = files
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")));
    kernels.next().context("the kernel's package has no kernel")
}

/// The kernel as an ELF file, which QEMU starts directly.
///
/// Spec: Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
fn unpack_kernel(packed: &Path, folder: &Path) -> Result<PathBuf> {
    let bytes = fs::read(packed)?;
    let word = |at: usize| {
        let bytes = bytes.get(at..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    let sectors = usize::from(*bytes.get(0x1f1).context("the kernel is cut short")?);
    let start =
        word(0x248).context("the kernel is cut short")? + 512 * (1 + if sectors == 0 { 4 } else { sectors });
    let len = word(0x24c).context("the kernel is cut short")?;
    // The last four bytes say how long it is when it is unpacked.
    let payload = start.checked_add(len).and_then(|end| bytes.get(start..end.checked_sub(4)?));
    let kernel = lz4::unpack(payload.context("the kernel's header is wrong")?)
        .context("the kernel is not packed as Debian 12 does it")?;
    let path = folder.join("vmlinux");
    fs::write(&path, kernel)?;
    Ok(path)
}

fn first_files(guest: &Guest, root: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    let folders =
        ["bin", "sbin", "dev", "proc", "sys", "etc", "run", "tmp", "var", "usr", "usr/sbin", "modules"];
    folders.iter().for_each(|folder| archive.folder(folder));
    let busybox = ["bin/busybox", "usr/bin/busybox"].map(|path| fs::read(root.join(path)));
    let busybox = busybox.into_iter().find_map(Result::ok).context("no busybox in its package")?;
    archive.file("bin/busybox", &busybox);
    for name in ["sh", "mount", "cat", "insmod", "sysctl", "ip", "grep", "sleep"] {
        archive.link(&format!("bin/{name}"), "busybox");
    }
    let modules = Modules::of(root)?;
    let mut there = BTreeSet::new();
    let mut add = |archive: &mut Archive, names: &[&str]| -> Result<String> {
        let order = modules.in_order(names)?;
        for (name, content) in &order {
            if there.insert(name.clone()) {
                archive.file(&format!("modules/{name}.ko"), content);
            }
        }
        Ok(order.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" "))
    };
    for (nic, names) in NICS {
        let order = add(&mut archive, names)?;
        archive.file(&format!("modules/{nic}"), order.as_bytes());
    }
    let others = add(&mut archive, guest.modules)?;
    add_programs(guest.programs, root, &mut archive)?;
    for (path, content) in &guest.files {
        archive.file(path, content.as_bytes());
    }
    let init = INIT.replace("%MODULES%", &others).replace("%SCRIPT%", guest.script);
    archive.file("init", init.as_bytes());
    Ok(archive.finish())
}

/// Adds programs and all libraries that they need, as their own loader finds them.
fn add_programs(programs: &[&str], root: &Path, archive: &mut Archive) -> Result<()> {
    if programs.is_empty() {
        return Ok(());
    }
    let libraries = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"].map(|folder| root.join(folder));
    let path = libraries.each_ref().map(|folder| folder.display().to_string()).join(":");
    let loader = root.join("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
    archive.folder("lib64");
    archive.file("lib64/ld-linux-x86-64.so.2", &fs::read(&loader)?);
    archive.folder("lib");
    archive.folder("lib/x86_64-linux-gnu");
    let mut there = BTreeSet::new();
    for program in programs {
        let file = root.join(program);
        archive.file(program, &fs::read(&file).with_context(|| format!("no {program} in its package"))?);
        let said =
            packages::said(Command::new(&loader).args(["--library-path", &path, "--list"]).arg(&file))?;
        for (name, at) in said.lines().filter_map(library) {
            if there.insert(name.to_owned()) {
                archive.file(&format!("lib/x86_64-linux-gnu/{name}"), &fs::read(at)?);
            }
        }
    }
    Ok(())
}

/// A library's name and where it was found, of a line like `libm.so.6 => /lib/libm.so.6 (0x7f)`.
fn library(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.trim().split_once(" => ")?;
    let (at, _) = rest.split_once(" (0x")?;
    // The loader is there already.
    (!name.contains('/')).then_some((name, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_the_loader_says() {
        let line = "\tlibm.so.6 => /r/lib/libm.so.6 (0x00007f)";
        assert_eq!(library(line), Some(("libm.so.6", "/r/lib/libm.so.6")));
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007ffc)"), None);
        assert_eq!(library("\tlibx.so => not found"), None);
        assert_eq!(library("\t/lib64/ld-linux-x86-64.so.2 => /r/ld.so (0x7f)"), None);
    }
}
