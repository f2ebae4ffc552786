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

use alloc::format;

use log::{error, info};
use paravane_net::MacAddr;
use paravane_unikernel::bus::{self, Words};
use paravane_unikernel::exit::{Exit, exit};
use paravane_unikernel::platform::Machine;
use paravane_unikernel::trial::{self, TestNic};

paravane_unikernel::entry!(main);

fn main(machine: Machine) -> ! {
    let found = bus::find_nics(&machine, &Words::of(&machine.boot.command_line));
    if found.is_empty() {
        error!("suite: no NIC found");
        exit(Exit::Failure);
    }
    for (index, nic) in found.iter().enumerate() {
        let Some(mac) = made_with(&machine, index) else {
            error!("suite: NIC {index}: no word mac{index}=xx:xx:xx:xx:xx:xx says what its address is");
            exit(Exit::Failure);
        };
        let (mut environment, address) = match TestNic::new(&machine, index, nic, mac, None) {
            Ok(environment) => environment,
            Err(reason) => {
                error!("suite: NIC {index}: {reason}");
                exit(Exit::Failure);
            }
        };
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

/// The address of NIC `index`, as the command line has it.
fn made_with(machine: &Machine, index: usize) -> Option<MacAddr> {
    let key = format!("mac{index}");
    trial::mac_word(machine.boot.command_line.words().find(|word| word.key == key)?.value?)
}
