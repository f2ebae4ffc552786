//! The life of a disk: claim, start, identify, read, write, flush, stop, and some of it again.

use anyhow::{Context as _, Result, anyhow, ensure};
use paravane_block::{
    BlockBuffer, BlockLayout, BlockPool, Completion, Config, Control as _, Device, ID_BYTES, Request,
    RequestQueue as _, Running,
};
use paravane_hal::irq::{Armed, Interrupts};
use paravane_hal::time::Clock as _;
use paravane_virtio::blk;
use paravane_virtio::transport::pci;

use super::{Stage, claim, ensure_same, said, wait};

const SECTOR: usize = 512;
const SECTORS: usize = 128;
/// Short, so that it wraps soon: ten requests of one piece.
const RING_ENTRIES: u16 = 32;
const BUFFERS: u32 = 32;
/// What requests are made of: pieces in sectors.
const SHAPES: [&[usize]; 6] = [&[1], &[2], &[8], &[1, 1], &[3, 1, 4], &[1, 2, 3, 2]];
/// Turns of the ring-wrapping part, eight requests each: about six times round the ring.
const TURNS: u64 = 8;
const REQUESTS_A_TURN: u64 = 8;

type Data = Vec<BlockBuffer>;

/// Sector `number` of what is called `version`: unlike any other, and something that a recording
/// writes in one word.
fn sector(number: usize, version: u8) -> impl Iterator<Item = u8> {
    let [low, ..] = number.to_le_bytes();
    let (start, step) = (low.wrapping_mul(31).wrapping_add(version), low.wrapping_mul(2) | 1);
    (0..=u8::MAX).cycle().take(SECTOR).map(move |at| start.wrapping_add(at.wrapping_mul(step)))
}

/// `count` sectors from `first` on.
fn sectors(first: usize, count: usize, version: u8) -> Vec<u8> {
    (first..first + count).flat_map(|number| sector(number, version)).collect()
}

/// What the disk holds at first.
pub(super) fn content() -> Vec<u8> {
    sectors(0, SECTORS, 0)
}

/// On virtio-blk, on PCI.
pub(super) fn life_of_virtio<S: Stage>(stage: &S) -> Result<()> {
    stage.step("find and claim")?;
    let function = claim(stage, |ids| pci::device_id(ids) == Some(blk::DEVICE_ID))?;
    stage.step("open")?;
    life_of(stage, said(pci::open(function, stage.platform(), blk::Device::new), "cannot open")?)
}

fn life_of<S: Stage, D: Device>(stage: &S, device: D) -> Result<()> {
    let pool = said(BlockPool::new(stage.platform(), BlockLayout::new(BUFFERS)), "no pool")?;
    let config = Config::default().with_entries(RING_ENTRIES).into();

    stage.step("start, polling")?;
    let up = said(device.start(&config, Interrupts::POLLING), "cannot start")?;
    let mut disk = Disk { stage, pool, up };
    ensure!(disk.up.control.capacity_sectors() == SECTORS as u64, "the disk has another length");
    disk.identify()?;
    for shape in SHAPES {
        disk.read_write_read(shape)?;
    }
    for turn in 0..TURNS {
        disk.read_many(turn)?;
    }
    let (device, pool) = disk.stop("stop")?;

    let messages = stage.messages()?;
    stage.step("start again, with messages")?;
    let up = said(device.start(&config, Interrupts::msix(&messages)), "cannot start")?;
    let mut disk = Disk { stage, pool, up };
    disk.interrupt(messages.len())?;
    disk.stop("stop again").map(drop)
}

/// A disk that runs.
struct Disk<'s, S, D: Device> {
    stage: &'s S,
    pool: BlockPool,
    up: Running<D, Data>,
}

impl<S: Stage, D: Device> Disk<'_, S, D> {
    fn identify(&mut self) -> Result<()> {
        self.stage.step("identify")?;
        let mut id = self.pieces(&[1])?;
        ensure!(id.iter_mut().all(|piece| piece.set_len_bytes(ID_BYTES)), "a buffer is too short");
        let id = self.ask(Request::identify(id))?;
        ensure!(id.starts_with(b"paravane-1\0"), "it is called {:?}", String::from_utf8_lossy(&id));
        Ok(())
    }

    /// A request of this shape reads what was there, writes something else, and reads that.
    fn read_write_read(&mut self, shape: &[usize]) -> Result<()> {
        let (first, count) = (8 * (shape.len() + shape[0]), shape.iter().sum());
        let before = sectors(first, count, 0);
        let after = sectors(first, count, 1);
        let at = u64::try_from(first)?;

        self.stage.step(&format!("read {count} sectors at {first} in {} pieces", shape.len()))?;
        let data = self.pieces(shape)?;
        ensure_same("what was there", &self.ask(Request::read(at, data))?, &before)?;

        self.stage.step("write them")?;
        let mut data = self.pieces(shape)?;
        let mut rest = &after[..];
        for piece in &mut data {
            let (bytes, more) = rest.split_at_checked(piece.len_bytes()).context("the pieces are longer")?;
            ensure!(piece.copy_in(0, bytes), "a piece is too short");
            rest = more;
        }
        self.ask(Request::write(at, data))?;

        self.stage.step("flush")?;
        self.ask(Request::flush())?;

        self.stage.step("read them again")?;
        let data = self.pieces(shape)?;
        ensure_same("what was written", &self.ask(Request::read(at, data))?, &after)?;
        self.stage.step("write back")?;
        let mut data = self.pieces(&[count])?;
        ensure!(data.iter_mut().all(|piece| piece.copy_in(0, &before)), "a piece is too short");
        self.ask(Request::write(at, data)).map(drop)
    }

    /// Several reads by one doorbell.
    fn read_many(&mut self, turn: u64) -> Result<()> {
        self.stage.step(&format!("round the ring, {REQUESTS_A_TURN} reads at once, turn {turn}"))?;
        for request in 0..REQUESTS_A_TURN {
            let at = turn * REQUESTS_A_TURN + request;
            let read = Request::read(at, self.pieces(&[1])?).with_token(at);
            self.up.queue.submit(read).map_err(|failed| anyhow!("{failed}"))?;
        }
        self.up.queue.publish();
        self.stage.rest()?;
        for _ in 0..REQUESTS_A_TURN {
            let Completion { request, result } = self.complete()?;
            said(result, "a read failed")?;
            let bytes = bytes_of(&request.data.unwrap_or_default());
            ensure_same("one of many", &bytes, &sectors(usize::try_from(request.token)?, 1, 0))?;
        }
        self.stage.rest()
    }

    /// A read interrupts once it was asked to.
    fn interrupt(&mut self, messages: usize) -> Result<()> {
        self.stage.step("a read interrupts")?;
        // With nothing on the way, whether work is pending is known.
        let armed = said(self.up.queue.arm(), "arm")?;
        ensure!(armed == Armed::Idle, "work is pending on an idle queue");
        self.stage.platform().relax();
        let read = Request::read(0, self.pieces(&[1])?);
        self.up.queue.submit(read).map_err(|failed| anyhow!("{failed}"))?;
        self.up.queue.publish();
        let vector = self.stage.interrupt()?;
        ensure!(usize::from(vector) < messages, "vector {vector} rang, which nobody set up");
        let Completion { request, result } = self.complete()?;
        said(result, "a read failed")?;
        ensure_same("what interrupted", &bytes_of(&request.data.unwrap_or_default()), &sectors(0, 1, 0))?;
        self.up.queue.disarm();
        self.stage.rest()
    }

    /// One request, and the bytes that it leaves in its data.
    fn ask(&mut self, request: Request<Data>) -> Result<Vec<u8>> {
        self.up.queue.submit(request).map_err(|failed| anyhow!("{failed}"))?;
        self.up.queue.publish();
        self.stage.rest()?;
        let Completion { request, result } = self.complete()?;
        said(result, "a request failed")?;
        self.stage.rest()?;
        Ok(bytes_of(&request.data.unwrap_or_default()))
    }

    fn complete(&mut self) -> Result<Completion<Data>> {
        let Self { stage, up, .. } = self;
        wait(*stage, "a completion", || said(up.queue.poll(), "poll"))
    }

    /// Buffers of so many sectors each.
    fn pieces(&self, sectors: &[usize]) -> Result<Data> {
        let piece = |sectors: &usize| {
            let mut buffer = self.pool.get().context("no buffer left in the pool")?;
            ensure!(buffer.set_len_bytes(sectors * SECTOR), "a buffer is too short");
            Ok(buffer)
        };
        sectors.iter().map(piece).collect()
    }

    fn stop(self, step: &str) -> Result<(D, BlockPool)> {
        let Self { stage, pool, up } = self;
        stage.step(step)?;
        let mut unfinished = 0;
        let device = said(up.stop(&mut |_, _| unfinished += 1), "cannot stop")?;
        ensure!(unfinished == 0, "{unfinished} requests were on their way");
        ensure!(pool.free() == pool.buffers(), "buffers are missing after the stop");
        Ok((device, pool))
    }
}

fn bytes_of(data: &[BlockBuffer]) -> Vec<u8> {
    let mut all = Vec::new();
    for piece in data {
        let mut bytes = vec![0; piece.len_bytes()];
        // As long as it is.
        let _ = piece.copy_out(0, &mut bytes);
        all.extend(bytes);
    }
    all
}
