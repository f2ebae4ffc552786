//! A report about the VMXNET3 devices of a machine, made by booting this: what the first of them
//! says and does, the driver's tests on it, and what is asked of it without a driver. A second NIC
//! on the same network answers it.
//!
//! ```text
//! report: begin
//! report: hypervisor VMwareVMware
//! report: NIC 0 is tested: 03:00.0 15ad:07b0
//! suite: NIC 0: ok   single frames come back
//! report: suite passed, 10 tests
//! probe: RESET-OFF-BUS: expected answer 0: seen answer 0: as expected
//! report: 73 as expected, 14 differ, 8 not shown
//! report: end
//! ```
//!
//! The machine is turned off afterwards. `docs/try-on-esxi.md` says how to make one, and what to do
//! with the report.
//!
//! Words of the command line: `mac0=52:54:…`, the address that NIC 0 was made with, to be held
//! against what it says; `cable=by-hand`, somebody takes the cable of NIC 0 out and puts it back
//! when a line asks for it, within 15 s; `repeat=N`, the suite is run N times; `power=stay`, the
//! machine is left on.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::arch::x86_64::{__cpuid, CpuidResult};
use core::error::Error;

use log::{error, info};
use paravane_hal::Failed;
use paravane_net::{Config, FrameLayout, FramePool, MacAddr};
use paravane_nic::{InterruptPlan, Kind, Nic};
use paravane_pci::PciAddress;
use paravane_unikernel::bus::{self, FoundNic, Words};
use paravane_unikernel::exit::{Exit, exit};
use paravane_unikernel::platform::Machine;
use paravane_unikernel::power::Power;
use paravane_unikernel::trial::{Peer, TestNic, claim, mac_word};

paravane_unikernel::entry!(main);

fn main(machine: Machine) -> ! {
    info!("report: begin");
    info!("report: hypervisor {}", hypervisor());
    let outcome = report(&machine);
    if let Err(reason) = &outcome {
        error!("report: {reason}");
    }
    info!("report: end");
    if word(&machine, "power") != Some("stay") {
        Power::find(&machine).off();
    }
    exit(if outcome.is_ok() { Exit::Success } else { Exit::Failure })
}

/// The value of the command line's word `key`.
fn word<'m>(machine: &'m Machine, key: &str) -> Option<&'m str> {
    machine.boot.command_line.words().find(|word| word.key == key)?.value
}

/// What hypervisors call themselves.
fn hypervisor() -> String {
    let is_there = __cpuid(1).ecx & 1 << 31 != 0;
    if !is_there {
        return "none that says so".into();
    }
    let CpuidResult { ebx, ecx, edx, .. } = __cpuid(0x4000_0000);
    let letters = [ebx, ecx, edx].into_iter().flat_map(u32::to_le_bytes).filter(|byte| *byte != 0);
    letters.map(|byte| if byte.is_ascii_graphic() { char::from(byte) } else { '?' }).collect()
}

fn report(machine: &Machine) -> Result<(), Box<dyn Error>> {
    let words = Words::of(&machine.boot.command_line);
    for found in bus::find(machine, &words, &|_| Some(())) {
        info!("report: there is {}", found.place);
    }
    let nics = bus::find_nics(machine, &words);
    let mut tested = nics.iter().filter(|nic| nic.kind == Kind::Vmxnet3);
    let nic = tested.next().ok_or("no VMXNET3 device found: the machine needs two, on one network")?;
    info!("report: NIC 0 is tested: {}", nic.place);
    let answering = tested.next().map(|other| {
        info!("report: NIC 1 answers: {}", other.place);
        Peer::start(machine, other)
    });
    let peer = answering.transpose()?;
    if peer.is_none() {
        info!("report: nobody here answers; unless somebody else does, tests with frames fail");
    }
    let said = first_start(machine, nic)?;
    let mac = match word(machine, "mac0") {
        Some(word) => mac_word(word).ok_or("mac0 is no address of the form xx:xx:xx:xx:xx:xx")?,
        None => said,
    };
    let (mut environment, address) = TestNic::new(machine, 0, nic, mac, peer)?;
    environment.has_cable_hand = word(machine, "cable") == Some("by-hand");
    let repeat = word(machine, "repeat").map_or(Ok(1), str::parse);
    let repeat: u32 = repeat.map_err(|_| "repeat=N wants a number")?;
    let suite = run_suite(&mut environment, address, repeat);
    match &suite {
        Ok(tests) => info!("report: suite passed, {tests} tests"),
        // The questions are worth their answers all the same.
        Err(reason) => error!("report: {reason}"),
    }
    environment.prefix.clear();
    let summary = paravane_probe::run(&mut environment, address)?;
    info!("report: {summary}");
    suite?;
    Ok(())
}

/// Runs the suite so often; how many tests passed.
fn run_suite(environment: &mut TestNic<'_>, address: PciAddress, repeat: u32) -> Result<usize, String> {
    let mut tests = 0;
    for round in 1..=repeat {
        tests += paravane_suite::run(environment, address)
            .map_err(|failure| format!("suite failed in round {round} of {repeat}: {failure}"))?;
    }
    Ok(tests)
}

/// Starts the NIC once, and says what came of it. The address that it says is its own.
fn first_start(machine: &Machine, nic: &FoundNic) -> Result<MacAddr, Box<dyn Error>> {
    let config = Config::default();
    let pool = FramePool::new(machine.platform, FrameLayout::new(config.frames()))?;
    let mut nic = Nic::open(claim(nic)?, machine.platform).map_err(Failed::into_error)?;
    let queues = nic.start(config, pool, InterruptPlan::POLLING)?;
    let info = nic.info().ok_or("it is not running")?;
    info!("report: NIC 0 starts: {info:?}");
    nic.stop(queues).map_err(Failed::into_error)?;
    Ok(info.mac)
}
