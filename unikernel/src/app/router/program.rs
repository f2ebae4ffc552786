//! The image: find the devices, read the configuration, start `admin` with a stack and the others
//! with lanes, and route.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use log::{info, warn};
use paravane_net::Config as NicConfig;

use super::build::Plan;
use super::config::{BUILT_IN, Config, Fault, OnPanic, is_word};
use super::pages::routes;
use super::rules::{self, Loaded};
use crate::app::config::file;
use crate::app::config::nic_name;
use crate::app::program::{self, Devices, disks};
use crate::app::server::{Carrier, Lane, Stacked};
use crate::bus::Words;
use crate::bus::words;
use crate::cmdline::is_for_linux;
use crate::console;
use crate::last_panic;
use crate::platform::{Machine, Platform};
use paravane_hal::time::Clock as _;

/// The NIC that the machine itself is on.
const ADMIN: &str = "admin";

/// Runs a router.
pub fn run(machine: Machine) -> ! {
    // A router that stands still is of no use to anybody; what it is told later counts.
    last_panic::reset_after(true);
    let line = machine.boot.command_line.as_str();
    let said = said_of_devices(line);
    let Devices { nics: found, disks, entropy } = Devices::find(&machine, &said);
    let mut seeded = program::seed(&machine, entropy);
    let (config, rules) = configuration(&machine, line, disks, found.len());
    let mut plan = Plan::new(config).with_rules(rules);
    let admin = plan.config().admin;

    let nic_config = |plan: &Plan, name: &str| match name {
        ADMIN => NicConfig::default().with_ip_mtu_bytes(admin.mtu_bytes.value),
        name => plan.nic_config(name),
    };
    // Admin has frames of its own: whatever comes in elsewhere, there are some.
    let pools = [0..1, 1..found.len().max(1)].map(|range| {
        let frames = range.map(|index| Plan::frames(&nic_config(&plan, &nic_name(index))));
        program::make_pool(&machine, frames.sum::<u32>().max(1), found.len())
    });

    let mut nics = Vec::new();
    for (index, found) in found.into_iter().enumerate() {
        let identity = program::identity(index, &found);
        let is_admin = identity.name == ADMIN;
        if !is_admin && !plan.may_route() {
            warn!("nic {}: not started: the configuration is wrong", identity.name);
            continue;
        }
        let carrier: Box<dyn Carrier<Platform>> = match is_admin {
            true => Box::new(Stacked::new(admin.addressing(), routes)),
            false => Box::new(Lane::new(plan.next_id())),
        };
        let (irq, config) = (plan.config().irq.value, nic_config(&plan, &identity.name));
        let [of_admin, pool] = &pools;
        let pool = if is_admin { of_admin } else { pool };
        let Some(nic) = program::start(&machine, irq, identity, found, config, carrier, pool) else {
            continue;
        };
        if !is_admin {
            plan.add(nic.name(), nic.info());
        }
        nics.push(nic);
    }

    let [_, pool] = pools;
    let router = plan.build(
        pool.clone(),
        seeded.as_mut().map(|seeded| &mut seeded.random),
        &|| machine.heap_bytes_free(),
        machine.platform.now(),
    );
    router.say();
    let drain = router.drain();
    let server = program::make_server(machine, nics, pool, seeded);
    server.with_forwarding(Box::new(router)).with_drain(drain).run()
}

/// What the command line says of where devices are; words that are nobody's are named.
fn said_of_devices(line: &str) -> Words {
    let mut devices = Words::default();
    let mut foreign: Vec<String> = Vec::new();
    for word in line.split_ascii_whitespace() {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match devices.take(key, value) {
            Some(Ok(())) => {}
            Some(Err(reason)) => warn!("command line: '{word}' ignored: {reason}"),
            None if is_word(word) => {}
            None if is_for_linux(word) => foreign.push(word.into()),
            None => warn!(
                "command line: '{word}' ignored: no such word; there are admin, public, private, nic3.., route, service, sources, syslog, time, vrrp, drain, panic, rules, irq, log, {}",
                words::NAMES
            ),
        }
    }
    program::say_foreign(&foreign);
    devices
}

/// What the router is told, by whom ever; and a firewall's rules, for so many NICs.
fn configuration(
    machine: &Machine,
    line: &str,
    places: Vec<crate::bus::Place>,
    nics: usize,
) -> (Config, Option<Loaded>) {
    let mut volume = disks::mount_first(machine, places);
    let text = volume.as_mut().map(disks::read_file).transpose();
    let (text, unread) = match text {
        Ok(text) => (text.flatten(), None),
        Err(reason) => (None, Some(reason)),
    };
    let mut config = Config::of(BUILT_IN, line, text.as_deref());
    if let Some(reason) = unread {
        config.faults.push(Fault::of_disk(alloc::format!("{}: it cannot be read: {reason}", file::NAME)));
    }
    console::set_level(config.log.value);
    last_panic::reset_after(config.stop.panic.value == OnPanic::Reset);
    last_panic::tell();
    if volume.is_some() && text.is_none() {
        info!("disk: there is no {} on it", file::NAME);
    }
    let found = (0..nics).map(|index| nic_name(index).into_owned());
    let mut names: Vec<_> = found.filter(|name| name != ADMIN).collect();
    let said = config.ports.iter().map(|port| port.name.clone());
    let said: Vec<_> = said.filter(|name| !names.contains(name)).collect();
    names.extend(said);
    let rules = Loaded::of(&mut config, &names, &mut |name| match &mut volume {
        None => Err("there is no disk to read it from".into()),
        Some(volume) => match volume.read_whole(name, rules::MAX_BYTES) {
            Ok(Some(text)) => Ok(text),
            Ok(None) => Err("there is no such file on the disk".into()),
            Err(reason) => Err(alloc::format!("it cannot be read: {reason}")),
        },
    });
    (config, rules)
}
