//! The image that serves HTTP over every NIC that it finds.

#![no_std]
#![no_main]

use paravane_unikernel::app::program;
use paravane_unikernel::platform::Machine;

paravane_unikernel::entry!(main);

fn main(machine: Machine) -> ! {
    program::run(machine, None)
}
