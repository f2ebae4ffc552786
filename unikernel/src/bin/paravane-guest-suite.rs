//! The driver suite on bare metal: every NIC found is put through the tests that also run on
//! models, recordings and QEMU's test socket.
//!
//! The host at the other end of the cables answers test frames, and pulls a cable when a line of
//! the console asks for it:
//!
//! ```text
//! suite: NIC 0 wants link down
//! suite: NIC 0: ok   the link goes down and up
//! suite: NIC 0: 10 tests passed
//! suite: done
//! ```
//!
//! Words of the command line: `mac0=52:54:…`, the address that NIC 0 was made with, and so on.

#![no_std]
#![no_main]

extern crate alloc;

use core::fmt;

use alloc::format;
use alloc::vec::Vec;

use core::time::Duration;

use log::{error, info};
use paravane_hal::irq::MsiMessage;
use paravane_net::MacAddr;
use paravane_pci::Function;
use paravane_suite::Environment;
use paravane_unikernel::bus::pci::{self, Bus};
use paravane_unikernel::bus::{self, Place, Words};
use paravane_unikernel::exit::{Exit, exit};
use paravane_unikernel::interrupts::VectorId;
use paravane_unikernel::platform::{Machine, Platform};

paravane_unikernel::entry!(main);

/// The longest sleep while a message is waited for.
const NAP: Duration = Duration::from_millis(1);

fn main(machine: Machine) -> ! {
    let found = bus::find_nics(&machine, &Words::of(&machine.boot.command_line));
    if found.is_empty() {
        error!("suite: no NIC found");
        exit(Exit::Failure);
    }
    for (index, nic) in found.iter().enumerate() {
        let Some(mac) = mac_word(&machine, index) else {
            error!("suite: NIC {index}: no word mac{index}=xx:xx:xx:xx:xx:xx says what its address is");
            exit(Exit::Failure);
        };
        // Claiming opens the bridges on the way; the suite claims for itself then.
        let Place::Pci { bus, address, ref path, .. } = nic.place else {
            error!("suite: NIC {index}: no driver reaches {} yet", nic.place);
            exit(Exit::Failure);
        };
        if let Err(reason) = pci::claim(bus, address, path).map(Function::release) {
            error!("suite: NIC {index}: {reason}");
            exit(Exit::Failure);
        }
        let mut environment = OnMetal { machine: &machine, bus, index, mac, vectors: vectors(&machine) };
        match paravane_suite::run(&mut environment, address) {
            Ok(tests) => info!("suite: NIC {index}: {tests} tests passed"),
            Err(failure) => {
                error!("suite: NIC {index}: failed: {failure}");
                exit(Exit::Failure);
            }
        }
    }
    info!("suite: done");
    exit(Exit::Success)
}

/// One NIC of the machine.
struct OnMetal<'m> {
    machine: &'m Machine,
    bus: Bus,
    index: usize,
    mac: MacAddr,
    vectors: Vec<(VectorId, MsiMessage)>,
}

impl Drop for OnMetal<'_> {
    fn drop(&mut self) {
        self.vectors.iter().for_each(|(id, _)| self.machine.interrupts.free_vector(*id));
    }
}

/// As many vectors as a driver has a use for.
fn vectors(machine: &Machine) -> Vec<(VectorId, MsiMessage)> {
    (0..3).map_while(|_| machine.interrupts.allocate_vector().ok()).collect()
}

impl Environment for OnMetal<'_> {
    type Platform = Platform;
    type Config = Bus;

    fn platform(&self) -> Platform {
        self.machine.platform
    }
    fn config(&self) -> Bus {
        self.bus
    }
    fn mac(&self) -> MacAddr {
        self.mac
    }
    fn dma_bytes_in_use(&self) -> usize {
        self.machine.platform.dma.dma_bytes_in_use()
    }
    fn set_link(&mut self, up: bool) {
        info!("suite: NIC {} wants link {}", self.index, if up { "up" } else { "down" });
    }
    /// The other end moves by itself.
    fn turn(&mut self) {}
    fn messages(&self) -> Vec<MsiMessage> {
        self.vectors.iter().map(|(_, message)| *message).collect()
    }
    fn rang(&mut self) -> bool {
        self.machine.interrupts.idle(Some(NAP));
        self.machine.interrupts.take_pending().messages != 0
    }
    fn report(&mut self, line: fmt::Arguments<'_>) {
        info!("suite: NIC {}: {line}", self.index);
    }
}

/// The address of NIC `index`, as the command line has it.
fn mac_word(machine: &Machine, index: usize) -> Option<MacAddr> {
    let key = format!("mac{index}");
    let word = machine.boot.command_line.words().find(|word| word.key == key)?;
    let mut digits = word.value?.split(':').map(|byte| u8::from_str_radix(byte, 16).ok());
    let mut bytes = [0; 6];
    for place in &mut bytes {
        *place = digits.next()??;
    }
    digits.next().is_none().then_some(MacAddr(bytes))
}
