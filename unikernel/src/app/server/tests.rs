//! The loop over NICs on a mock platform, whose interrupt controller is that of the test.

use super::*;
use core::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex};

use paravane_appliance::interface::InterfaceId;
use paravane_appliance::random::Random;
use paravane_hal::entropy::{Entropy, EntropyError};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_hal::time::Clock as _;
use paravane_mock_hal::model::virtio::{Net, Personality, Virtio, VirtioNet};
use paravane_mock_hal::{MockPlatform, PciHost};
use paravane_net::{Burst, FrameLayout, NicInfo, RxCounters, TxCounters};
use paravane_nic::{Config, InterruptPlan, Queues};

use crate::app::config::Addressing;
use crate::app::http::{Change, routes};
use crate::app::status::Report;

const LINE: u8 = 9;

/// A machine with the controller that misses most: a line rings when it rises while it is open, and
/// never because it is up.
pub(super) struct Machine {
    pub(super) platform: MockPlatform,
    /// Lines from here on lead nowhere.
    lines: u8,
    opened: RefCell<Vec<(u8, Trigger)>>,
    /// Which of the open lines were up when they were last looked at.
    up: Cell<u64>,
    sleeps: Cell<u32>,
    /// Of the last sleep.
    pub(super) timeout: Cell<Option<Duration>>,
    /// How often the button was pressed that nobody saw; `None` where there is no button.
    pub(super) presses: Cell<Option<u32>>,
}

impl Machine {
    fn raised(&self) -> u64 {
        let is_up = |line: &u8| self.platform.interrupts().is_raised(*line);
        self.opened.borrow().iter().map(|(line, _)| *line).filter(is_up).fold(0, |all, line| all | 1 << line)
    }
}

impl Host for Machine {
    fn now(&self) -> Instant {
        self.platform.now()
    }
    fn sleep(&self, timeout: Option<Duration>) {
        self.timeout.set(timeout);
        self.sleeps.set(self.sleeps.get() + 1);
    }
    fn take_rung(&self) -> Rung {
        let raised = self.raised();
        Rung { lines: raised & !self.up.replace(raised), messages: false }
    }
    fn open_line(&self, line: u8, trigger: Trigger) -> bool {
        if line >= self.lines {
            return false;
        }
        self.opened.borrow_mut().push((line, trigger));
        self.up.set(self.raised());
        true
    }
    fn unmask_line(&self, _line: u8) {}
    fn heap_bytes_free(&self) -> usize {
        0
    }
    fn dma_bytes_in_use(&self) -> u64 {
        0
    }
    fn clock_source(&self) -> String {
        String::new()
    }
    fn has_power_button(&self) -> bool {
        self.presses.get().is_some()
    }
    fn is_power_button_pressed(&self) -> bool {
        let presses = self.presses.get().filter(|presses| *presses > 0);
        self.presses.set(presses.map(|presses| presses - 1).or(self.presses.get()));
        presses.is_some()
    }
    fn end(&self, _end: End) -> ! {
        unreachable!("no test runs the loop for ever")
    }
}

fn stacked() -> Box<dyn Carrier<MockPlatform>> {
    Box::new(Stacked::new(Addressing::Dhcp, routes))
}

pub(super) type Models = Vec<Arc<Mutex<VirtioNet>>>;

/// A server over two NICs that share [`LINE`], on a machine with so many `lines`.
pub(super) fn two_on_a_line(lines: u8) -> (Server<MockPlatform, PciHost, Machine>, Models) {
    two_with(lines, |_| stacked())
}

/// The same with other carriers.
fn two_with(
    lines: u8,
    carrier: impl Fn(u8) -> Box<dyn Carrier<MockPlatform>>,
) -> (Server<MockPlatform, PciHost, Machine>, Models) {
    let platform = MockPlatform::new();
    // A server never ends, so nothing stops its NICs.
    platform.memory().expect_leak(None);
    let config = Config::default().with_rx_entries(16).with_tx_entries(16);
    let pool = FramePool::new(platform.clone(), FrameLayout::new(2 * config.frames())).unwrap();
    let personality = Personality::qemu();
    let (nics, models) = [(0, "left"), (1, "right")]
        .map(|(index, name)| {
            let (start, _) = personality.place(index);
            let net = Net::of(&personality, [2, 0, 0, 0, 0, index]);
            let plugged = Virtio::plug_mmio(&platform, start, LINE, net, personality);
            let registers = plugged.claim(&platform).unwrap();
            let device = paravane_nic::Nic::open_mmio(registers, Some(LINE), platform.clone()).unwrap();
            let identity = Identity { name: name.into(), place: String::new(), ids: String::new() };
            let plan = InterruptPlan { line: Some(LINE), ..InterruptPlan::POLLING };
            let way = (plan, Trigger::Level);
            let nic = Nic::start(identity, device, config, carrier(index), way, pool.clone()).unwrap();
            assert_eq!(nic.line(), Some((LINE, Trigger::Level)));
            (nic, plugged.model)
        })
        .into_iter()
        .unzip();
    let (opened, up, sleeps, timeout, presses) = Default::default();
    let machine = Machine { platform, lines, opened, up, sleeps, timeout, presses };
    (Server::new(machine, nics, pool, None, Boot { micros: 0, ticks: 0 }), models)
}

fn set_links(models: &Models, up: bool) {
    models.iter().for_each(|model| model.lock().unwrap().set_link(up));
}

/// Goes round until the machine sleeps.
fn cycle_to_sleep(server: &mut Server<MockPlatform, PciHost, Machine>) {
    let before = server.host.sleeps.get();
    for _ in 0..10 {
        server.cycle();
        if server.host.sleeps.get() > before {
            return;
        }
    }
    panic!("nothing happens any more, and nobody sleeps");
}

#[test]
fn who_raised_a_line_before_it_was_opened_is_heard() {
    let (mut server, models) = two_on_a_line(16);
    set_links(&models, false);
    assert!(server.host.platform.interrupts().is_raised(LINE));
    server.cycle();
    assert_eq!(*server.host.opened.borrow(), [(LINE, Trigger::Level)], "once for both");
    assert!(!server.host.platform.interrupts().is_raised(LINE), "each was asked");
    assert_eq!(server.host.sleeps.get(), 0, "and is to be served");

    cycle_to_sleep(&mut server);
    assert!(!server.nics.iter().any(Nic::is_up), "each was served");
    for up in [true, false] {
        set_links(&models, up);
        cycle_to_sleep(&mut server);
        assert!(server.nics.iter().all(|nic| nic.is_up() == up), "the line is heard");
    }
    assert_eq!(server.host.opened.borrow().len(), 1);
}

#[test]
fn nics_on_a_line_that_leads_nowhere_are_polled() {
    let (mut server, models) = two_on_a_line(LINE);
    set_links(&models, false);
    server.cycle();
    assert!(server.host.opened.borrow().is_empty());
    assert!(server.nics.iter().all(Nic::is_polled));
    server.host.platform.clock().advance(EVENT_POLL);
    server.cycle();
    assert!(!server.nics.iter().any(Nic::is_up), "it is looked at them all the same");
}

/// Says the same in each fill.
struct Constant(u8);

impl Entropy for Constant {
    fn name(&self) -> &'static str {
        "constant"
    }
    fn fill(&self, to: &mut [u8]) -> Result<(), EntropyError> {
        to.fill(self.0);
        Ok(())
    }
}

#[test]
fn what_a_stack_begins_with_comes_of_entropy_and_not_of_the_clock() {
    let seeds = |byte, nanos| {
        let random = Random::new(&Constant(byte)).unwrap();
        let mut seeded = Seeded { random, source: "constant" };
        [0, 1].map(|index| stack_seed(Some(&mut seeded), index, Instant::from_nanos(nanos)))
    };
    let [left, right] = seeds(1, 5);
    assert_ne!(left, right);
    assert_eq!(seeds(1, 7), [left, right], "whenever it is");
    assert!(seeds(2, 5).iter().all(|seed| ![left, right].contains(seed)));
}

#[test]
fn without_entropy_stacks_begin_apart_all_the_same() {
    let by_clock = |index, nanos| stack_seed(None, index, Instant::from_nanos(nanos));
    assert_ne!(by_clock(0, 5), by_clock(1, 5));
    assert_ne!(by_clock(0, 5), by_clock(0, 6));
}

#[test]
fn the_report_says_where_random_numbers_come_from() {
    let (mut server, _models) = two_on_a_line(16);
    assert_eq!(server.report().entropy, "none");
    server.seeded = Some(Seeded { random: Random::new(&Constant(1)).unwrap(), source: "constant" });
    assert_eq!(server.report().entropy, "constant");
}

#[test]
fn a_stack_is_turned_when_its_time_comes_and_not_before() {
    let (mut server, models) = two_on_a_line(16);
    let now = server.host.now();
    server.nics[0].attach_stack(1, 1, now);
    let sent = |server: &mut Server<MockPlatform, PciHost, Machine>| {
        cycle_to_sleep(server);
        let mut model = models[0].lock().unwrap();
        model.send_all();
        model.take_sent().len()
    };
    assert_eq!(sent(&mut server), 1, "it asks for an address");
    assert_eq!(sent(&mut server), 0);
    server.host.platform.clock().advance(Duration::from_secs(9));
    assert_eq!(sent(&mut server), 0);
    server.host.platform.clock().advance(Duration::from_secs(2));
    assert_eq!(sent(&mut server), 1, "and again after ten seconds");
    for up in [false, true] {
        server.host.platform.clock().advance(EVENT_POLL);
        set_links(&models, up);
        cycle_to_sleep(&mut server);
        assert_eq!(server.nics[0].is_up(), up);
    }
    assert_eq!(sent(&mut server), 1, "and on a network that may be another one");
}

#[test]
fn a_device_that_was_given_frames_is_looked_at_soon_and_once() {
    let (mut server, _models) = two_on_a_line(16);
    cycle_to_sleep(&mut server);
    let now = server.host.now();
    server.nics[0].attach_stack(1, 1, now);
    // It is time to look for events, and then the stack asks for an address.
    server.host.platform.clock().advance(EVENT_POLL);
    cycle_to_sleep(&mut server);
    let soon = |server: &Server<_, _, Machine>| server.host.timeout.get().is_some_and(|at| at <= EVENT_POLL);
    assert!(soon(&server), "whether the device sends it, nobody else tells");
    server.host.platform.clock().advance(EVENT_POLL);
    cycle_to_sleep(&mut server);
    assert!(!soon(&server), "it did");
}

/// A stack that has its turn each time, for what it wants to send has no room.
struct Waiting(Box<dyn Carrier<MockPlatform>>);

impl Carrier<MockPlatform> for Waiting {
    fn begin(&mut self, info: &NicInfo, queues: Queues<MockPlatform>, pool: &FramePool) {
        self.0.begin(info, queues, pool);
    }
    fn end(&mut self) -> Option<Queues<MockPlatform>> {
        self.0.end()
    }
    fn sent(&self) -> Option<TxCounters> {
        self.0.sent()
    }
    fn received(&self) -> Option<RxCounters> {
        self.0.received()
    }
    fn fault(&self) -> Option<DeviceFault> {
        self.0.fault()
    }
    fn turn(&mut self, _now: Instant, _forwarding: &mut dyn Forwarding) -> Moved {
        Moved { served: true, ..Moved::default() }
    }
    fn remind(&mut self) {
        self.0.remind();
    }
    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        self.0.arm()
    }
    fn idle_time(&mut self, _now: Instant) -> Option<Duration> {
        Some(Duration::from_millis(100))
    }
    fn link_changed(&mut self, _is_up: bool) {}
}

#[test]
fn a_polled_stack_that_waits_for_room_keeps_nobody_awake() {
    let (mut server, _models) = two_with(LINE, |_| Box::new(Waiting(stacked())));
    server.cycle();
    assert!(server.nics.iter().all(Nic::is_polled));
    let before = server.host.sleeps.get();
    for _ in 0..10 {
        server.host.platform.clock().advance(2 * SPIN);
        server.cycle();
    }
    assert_eq!(server.host.sleeps.get() - before, 10, "it had its turn, and nothing moved");
    assert_eq!(server.host.timeout.get(), Some(POLL_SLEEPS.1), "longer and longer");
}

/// Who passes nothing on, and notes what it hears, and how often it is asked what is to be done.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<(InterfaceId, bool)>>>, Arc<Mutex<u32>>);

impl Forwarding for Listener {
    fn take(&mut self, _from: InterfaceId, burst: &mut Burst, _now: Instant) {
        assert!(!burst.is_empty(), "nobody is asked to take nothing");
        burst.clear();
    }
    fn egress(&mut self, _to: InterfaceId) -> Option<&mut Burst> {
        None
    }
    fn link_changed(&mut self, interface: InterfaceId, is_up: bool, _now: Instant) {
        self.0.lock().unwrap().push((interface, is_up));
    }
    fn poll(&mut self, _now: Instant) -> Option<Instant> {
        *self.1.lock().unwrap() += 1;
        None
    }
    fn page(&self, _name: &str, _report: &Report) -> Page {
        unreachable!("nobody asks")
    }
    fn change(&mut self, _change: &Change, _now: Instant) -> Page {
        unreachable!("nobody asks")
    }
    fn take_end(&mut self) -> Option<End> {
        None
    }
    fn close(&mut self, _now: Instant) {}
    fn is_anything_open(&mut self, _now: Instant) -> bool {
        false
    }
    fn open_connections(&self, _now: Instant) -> u32 {
        0
    }
    fn cut_off(&mut self) {}
    fn is_over(&self) -> bool {
        true
    }
}

#[test]
fn who_passes_frames_on_hears_of_a_link_before_anybody_sleeps() {
    let lane = |index| -> Box<dyn Carrier<MockPlatform>> { Box::new(Lane::new(InterfaceId(index))) };
    let (server, models) = two_with(16, lane);
    let heard = Listener::default();
    let mut server = server.with_forwarding(Box::new(heard.clone()));
    let both = |is_up| vec![(InterfaceId(0), is_up), (InterfaceId(1), is_up)];
    cycle_to_sleep(&mut server);
    assert_eq!(core::mem::take(&mut *heard.0.lock().unwrap()), both(true));
    *heard.1.lock().unwrap() = 0;
    for is_up in [false, true] {
        set_links(&models, is_up);
        cycle_to_sleep(&mut server);
        assert_eq!(core::mem::take(&mut *heard.0.lock().unwrap()), both(is_up));
        let asked = core::mem::take(&mut *heard.1.lock().unwrap());
        assert!(asked > 0, "what waits for time may wait for another one now");
    }
}
