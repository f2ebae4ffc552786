//! Shows Paravane at work: a load balancer between clients and two HTTP back ends, of which one is
//! killed. By option a router, or the image that serves HTTP itself over four NICs.

mod accel;
mod balancer;
mod fetch;
mod firewall;
mod fleet;
mod namespace;
mod pair;
mod router;
mod session;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use paravane_tests::cases::boot::{BootLine, MAX_BOOT_INSTRUCTIONS};
use paravane_tests::guest::nic_name;
use paravane_tests::qemu::{Accel, Backend, Config, MEMORY_MIB, Machine, NicModel};
use paravane_tests::{image, table, tool};

use accel::Choice;
use session::Session;

/// Boots a load balancer under QEMU, asks it for pages, and kills one of its back ends on the way.
#[derive(Debug, Parser)]
#[command(name = "ci/demo", after_help = tool::QEMU_HELP)]
struct Options {
    /// Chipset
    #[arg(long, value_enum, default_value = "q35")]
    machine: Machine,
    /// What runs the guest; auto takes KVM only where a quick probe shows that it is there and fast
    #[arg(long, value_enum, default_value = "auto")]
    accel: Choice,
    /// NICs in PCI order: admin, public, private. Without it three vmxnet3; of a router and a
    /// firewall vmxnet3,vmxnet3,virtio, and with --http vmxnet3,vmxnet3,vmxnet3,virtio
    #[arg(long, value_enum, value_delimiter = ',')]
    nics: Vec<NicModel>,
    /// Show the router: pings and streams between hosts on its public and private side, and a table
    /// that follows them
    #[arg(long)]
    router: bool,
    /// Show the firewall: rules that are compiled into the image, and then the same from a disk;
    /// packets that they let through and packets that they do not, and a table of each rule's hits
    #[arg(long, conflicts_with_all = ["router", "http", "fleet", "image"])]
    firewall: bool,
    /// Show two balancers between equal routes of Linux's (ECMP), in network namespaces that vanish
    /// afterwards, and kill one of them: 100 connections live on. Needs `/dev/net/tun`
    #[arg(long, conflicts_with_all = ["router", "http", "interactive"])]
    fleet: bool,
    /// Show two balancers that share their addresses by VRRP: one is killed in the middle of 100
    /// connections, and so is the next, of which keepalived is the other half; all live on. Needs
    /// `/dev/net/tun`
    #[arg(long, conflicts_with_all = ["router", "http", "interactive", "fleet"])]
    pair: bool,
    /// Show the image that serves HTTP over each NIC: a page and a file through each of them with
    /// curl
    #[arg(long, conflicts_with = "router")]
    http: bool,
    /// Interrupt mode
    #[arg(long, value_enum, default_value = "auto")]
    irq: Irq,
    /// With --http: boot once more, counting instructions
    #[arg(long, requires = "http")]
    count: bool,
    /// Keep the guest running, until Ctrl-C or the end of input
    #[arg(long)]
    interactive: bool,
    /// Boot this ELF file instead of building one
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// What this process is, of those that --fleet or --pair is shown by
    #[arg(long, value_enum, default_value = "outside", hide = true)]
    role: Role,
}

/// Where a process of `--fleet` or `--pair` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    /// In the network of the machine.
    Outside,
    /// In the namespace of clients and balancers,
    Inside,
    /// and in that of servers, which it is.
    Servers,
    /// In that of keepalived.
    Keepalived,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Irq {
    Auto,
    Msix,
    Msi,
    Line,
    Polling,
}

impl Irq {
    fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Msix => "msix",
            Self::Msi => "msi",
            Self::Line => "line",
            Self::Polling => "polling",
        }
    }

    /// The mode that a NIC has to report; none where it is the guest's choice. virtio knows no MSI.
    fn wanted_for(self, model: NicModel) -> Option<&'static str> {
        let is_choice = self == Self::Auto || (self == Self::Msi && model != NicModel::Vmxnet3);
        (!is_choice).then_some(self.word())
    }
}

fn main() -> ExitCode {
    match demo(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    /// The NICs, in PCI order.
    fn nics(&self) -> Vec<NicModel> {
        use NicModel::{VirtioModern, Vmxnet3};
        match &*self.nics {
            [] if self.http => vec![Vmxnet3, Vmxnet3, Vmxnet3, VirtioModern],
            [] if self.router || self.firewall => vec![Vmxnet3, Vmxnet3, VirtioModern],
            [] => vec![Vmxnet3, Vmxnet3, Vmxnet3],
            nics => nics.to_vec(),
        }
    }
}

/// Whether all was right.
fn demo(options: &Options) -> Result<bool> {
    match options.role {
        Role::Servers => return fleet::ends::serve().map(|()| true),
        Role::Keepalived => return pair::keepalived::run().map(|()| true),
        Role::Outside | Role::Inside => {}
    }
    // Before the minutes of a build, rather than after.
    tool::find("curl")?;
    tool::qemu()?;

    let start = Instant::now();
    let image = match &options.image {
        Some(file) => image::find_or_build(Some(file))?,
        None if options.firewall => {
            step("building the image with its rules (the first time takes a minute)");
            let rules = paravane_tests::firewall::rules_file();
            image::build_with(image::ROUTER, &[("PARAVANE_RULES", rules.as_os_str())])?
        }
        None => {
            step("building the image (the first time takes a minute)");
            image::build(if options.http { image::HTTP } else { image::ROUTER })?
        }
    };
    let kib =
        image.metadata().with_context(|| format!("no image at {}", image.display()))?.len().div_ceil(1024);
    step(&format!("image {} ({kib} KiB) after {:.0} s", image.display(), start.elapsed().as_secs_f64()));

    if (options.fleet || options.pair) && options.role == Role::Outside {
        return fleet::enter(options, &image);
    }
    let (accel, why) = accel::choose(options.accel, &config(options, &image, Accel::Kvm)?);
    step(&format!("accelerator: {why}"));

    if options.firewall {
        return firewall::show(options, &image, accel);
    }
    if options.router {
        return router::show(options, &image, accel);
    }
    if options.fleet {
        return fleet::show(options, &image, accel);
    }
    if options.pair {
        return pair::show(options, &image, accel);
    }
    if !options.http {
        return balancer::show(options, &image, accel);
    }
    let config = config(options, &image, accel)?;
    step(&format!("booting {} NICs on machine {}", config.nics.len(), config.machine.name()));
    let mut session = Session::boot(&config)?;

    step("fetching a page and 8 MiB through each NIC with curl");
    let mut rows = vec![fetch::heading()];
    let mut is_all_right = true;
    for (index, &(model, backend)) in config.nics.iter().enumerate() {
        let Backend::User { host_port } = backend else { continue };
        let verdict = fetch::through(&nic_name(index), model, options.irq.wanted_for(model), host_port);
        is_all_right &= verdict.problem.is_none();
        rows.push(verdict.row);
        session.show_new_lines();
        if let Some(problem) = verdict.problem {
            println!("!!  {}: {problem}", nic_name(index));
        }
    }
    println!("\n{}", table::layout(&rows));

    if options.count {
        is_all_right &= count(options, &image)?;
    }
    if options.interactive {
        session.stay(&config)?;
    } else if !is_all_right {
        print!("{}", session.report());
    }
    println!("{}", if is_all_right { "all right" } else { "NOT all right" });
    Ok(is_all_right)
}

/// A line of progress.
fn step(text: &str) {
    println!("==> {text}");
}

fn config(options: &Options, image: &Path, accel: Accel) -> Result<Config> {
    let nics = options.nics();
    let ports = free_ports(nics.len())?;
    let backends = ports.into_iter().map(|host_port| Backend::User { host_port });
    Ok(Config {
        machine: options.machine,
        accel,
        memory_mib: MEMORY_MIB,
        nics: nics.into_iter().zip(backends).collect(),
        extras: Vec::new(),
        image: image.to_path_buf(),
        append: format!("irq={}", options.irq.word()),
    })
}

/// Ports of the loopback interface that nobody listens on now. They are held together, so that they
/// differ.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0)));
    let listeners = listeners.collect::<Result<Vec<_>, _>>().context("no free port on 127.0.0.1")?;
    let ports = listeners.iter().map(|listener| Ok(listener.local_addr()?.port()));
    ports.collect()
}

/// Boots once more with one instruction a nanosecond and compares the count with the limit.
fn count(options: &Options, image: &Path) -> Result<bool> {
    const LIMIT: Duration = Duration::from_secs(60);
    step("booting once more, counting instructions (-icount shift=0)");
    let counted = Session::start(&config(options, image, Accel::TcgCounted)?)?;
    let boot = BootLine::parse(&counted.wait(&["boot:", "with link after"], LIMIT)?)?;
    let is_within = boot.nics == options.nics.len() as u64 && boot.ticks <= MAX_BOOT_INSTRUCTIONS;
    println!(
        "{} NICs up with link after {} instructions; the limit is {MAX_BOOT_INSTRUCTIONS}: {}\n",
        boot.nics,
        boot.ticks,
        if is_within { "ok" } else { "MISSED" }
    );
    Ok(is_within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_three_vmxnet3_and_one_virtio() {
        assert_eq!(Options::parse_from(["demo"]).nics(), [NicModel::Vmxnet3; 3]);
        let options = Options::parse_from(["demo", "--http"]);
        let nics = [NicModel::Vmxnet3, NicModel::Vmxnet3, NicModel::Vmxnet3, NicModel::VirtioModern];
        assert_eq!(options.nics(), nics);
        let config = config(&options, Path::new("image"), Accel::Tcg).unwrap();
        let mut ports: Vec<_> = config.nics.iter().map(|(_, backend)| format!("{backend:?}")).collect();
        ports.sort();
        ports.dedup();
        assert_eq!(ports.len(), 4, "each NIC has a port of its own");
    }

    #[test]
    fn virtio_may_choose_where_msi_is_asked_for() {
        assert_eq!(Irq::Msi.wanted_for(NicModel::Vmxnet3), Some("msi"));
        assert_eq!(Irq::Msi.wanted_for(NicModel::VirtioModern), None);
        assert_eq!(Irq::Line.wanted_for(NicModel::VirtioTransitional), Some("line"));
        assert_eq!(Irq::Auto.wanted_for(NicModel::Vmxnet3), None);
    }
}
