//! What the driver says to the log, and where it says nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::Mutex;

use log::{LevelFilter, Log, Metadata, Record};
use paravane_hal::irq::Interrupts;
use paravane_mock_hal::model::vmxnet3::{Personality, QueueId, stop};
use paravane_net::{Control as _, Events};
use support::{MESSAGES, Machine, numbered, receive_all, send, small};

/// Keeps what was said.
struct Ear(Mutex<Vec<String>>);

impl Log for Ear {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &Record<'_>) {
        // The driver's alone; what the bus says is the bus's.
        if record.target().starts_with("paravane_vmxnet3") {
            self.0.lock().unwrap().push(format!("{}: {}", record.level(), record.args()));
        }
    }
    fn flush(&self) {}
}

static EAR: Ear = Ear(Mutex::new(Vec::new()));

fn said() -> Vec<String> {
    std::mem::take(&mut EAR.0.lock().unwrap())
}

/// The only test here: there is one log.
#[test]
fn the_control_path_says_what_it_does_and_the_data_path_nothing() {
    log::set_logger(&EAR).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let machine = Machine::new(Personality::esxi());
    let device = machine.claim();
    assert_eq!(
        said(),
        [
            "INFO: vmxnet3 00:04.0: 52:54:00:12:34:56, revision 6 (VRRS 0b1111111), masks: Auto, interrupts: Any"
        ]
    );

    machine.model().refuse_activation = true;
    let failed = device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap_err();
    assert_eq!(said(), ["WARN: vmxnet3 00:04.0: vmxnet3 refused to activate, answer 0x1"]);
    machine.model().refuse_activation = false;
    let device = failed.into_parts().1;
    let mut running = device.start(&small(), machine.pool.clone(), Interrupts::msix(&MESSAGES)).unwrap();
    let started = "INFO: vmxnet3 00:04.0: started: revision 6, 52:54:00:12:34:56, MTU 1500, 32 receive and 32 transmit \
                   slots, 1 pair of queues, msix, 3 vectors, link up 10000 Mbit/s";
    assert_eq!(said(), [started]);

    assert!(machine.model().deliver(&numbered(1)));
    assert_eq!(receive_all(&mut running).len(), 1);
    send(&mut running, machine.frame(&numbered(2)));
    running.control.poll().unwrap();
    assert_eq!(said(), [""; 0], "of frames nothing is said");

    machine.model().set_link(false);
    running.control.poll().unwrap();
    assert_eq!(said(), ["INFO: vmxnet3 00:04.0: link down"]);
    machine.model().set_link(false);
    assert_eq!(running.control.poll(), Ok(Events::LINK));
    assert_eq!(said(), [""; 0], "of a change that is none");
    for _ in 0..1000 {
        machine.model().device_changed();
        running.control.poll().unwrap();
    }
    let takeovers = said();
    assert_eq!(takeovers.len(), 10, "seldom, however often a device says so: {takeovers:?}");
    assert!(takeovers[9].ends_with("another implementation took over, time 512"));
    machine.model().stop_queue(QueueId::Tx(0), stop::BIG_PKT);
    for _ in 0..3 {
        running.control.poll().unwrap_err();
    }
    let stopped = said();
    assert_eq!(stopped.len(), 1, "once: {stopped:?}");
    assert!(
        stopped[0].starts_with("WARN: vmxnet3 00:04.0: ")
            && stopped[0].ends_with("too many descriptors in a frame")
    );
    drop(running.stop().unwrap());
    assert_eq!(said(), ["INFO: vmxnet3 00:04.0: stopped"]);
}
