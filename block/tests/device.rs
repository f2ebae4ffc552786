//! The traits, by a driver that keeps its disk in memory: a life through them, and through boxes
//! and references, which have to hand every call on.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the failure")]
#![expect(unsafe_code, reason = "there is no device, so it is quiet")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use paravane_block::{
    BlockBuffer, BlockLayout, BlockPool, Completion, Config, Control, Data, Device, DiskInfo, Events,
    QueueCounters, Request, RequestQueue, Running, SubmitError,
};
use paravane_hal::Failed;
use paravane_hal::dma::{DeviceTag, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, InterruptMode, Interrupts};
use paravane_mock_hal::MockPlatform;

/// The calls that arrived.
type Calls = Arc<Mutex<Vec<&'static str>>>;

const INFO: DiskInfo = DiskInfo::plain("ram");

/// A stopped disk.
struct Ram {
    calls: Calls,
}

struct RamControl {
    calls: Calls,
    interrupts: InterruptMode,
}

struct RamQueue<B> {
    calls: Calls,
    waiting: VecDeque<Request<B>>,
    entries: u16,
}

#[derive(Debug)]
struct TooLong;

impl core::fmt::Display for TooLong {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("too long a queue")
    }
}

impl core::error::Error for TooLong {}

impl Device for Ram {
    type Control = RamControl;
    type Queue<B: Data> = RamQueue<B>;
    type Config = Config;
    type StartError = TooLong;
    type StopError = Infallible;

    fn start<B: Data>(
        self,
        config: &Config,
        interrupts: Interrupts<'_>,
    ) -> Result<Running<Self, B>, Failed<TooLong, Self>> {
        let Self { calls } = self;
        if config.entries > 1024 {
            return Err(Failed::new(TooLong, Self { calls }));
        }
        let interrupts = if interrupts.line { InterruptMode::Line } else { InterruptMode::Polling };
        let queue = RamQueue { calls: calls.clone(), waiting: VecDeque::new(), entries: config.entries };
        Ok(Running { control: RamControl { calls, interrupts }, queue, more_queues: Vec::new() })
    }

    fn stop<B: Data>(
        Running { control, queue, .. }: Running<Self, B>,
        unfinished: &mut dyn FnMut(Request<B>, &Quiet<'_>),
    ) -> Result<Self, Failed<Infallible, Running<Self, B>>> {
        // SAFETY: there is no device of that tag.
        let quiet = unsafe { Quiet::vouch(DeviceTag::unique()) };
        queue.waiting.into_iter().for_each(|request| unfinished(request, &quiet));
        Ok(Self { calls: control.calls })
    }
}

impl RamControl {
    fn note(&self, call: &'static str) {
        self.calls.lock().unwrap().push(call);
    }
}

impl Control for RamControl {
    fn info(&self) -> DiskInfo {
        self.note("info");
        DiskInfo { write_cache: false, max_in_flight: 2, ..INFO }
    }
    fn interrupts(&self) -> InterruptMode {
        self.note("interrupts");
        self.interrupts
    }
    fn capacity_sectors(&self) -> u64 {
        self.note("capacity");
        77
    }
    fn write_cache(&self) -> bool {
        self.note("write cache");
        true
    }
    fn set_write_cache(&mut self, on: bool) -> bool {
        self.note("set write cache");
        on
    }
    fn acknowledge(&mut self) -> bool {
        self.note("acknowledge");
        true
    }
    fn poll(&mut self) -> Result<Events, DeviceFault> {
        self.note("poll");
        Ok(Events::CAPACITY)
    }
    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        self.note("arm");
        Ok(Armed::Pending)
    }
}

impl<B> RamQueue<B> {
    fn note(&self, call: &'static str) {
        self.calls.lock().unwrap().push(call);
    }
}

impl<B: Data> RequestQueue<B> for RamQueue<B> {
    fn info(&self) -> &DiskInfo {
        self.note("info");
        &INFO
    }
    fn capacity_sectors(&self) -> u64 {
        self.note("capacity");
        78
    }
    fn submit(&mut self, request: Request<B>) -> Result<(), Failed<SubmitError, Request<B>>> {
        self.note("submit");
        if self.waiting.len() >= self.entries.into() {
            return Err(Failed::new(SubmitError::Full, request));
        }
        self.waiting.push_back(request);
        Ok(())
    }
    fn publish(&mut self) {
        self.note("publish");
    }
    fn poll(&mut self) -> Result<Option<Completion<B>>, DeviceFault> {
        self.note("poll");
        Ok(self.waiting.pop_front().map(|request| Completion { request, result: Ok(()) }))
    }
    fn remind(&mut self) {
        self.note("remind");
    }
    fn room(&self) -> usize {
        self.note("room");
        usize::from(self.entries) - self.waiting.len()
    }
    fn in_flight(&self) -> usize {
        self.note("in flight");
        self.waiting.len()
    }
    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        self.note("arm");
        Ok(Armed::Idle)
    }
    fn disarm(&mut self) {
        self.note("disarm");
    }
    fn counters(&self) -> QueueCounters {
        self.note("counters");
        QueueCounters { requests: 5, ..QueueCounters::default() }
    }
}

fn start() -> (Running<Ram, BlockBuffer>, Calls) {
    let calls = Calls::default();
    let stopped = Ram { calls: calls.clone() };
    (stopped.start(&Config::default().with_entries(2), Interrupts::LINE).ok().unwrap(), calls)
}

#[test]
fn a_program_knows_a_disk_by_its_life() {
    /// Any driver's.
    fn lives<D: Device>(stopped: D) -> D {
        let mut running = stopped
            .start::<BlockBuffer>(&Config::default().with_entries(2).into(), Interrupts::LINE)
            .map_err(Failed::into_error)
            .unwrap();
        assert_eq!(format!("{running:?}"), "Running(ram, 77 sectors, line)");
        running.queue.submit(Request::flush()).map_err(Failed::into_error).unwrap();
        assert!(running.queue.poll().unwrap().is_some());
        running.queue.submit(Request::flush()).map_err(Failed::into_error).unwrap();
        let mut unfinished = 0;
        let stopped = running.stop(&mut |_, _| unfinished += 1).map_err(Failed::into_error).unwrap();
        assert_eq!(unfinished, 1);
        stopped
    }
    let stopped = lives(lives(Ram { calls: Calls::default() }));

    let failed = stopped.start::<BlockBuffer>(&Config::default().with_entries(4096), Interrupts::POLLING);
    let (error, stopped) = failed.err().unwrap().into_parts();
    assert_eq!(error.to_string(), "too long a queue");
    let running = stopped.start::<BlockBuffer>(&Config::default(), Interrupts::POLLING).unwrap();
    assert_eq!((running.queue.entries, running.control.interrupts), (256, InterruptMode::Polling));
}

/// Every call of a queue.
fn ask(mut queue: impl RequestQueue<BlockBuffer>) {
    queue.submit(Request::flush()).map_err(Failed::into_error).unwrap();
    queue.submit(Request::flush()).map_err(Failed::into_error).unwrap();
    let (error, request) = queue.submit(Request::flush().with_token(3)).unwrap_err().into_parts();
    assert_eq!((error, request.token), (SubmitError::Full, 3));
    queue.publish();
    assert!(queue.poll().unwrap().is_some());
    queue.remind();
    assert_eq!((queue.room(), queue.in_flight()), (1, 1));
    assert_eq!(queue.arm(), Ok(Armed::Idle));
    queue.disarm();
    assert_eq!(queue.counters().requests, 5);
    assert_eq!((queue.info().driver, queue.capacity_sectors()), ("ram", 78));
}

/// Every call of a control half.
fn ask_control(mut control: impl Control) {
    assert_eq!((control.info().driver, control.capacity_sectors()), ("ram", 77));
    assert_eq!(control.interrupts(), InterruptMode::Line);
    assert!(control.write_cache() && control.set_write_cache(true) && control.acknowledge());
    assert_eq!((control.poll(), control.arm()), (Ok(Events::CAPACITY), Ok(Armed::Pending)));
}

#[test]
fn boxes_and_references_hand_every_call_on() {
    let queue_calls = [
        "submit",
        "submit",
        "submit",
        "publish",
        "poll",
        "remind",
        "room",
        "in flight",
        "arm",
        "disarm",
        "counters",
        "info",
        "capacity",
    ];
    let control_calls =
        ["info", "capacity", "interrupts", "write cache", "set write cache", "acknowledge", "poll", "arm"];
    let taken = |calls: &Calls| core::mem::take(&mut *calls.lock().unwrap());

    let (running, calls) = start();
    ask(Box::new(running.queue) as Box<dyn RequestQueue<BlockBuffer>>);
    assert_eq!(taken(&calls), queue_calls);
    ask_control(Box::new(running.control) as Box<dyn Control>);
    assert_eq!(taken(&calls), control_calls);

    let (mut running, calls) = start();
    ask(&mut running.queue);
    assert_eq!(taken(&calls), queue_calls);
    ask_control(&mut running.control);
    assert_eq!(taken(&calls), control_calls);
}

#[test]
fn counters_of_queues_that_follow_one_another_add_up() {
    let one = QueueCounters {
        requests: 1,
        bytes: 2,
        parts: 3,
        completed: 4,
        failed: 5,
        refused: 6,
        full: 7,
        doorbells: 8,
        doorbells_saved: u64::MAX,
    };
    let both = one + one;
    assert_eq!((both.requests, both.bytes, both.parts, both.completed), (2, 4, 6, 8));
    assert_eq!((both.failed, both.refused, both.full, both.doorbells), (10, 12, 14, 16));
    assert_eq!(both.doorbells_saved, u64::MAX);
}

#[test]
fn a_pool_says_which_devices_reach_its_buffers() {
    use paravane_hal::dma::Dma as _;
    let platform = MockPlatform::new();
    let pool = BlockPool::new(platform.clone(), BlockLayout::new(2).with_address_bits(32)).unwrap();
    assert_eq!(pool.domain(), platform.domain());
}
