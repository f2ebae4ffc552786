//! What is behind a reference or in a box does what it does without.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the failure")]

use std::sync::{Arc, Mutex};

use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, InterruptMode};
use paravane_net::{
    Burst, Change, ChangeError, Control, DeviceStats, Events, Link, NicInfo, Offloads, RxCounters, RxFilter,
    RxFilterError, RxQueue, Settings, TxCounters, TxQueue,
};

/// Writes down what it is asked, and answers each question in a way of its own.
#[derive(Clone, Default)]
struct Nic(Arc<Mutex<Vec<&'static str>>>);

impl Nic {
    fn note(&self, call: &'static str) {
        self.0.lock().unwrap().push(call);
    }
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl RxQueue for Nic {
    fn receive(&mut self, _burst: &mut Burst) -> Result<usize, DeviceFault> {
        self.note("receive");
        Ok(3)
    }
    fn refill(&mut self) -> usize {
        self.note("refill");
        4
    }
    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        self.note("rx arm");
        Ok(Armed::Pending)
    }
    fn disarm(&mut self) {
        self.note("rx disarm");
    }
    fn counters(&self) -> RxCounters {
        self.note("rx counters");
        RxCounters { frames: 5, ..RxCounters::default() }
    }
}

impl TxQueue for Nic {
    fn transmit(&mut self, _burst: &mut Burst) -> Result<usize, DeviceFault> {
        self.note("transmit");
        Err(DeviceFault::Gone)
    }
    fn reclaim(&mut self) -> Result<usize, DeviceFault> {
        self.note("reclaim");
        Ok(6)
    }
    fn flush(&mut self) {
        self.note("flush");
    }
    fn remind(&mut self) {
        self.note("remind");
    }
    fn room(&self) -> usize {
        self.note("room");
        7
    }
    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        self.note("tx arm");
        Ok(Armed::Idle)
    }
    fn disarm(&mut self) {
        self.note("tx disarm");
    }
    fn counters(&self) -> TxCounters {
        self.note("tx counters");
        TxCounters { frames: 8, ..TxCounters::default() }
    }
}

const INFO: NicInfo = NicInfo {
    driver: "none",
    mac: paravane_net::MacAddr::local(1),
    ip_mtu_bytes: 1500,
    max_frame_bytes: 1514,
    offloads: Offloads::empty(),
    filters: true,
    max_segments: 1,
    max_cut_segments: 1,
    rx_slots: 2,
    tx_slots: 2,
};

impl Control for Nic {
    fn info(&self) -> NicInfo {
        self.note("info");
        INFO
    }
    fn interrupts(&self) -> InterruptMode {
        self.note("interrupts");
        InterruptMode::Msi
    }
    fn link(&self) -> Link {
        self.note("link");
        Link::Up { mbps: Some(9), duplex: None }
    }
    fn acknowledge(&mut self) -> bool {
        self.note("acknowledge");
        true
    }
    fn poll(&mut self) -> Result<Events, DeviceFault> {
        self.note("poll");
        Ok(Events::ANNOUNCE)
    }
    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        self.note("control arm");
        Ok(Armed::Pending)
    }
    fn set_filter(&mut self, filter: RxFilter) -> Result<(), RxFilterError> {
        self.note("set_filter");
        Err(RxFilterError::NotOffered(filter))
    }
    fn settings(&self) -> Settings {
        self.note("settings");
        Settings::default().with_filter(RxFilter::PROMISCUOUS)
    }
    fn submit_change(&mut self, _change: Change) -> Result<(), ChangeError> {
        self.note("submit_change");
        Err(ChangeError::Busy)
    }
    fn poll_change(&mut self) -> Result<bool, ChangeError> {
        self.note("poll_change");
        Ok(false)
    }
    fn change(&mut self, _change: Change) -> Result<(), ChangeError> {
        self.note("change");
        Err(ChangeError::Refused)
    }
    fn read_device_stats(&mut self) -> Result<Option<DeviceStats>, DeviceFault> {
        self.note("read_device_stats");
        Ok(Some(DeviceStats { rx_frames: 10, ..DeviceStats::default() }))
    }
}

/// By value, as a stack takes them.
fn receive_by(mut rx: impl RxQueue, seen: &Nic) {
    assert_eq!((rx.receive(&mut Burst::new()), rx.refill()), (Ok(3), 4));
    assert_eq!((rx.arm(), rx.counters().frames), (Ok(Armed::Pending), 5));
    rx.disarm();
    assert_eq!(seen.take(), ["receive", "refill", "rx arm", "rx counters", "rx disarm"]);
}

fn send_by(mut tx: impl TxQueue, seen: &Nic) {
    assert_eq!((tx.transmit(&mut Burst::new()), tx.reclaim()), (Err(DeviceFault::Gone), Ok(6)));
    tx.flush();
    tx.remind();
    assert_eq!((tx.room(), tx.arm(), tx.counters().frames), (7, Ok(Armed::Idle), 8));
    tx.disarm();
    let calls = ["transmit", "reclaim", "flush", "remind", "room", "tx arm", "tx counters", "tx disarm"];
    assert_eq!(seen.take(), calls);
}

fn control_by(mut control: impl Control, seen: &Nic) {
    assert_eq!((control.info(), control.link()), (INFO, Link::Up { mbps: Some(9), duplex: None }));
    assert_eq!((control.acknowledge(), control.poll()), (true, Ok(Events::ANNOUNCE)));
    assert_eq!(control.arm(), Ok(Armed::Pending));
    let refused = control.set_filter(RxFilter::PROMISCUOUS);
    assert_eq!(refused, Err(RxFilterError::NotOffered(RxFilter::PROMISCUOUS)));
    assert_eq!(control.read_device_stats().unwrap().unwrap().rx_frames, 10);
    let calls = ["info", "link", "acknowledge", "poll", "control arm", "set_filter", "read_device_stats"];
    assert_eq!(seen.take(), calls);
    assert_eq!(control.settings().filter, RxFilter::PROMISCUOUS);
    assert_eq!(control.submit_change(Change::Announced), Err(ChangeError::Busy));
    assert_eq!(control.poll_change(), Ok(false));
    assert_eq!(control.change(Change::Announced), Err(ChangeError::Refused));
    assert_eq!(seen.take(), ["settings", "submit_change", "poll_change", "change"]);
}

#[test]
fn a_box_of_a_trait_object_is_a_queue_and_a_control() {
    let nic = Nic::default();
    receive_by(Box::new(nic.clone()) as Box<dyn RxQueue>, &nic);
    send_by(Box::new(nic.clone()) as Box<dyn TxQueue>, &nic);
    control_by(Box::new(nic.clone()) as Box<dyn Control>, &nic);
}

#[test]
fn a_reference_is_a_queue_and_a_control() {
    let nic = Nic::default();
    let mut owner = nic.clone();
    receive_by(&mut owner, &nic);
    send_by(&mut owner, &nic);
    control_by(&mut owner, &nic);
    let mut boxed: Box<dyn RxQueue> = Box::new(owner);
    receive_by(&mut boxed, &nic);
    receive_by(&mut *boxed, &nic);
}
