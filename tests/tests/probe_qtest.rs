//! The probe on QEMU's own device, with nothing booted, held against what QEMU is known to do.
//! Skipped, with a word about why, where QEMU is not installed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../probe/tests/report/mod.rs"]
mod report;

use std::fmt;

use paravane_hal::irq::MsiMessage;
use paravane_net::MacAddr;
use paravane_qtest_hal::{Chipset, Config, Machine, Qtest, Setup};
use paravane_suite::{Environment, peer};

use report::{Report, Verdict, Verdict::*};

struct OnQemu {
    machine: Machine,
    report: Report,
}

impl Environment for OnQemu {
    type Platform = Qtest;
    type Config = Config;

    fn platform(&self) -> Qtest {
        self.machine.platform().clone()
    }
    fn config(&self) -> Config {
        self.machine.config().clone()
    }
    fn mac(&self) -> MacAddr {
        MacAddr(Setup::mac(0))
    }
    fn dma_bytes_in_use(&self) -> usize {
        self.machine.platform().dma_bytes_in_use()
    }
    fn set_link(&mut self, up: bool) {
        self.machine.set_link(0, up).unwrap();
    }
    fn turn(&mut self) {
        let cable = self.machine.cable(0).unwrap();
        while let Some(frame) = cable.receive() {
            if let Some(answer) = peer::answer(&frame) {
                cable.send(&answer).unwrap();
            }
        }
    }
    fn messages(&self) -> Vec<MsiMessage> {
        (0..3).map(|index| self.machine.platform().mailbox(index).unwrap().message()).collect()
    }
    fn rang(&mut self) -> bool {
        (0..3).filter(|index| self.machine.platform().mailbox(*index).unwrap().take()).count() > 0
    }
    fn report(&mut self, line: fmt::Arguments<'_>) {
        self.report.add(&line.to_string());
    }
}

/// What differs on QEMU from what is expected of the original, and what it has no way to show.
const QEMU: &[(&str, Verdict)] = &[
    // It speaks revision 1.
    ("CHOICE-OUTLIVES-RESET", NotShown),
    ("ACT-MTU-9190", NotShown),
    ("ACT-MTU-9191", NotShown),
    ("ACT-TX-3-REV-6", NotShown),
    ("ACT-RING-96-REV-7", NotShown),
    ("ACT-RX-COMP-160-REV-7", NotShown),
    ("TUNNEL-REV-4", NotShown),
    ("TUNNEL-REV-7", NotShown),
    ("TX-DATA-SLOT", NotShown),
    ("RX-DATA-SLOT", NotShown),
    ("RX-DATA-LONGER", NotShown),
    ("COALESCE-DEFAULT", NotShown),
    ("COALESCE-READ-BACK", NotShown),
    ("MEMORY-REGIONS", NotShown),
    ("RING-BUFFER-SIZES", NotShown),
    ("CAPABILITIES-GRANTED", NotShown),
    ("CAPABILITIES-REPLACED", NotShown),
    ("RSS-FIELDS-DEFAULT", NotShown),
    ("RSS-FIELDS-GRANTED", NotShown),
    // Transmits inside the doorbell, completes every frame, and never stops a queue.
    ("TX-THRESHOLD", Differs),
    ("TX-UNRUNG", Differs),
    ("CQ-CLEAR", Differs),
    ("CQ-CUMULATIVE", Differs),
    ("TX-17", Differs),
    ("ECR-READ", NotShown),
    ("RX-HEAD-64", Differs),
    ("RX-HEAD-0", Differs),
    ("RX-SG-0", Differs),
    // Counts what it is given. This cable takes no frames that are still to be cut.
    ("STATS-TSO", Differs),
    // Of what arrives by this cable it verifies nothing, and `type` is 0.
    ("RCD-TYPE", Differs),
    ("RCD-FCS", Differs),
    ("RCD-VERIFIED", Differs),
    ("RX-OVER-MTU", Differs),
    // Activation brings the permanent address back, and reset does not.
    ("MAC-AT-ACTIVATION", Differs),
    ("MAC-AT-RESET", Differs),
    // VLANs 0 and 4095, and frames without a tag, pass always.
    ("VLAN-0-UNTAGGED", Differs),
    ("VLAN-0-TAG-0", Differs),
    ("VLAN-NONE-UNTAGGED", Differs),
    // It does not look at `intrCtrl`.
    ("INTR-CTRL-HOLDS", Differs),
    ("INTR-CTRL-RELEASES", NotShown),
    // It receives by the first queue, and hashes nothing.
    ("RSS-HASH", Differs),
    ("RSS-LOW-BITS", Differs),
    ("RSS-TABLE-64", Differs),
    ("RSS-TABLE-LENGTH", NotShown),
    // Activation looks at the magic, the MTU, and whether there are too many queues.
    ("ACT-TX-3", Differs),
    ("ACT-TX-0", Differs),
    ("ACT-RX-0", Differs),
    ("ACT-RING-BASE", Differs),
    ("ACT-RING-SIZE", Differs),
    ("ACT-TX-COMP", Differs),
    ("ACT-RX-COMP", Differs),
    ("ACT-TABLE-BASE", Differs),
    ("ACT-TABLE-LEN", Differs),
];
/// What QEMU's version decides: those before 8 make IP fragments of what is to be cut.
const EITHER: &[&str] = &["TSO-IP-0-PSEUDO-0"];

fn run(chipset: Chipset) {
    let Some(machine) = Machine::start_or_skip(&Setup::new(chipset).nic("vmxnet3")) else { return };
    let address = machine.nic_address(0).unwrap();
    let mut environment = OnQemu { machine, report: Report::default() };
    let summary = paravane_probe::run(&mut environment, address);
    environment.machine.check().unwrap();
    assert_eq!(environment.dma_bytes_in_use(), 0, "all memory came back");
    environment.report.holds(summary.unwrap(), QEMU, EITHER);
    environment.report.saw(&[
        ("UPDATE-RX-PROD", "0"),
        ("RX-FULL-RING", "arrives"),
        ("FILTER-AT-ACTIVATION", "activation reads rxMode"),
        ("CSUM-ZERO", "1 right"),
        ("STATS-TSO", "1 cut, 1254 bytes, 1 unicast, 1254 bytes, of 3 segments in a frame of 1254 bytes"),
        ("TX-RUNT", "completed true, 1 errors, not stopped"),
        ("RSS-LOW-BITS", "8 of 16 by a table of 128"),
        ("MAC-AT-RESET", "02:00:00:70:72:6f, 02:00:00:70:72:6f was written"),
    ]);
    assert_eq!(environment.report.identity("VRRS"), "0x1");
    assert_eq!(environment.report.identity("permanent address"), MacAddr(Setup::mac(0)).to_string());
    assert_eq!(environment.report.identity("peer"), "answers");
}

#[test]
fn on_pc() {
    run(Chipset::Pc);
}

#[test]
fn on_q35() {
    run(Chipset::Q35);
}
