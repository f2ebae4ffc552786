//! The smallest program: says what machine it is on, sleeps three times for a second, and ends.
//!
//! ```text
//! cargo build --release -p paravane-unikernel --example hello --target x86_64-unknown-none
//! qemu-system-x86_64 -M q35 -accel tcg -display none -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=4 \
//!     -append 'some words' -kernel target/x86_64-unknown-none/release/examples/hello
//! ```

#![no_std]
#![no_main]

use core::time::Duration;

use log::info;
use paravane_hal::time::Clock;
use paravane_unikernel::exit::{Exit, exit};
use paravane_unikernel::platform::Machine;

paravane_unikernel::entry!(main);

fn main(machine: Machine) -> ! {
    let clock = machine.platform.clock;
    let (ticks, time) = (clock.ticks_now(), clock.duration(clock.ticks_now()));
    info!("in main after {ticks} ticks, {} us", time.as_micros());
    info!(
        "TSC at {} kHz, by {}; sleeps by {}",
        clock.hz() / 1000,
        clock.source(),
        machine.interrupts.timer()
    );
    for (range, kind) in machine.boot.memory.iter() {
        info!("memory {range} {kind}");
    }
    info!("{} KiB for DMA", machine.dma_bytes_free() / 1024);
    match machine.boot.rsdp {
        Some(rsdp) => info!("RSDP at {:#x}", rsdp.get()),
        None => info!("no RSDP"),
    }
    for word in machine.boot.command_line.words() {
        info!("word {} = {:?}", word.key, word.value);
    }
    for second in 1..=3 {
        let until = clock.now().saturating_add(Duration::from_secs(1));
        while clock.now() < until {
            machine.interrupts.idle(Some(until.since(clock.now())));
        }
        info!("{second} s slept");
    }
    exit(Exit::Success)
}
