//! A disk in memory that does what it is told to go wrong with.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use paravane_block::{
    BlockBuffer, BlockLayout, BlockPool, Capacity, Completion, Data as _, DiskInfo, Operation, QueueCounters,
    RangeLimits, Request, RequestError, RequestFault, RequestQueue, Rules, SubmitError,
};
use paravane_hal::Failed;
use paravane_hal::dma::{DeviceTag, Dma as _};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_mock_hal::MockPlatform;

pub const SECTOR: usize = 512;
pub const SECTORS: usize = 64;

#[derive(Default)]
pub struct State {
    pub disk: Vec<u8>,
    pub waiting: VecDeque<Request<BlockBuffer>>,
    /// So many are done; the others wait.
    pub does: usize,
    pub shuffles: bool,
    pub bad_sector: Option<u64>,
    pub room: usize,
    pub fault: Option<DeviceFault>,
    /// What was done, in order.
    pub done: Vec<Operation>,
    pub most_waiting: usize,
    pub published: usize,
    /// Says that something came in while it was asked for an interrupt,
    pub arms_late: bool,
    /// or something that breaks the queue.
    pub arm_fault: Option<DeviceFault>,
}

pub struct Ram {
    pub rules: Rules,
    state: Arc<Mutex<State>>,
}

pub struct Bench {
    pub platform: MockPlatform,
    pub pool: BlockPool,
    state: Arc<Mutex<State>>,
}

impl Bench {
    /// Buffers of three sectors.
    pub fn new(buffers: u32) -> Self {
        let platform = MockPlatform::new();
        let layout = BlockLayout::new(buffers).with_buffer_bytes(3 * 512 + 100);
        let pool = BlockPool::new(platform.clone(), layout).unwrap();
        let disk = (0..SECTORS * SECTOR).map(|at| (at / SECTOR).to_le_bytes()[0]).collect();
        let state = State { disk, does: usize::MAX, room: 4, ..State::default() };
        Self { platform, pool, state: Arc::new(Mutex::new(state)) }
    }

    pub fn queue(&self, block_bytes: u32) -> Ram {
        let limits = |align| RangeLimits::new(16, align, block_bytes);
        let info = DiskInfo {
            block_bytes,
            lifetime: true,
            discard: limits(8),
            write_zeroes: limits(0),
            secure_erase: limits(0),
            ..DiskInfo::plain("ram")
        };
        let (capacity, domain) = (Capacity::new(SECTORS as u64), self.platform.domain());
        let rules = Rules { info, capacity, domain, device: DeviceTag::unique() };
        Ram { rules, state: self.state.clone() }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn assert_home(&self) {
        assert_eq!(self.pool.free(), self.pool.buffers());
    }
}

impl State {
    fn perform(&mut self, request: &mut Request<BlockBuffer>) -> Result<(), RequestFault> {
        self.done.push(request.operation);
        let len_bytes = request.data.as_ref().map_or(0, |data| data.pieces()[0].len_bytes());
        let place = |sector: u64, len_bytes: usize| {
            let start = usize::try_from(sector).unwrap() * SECTOR;
            start..start + len_bytes
        };
        let fill = |disk: &mut Vec<u8>, fill, sector, sectors| {
            disk[place(sector, sectors as usize * SECTOR)].fill(fill);
        };
        match request.operation {
            Operation::Read { sector } | Operation::Write { sector }
                if self
                    .bad_sector
                    .is_some_and(|bad| (sector..sector + (len_bytes / SECTOR) as u64).contains(&bad)) =>
            {
                return Err(RequestFault::Io);
            }
            Operation::Read { sector } => {
                let bytes = self.disk[place(sector, len_bytes)].to_vec();
                assert!(request.data.as_mut().unwrap().copy_in(0, &bytes));
            }
            Operation::Write { sector } => {
                let mut bytes = vec![0; len_bytes];
                assert!(request.data.as_ref().unwrap().copy_out(0, &mut bytes));
                self.disk[place(sector, len_bytes)].copy_from_slice(&bytes);
            }
            Operation::Identify => {
                assert!(request.data.as_mut().unwrap().copy_in(0, b"a disk in memory    "))
            }
            Operation::Lifetime => assert!(request.data.as_mut().unwrap().copy_in(0, &[1, 0, 5, 0, 0, 0])),
            Operation::Discard { sector, sectors } => fill(&mut self.disk, 0xdd, sector, sectors),
            Operation::WriteZeroes { sector, sectors, .. } => fill(&mut self.disk, 0, sector, sectors),
            Operation::SecureErase { sector, sectors } => fill(&mut self.disk, 0xee, sector, sectors),
            _ => {}
        }
        Ok(())
    }
}

impl RequestQueue<BlockBuffer> for Ram {
    fn info(&self) -> &DiskInfo {
        &self.rules.info
    }

    fn capacity_sectors(&self) -> u64 {
        self.rules.capacity.sectors()
    }

    fn submit(
        &mut self,
        request: Request<BlockBuffer>,
    ) -> Result<(), Failed<SubmitError, Request<BlockBuffer>>> {
        if let Err(error) = self.rules.check(&request) {
            return Err(Failed::new(error, request));
        }
        let mut state = self.state.lock().unwrap();
        if state.waiting.len() >= state.room {
            return Err(Failed::new(SubmitError::Full, request));
        }
        state.waiting.push_back(request);
        state.most_waiting = state.most_waiting.max(state.waiting.len());
        Ok(())
    }

    fn publish(&mut self) {
        self.state.lock().unwrap().published += 1;
    }

    fn poll(&mut self) -> Result<Option<Completion<BlockBuffer>>, DeviceFault> {
        let mut state = self.state.lock().unwrap();
        if let Some(fault) = state.fault {
            return Err(fault);
        }
        if state.does == 0 {
            return Ok(None);
        }
        let next = if state.shuffles { state.waiting.pop_back() } else { state.waiting.pop_front() };
        let Some(mut request) = next else { return Ok(None) };
        state.does -= 1;
        let done = state.perform(&mut request);
        let result = done.map_err(|fault| RequestError::new(&request, fault));
        Ok(Some(Completion { request, result }))
    }

    fn remind(&mut self) {}

    fn room(&self) -> usize {
        0
    }

    fn in_flight(&self) -> usize {
        self.state.lock().unwrap().waiting.len()
    }

    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        let state = self.state.lock().unwrap();
        match state.fault.or(state.arm_fault) {
            Some(fault) => Err(fault),
            None if state.arms_late => Ok(Armed::Pending),
            None => Ok(Armed::Idle),
        }
    }

    fn disarm(&mut self) {}

    fn counters(&self) -> QueueCounters {
        QueueCounters::default()
    }
}
