//! The probe on models: each answers as it is said to, and where that is not what is expected of
//! the original, the reason is written here.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod report;

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex};

use paravane_hal::irq::MsiMessage;
use paravane_mock_hal::model::vmxnet3::{Personality, Sent, Vmxnet3};
use paravane_mock_hal::pci::FunctionSpace;
use paravane_mock_hal::pci::machine::{self, Machine};
use paravane_mock_hal::{MockPlatform, PciHost, message};
use paravane_net::MacAddr;
use paravane_pci::PciAddress;
use paravane_probe::{ProbeError, Summary};
use paravane_suite::{Environment, peer};

use report::{Report, Verdict, Verdict::*};

const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x6d, 0x6f, 0x64];

/// A model in the place of the device.
struct OnModel {
    platform: MockPlatform,
    address: PciAddress,
    model: Arc<Mutex<Vmxnet3>>,
    report: Report,
    /// Nobody is at the other end.
    is_alone: bool,
    /// The fact after which the device is gone.
    pulled_after: Option<&'static str>,
}

impl OnModel {
    fn new(machine: Machine, personality: Personality) -> Self {
        // What the probe does, a strict platform ends the test over.
        let platform = MockPlatform::builder().record_faults().allow_leaks().build();
        machine.build(platform.pci());
        let address = machine.address(0);
        let model = Vmxnet3::plug(&platform, address, MAC, personality).model;
        Self { platform, address, model, report: Report::default(), is_alone: false, pulled_after: None }
    }

    fn run(&mut self) -> Result<Summary, ProbeError> {
        let address = self.address;
        paravane_probe::run(self, address)
    }
}

impl Environment for OnModel {
    type Platform = MockPlatform;
    type Config = PciHost;

    fn platform(&self) -> MockPlatform {
        self.platform.clone()
    }
    fn config(&self) -> PciHost {
        self.platform.pci().clone()
    }
    fn mac(&self) -> MacAddr {
        MacAddr(MAC)
    }
    fn dma_bytes_in_use(&self) -> usize {
        self.platform.memory().bytes()
    }
    fn set_link(&mut self, up: bool) {
        self.model.lock().unwrap().set_link(up);
    }
    fn turn(&mut self) {
        let mut model = self.model.lock().unwrap();
        model.look();
        let sent = model.take_sent();
        for frame in sent.iter().flat_map(Sent::on_wire) {
            if let Some(answer) = peer::answer(&frame).filter(|_| !self.is_alone) {
                model.deliver(&answer);
            }
        }
    }
    fn messages(&self) -> Vec<MsiMessage> {
        (0x40..0x43).map(|data| message(0xfee0_0000, data)).collect()
    }
    fn rang(&mut self) -> bool {
        !mem::take(&mut self.model.lock().unwrap().interrupts).is_empty()
    }
    fn report(&mut self, line: fmt::Arguments<'_>) {
        let line = line.to_string();
        self.report.add(&line);
        if self.pulled_after.is_some_and(|id| line.starts_with(&format!("probe: {id}: "))) {
            self.model.lock().unwrap().gone = true;
        }
    }
}

/// Asks a model of `personality` everything, and holds the report against `others`.
fn run(machine: Machine, personality: Personality, others: &[&[(&str, Verdict)]]) -> Report {
    let mut environment = OnModel::new(machine, personality);
    let summary = environment.run();
    assert_eq!(environment.dma_bytes_in_use(), 0, "all memory came back");
    assert!(!environment.model.lock().unwrap().is_active(), "it is left stopped");
    let model = environment.model.lock().unwrap();
    // Rules are there to be broken, but for those over which QEMU ends itself.
    let fatal = ["HEAD in ring 2", "om = 1 below", "ICR read with", "vectors are below", "without MSI-X"];
    let broken: Vec<_> =
        model.violations.iter().filter(|rule| fatal.iter().any(|what| rule.contains(what))).collect();
    assert!(broken.is_empty(), "{broken:?}");
    drop(model);
    environment.report.holds(summary.unwrap(), &others.concat(), &[]);
    environment.report
}

/// What no model shows, whichever it is.
const ALL: &[(&str, Verdict)] = &[
    // Its masks cannot be read.
    ("IMR-AFTER-RESET", Differs),
    ("IMR-READ-BACK", Differs),
    // It holds activation to what drivers are to do: the masking that it asks for, a length of
    // chains. QEMU takes others.
    ("NO-AUTO-MASK", NotShown),
    ("RX-SG-0", NotShown),
];
const BELOW_3: &[(&str, Verdict)] = &[
    ("CHOICE-OUTLIVES-RESET", NotShown),
    ("TX-DATA-SLOT", NotShown),
    ("RX-DATA-SLOT", NotShown),
    ("RX-DATA-LONGER", NotShown),
    ("COALESCE-DEFAULT", NotShown),
    ("COALESCE-READ-BACK", NotShown),
    ("MEMORY-REGIONS", NotShown),
];
const BELOW_4: &[(&str, Verdict)] =
    &[("RSS-FIELDS-DEFAULT", NotShown), ("RSS-FIELDS-GRANTED", NotShown), ("TUNNEL-REV-4", NotShown)];
const BELOW_6: &[(&str, Verdict)] =
    &[("ACT-MTU-9190", NotShown), ("ACT-MTU-9191", NotShown), ("ACT-TX-3-REV-6", NotShown)];
const BELOW_7: &[(&str, Verdict)] = &[
    ("RING-BUFFER-SIZES", NotShown),
    ("TUNNEL-REV-7", NotShown),
    ("CAPABILITIES-GRANTED", NotShown),
    ("CAPABILITIES-REPLACED", NotShown),
    ("ACT-RING-96-REV-7", NotShown),
    ("ACT-RX-COMP-160-REV-7", NotShown),
];
const ESXI: &[(&str, Verdict)] = &[
    // It remembers where `DriverShared` was, so that a driver which does not say that it is nowhere
    // is found out.
    ("RESET-FORGETS-SHARED", Differs),
];
/// QEMU's, as `probe_qtest` has it from the device itself, but for what is said here.
const QEMU: &[(&str, Verdict)] = &[
    ("TX-THRESHOLD", Differs),
    ("TX-UNRUNG", Differs),
    ("CQ-CLEAR", Differs),
    ("CQ-CUMULATIVE", Differs),
    ("TX-17", Differs),
    ("ECR-READ", NotShown),
    ("STATS-TSO", Differs),
    ("RCD-TYPE", Differs),
    ("RCD-FCS", Differs),
    // QEMU's says that nothing was verified; the model's says nothing at all.
    ("RCD-CNC", Differs),
    ("RCD-VERIFIED", Differs),
    ("RX-OVER-MTU", Differs),
    ("RX-HEAD-64", Differs),
    ("RX-HEAD-0", Differs),
    // A reset of the model's brings the permanent address back, which QEMU's does not; and it heeds
    // `intrCtrl`, which QEMU's does not. What QEMU's activation takes, the model's refuses.
    ("MAC-AT-ACTIVATION", Differs),
    ("VLAN-0-UNTAGGED", Differs),
    ("VLAN-0-TAG-0", Differs),
    ("VLAN-NONE-UNTAGGED", Differs),
    ("RSS-HASH", Differs),
    ("RSS-LOW-BITS", Differs),
    ("RSS-TABLE-64", Differs),
    ("RSS-TABLE-LENGTH", NotShown),
];

#[test]
fn as_qemu_has_it() {
    let report =
        run(machine::QEMU_Q35, Personality::qemu(), &[ALL, BELOW_3, BELOW_4, BELOW_6, BELOW_7, QEMU]);
    assert_eq!(report.identity("VRRS"), "0x1");
}

#[test]
fn as_esxi_has_it_at_revision_1() {
    let personality = Personality::esxi().up_to(1);
    run(machine::ESXI, personality, &[ALL, BELOW_3, BELOW_4, BELOW_6, BELOW_7, ESXI]);
}

#[test]
fn as_esxi_has_it_at_revision_3() {
    run(machine::ESXI, Personality::esxi().up_to(3), &[ALL, BELOW_4, BELOW_6, BELOW_7, ESXI]);
}

#[test]
fn as_esxi_has_it_at_revision_7() {
    let report = run(machine::ESXI, Personality::esxi(), &[ALL, ESXI]);
    report.saw(&[
        ("TX-THRESHOLD", "8"),
        ("CQ-CUMULATIVE", "completions of descriptors [2]"),
        ("UPDATE-RX-PROD", "1"),
        ("RX-FULL-RING", "nothing arrives"),
        ("FILTER-AT-ACTIVATION", "nothing arrives before UPDATE_RX_MODE"),
        ("TX-17", "stopped with 0x80000002, event TQERR true"),
        ("CSUM-ZERO", "nothing arrives, queue stopped with 0x80000007"),
        ("TSO-IP-SUM-PSEUDO-0", "nothing arrives, queue stopped with 0x80000007"),
        ("TSO-IP-0-PSEUDO-LEN", "nothing arrives, queue stopped with 0x80000007"),
        ("TSO-IP-0-ZERO", "nothing arrives, queue stopped with 0x80000007"),
        ("TSO-SPLIT-HEADERS", "nothing arrives, queue stopped with 0x80000007"),
        ("STATS-TSO", "3 cut, 1254 bytes, 1 unicast, 1254 bytes, of 3 segments in a frame of 1254 bytes"),
        ("CHOICE-OUTLIVES-RESET", "0xffffffff at revision 1, 0x100 at 7, 0x100 after a reset"),
        ("COALESCE-DEFAULT", "answer 0x0, [0, 0, 0, 0]"),
        ("CAPABILITIES-REPLACED", "0x2ff, then 0x0; 0x0 after a reset"),
        ("RSS-FIELDS-GRANTED", "answer 0x0, 0x3f of 0x3f"),
        ("LINK-EVENT", "event true, a message true, link 0x27100001 to 0x27100000, gone true"),
        ("AUTO-MASK", "first true, second false, on unmasking true"),
    ]);
    assert_eq!(report.identity("VRRS"), "0x7f");
    assert_eq!(report.identity("peer"), "answers");
    assert_eq!(report.identity("GET_TXDATA_DESC_SIZE"), "0x100");
}

/// Where nobody is at the other end, facts that need somebody say so, and none waits for him.
#[test]
fn without_another_end_there_is_a_report_as_well() {
    let mut environment = OnModel::new(machine::ESXI, Personality::esxi());
    environment.is_alone = true;
    let summary = environment.run().unwrap();
    assert_eq!(environment.report.identity("peer"), "nobody answers");
    assert_eq!(environment.report.verdict("TX-UNRUNG"), Some(AsExpected));
    for id in ["TX-PADDING", "TSO-IP-0-PSEUDO-0", "RCD-TYPE", "VLAN-5-TAG-5", "RSS-HASH", "TX-DATA-SLOT"] {
        assert_eq!(environment.report.verdict(id), Some(NotShown), "{id}");
    }
    assert!(summary.not_shown > 30 && summary.as_expected > 30, "{summary}");
}

/// A device that is pulled does not say that it stopped: that is the end, and what it knows of
/// stays.
#[test]
fn a_device_that_does_not_stop_ends_the_run_and_keeps_its_memory() {
    let mut environment = OnModel::new(machine::ESXI, Personality::esxi());
    environment.pulled_after = Some("TX-THRESHOLD");
    let error = environment.run().unwrap_err();
    assert!(matches!(error, ProbeError::NotStopped { after: "TX-THRESHOLD", .. }), "{error}");
    assert!(environment.dma_bytes_in_use() > 0);
    assert_eq!(environment.report.verdict("TX-UNRUNG"), None, "nothing after it is asked");
}

#[test]
fn another_device_is_left_alone() {
    let mut environment = OnModel::new(machine::ESXI, Personality::esxi());
    let another = FunctionSpace::endpoint(0x8086, 0x10d3, 0x02);
    environment.platform.pci().insert(environment.address, another);
    assert!(matches!(environment.run(), Err(ProbeError::AnotherDevice { .. })));
}
