//! A disk that runs, and what is asked of it.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use log::info;
use paravane_block::{
    BlockBuffer, BlockPool, Completion, Control, ID_BYTES, Request, RequestQueue, SubmitError,
};
use paravane_hal::Failed;
use paravane_hal::irq::{Armed, InterruptMode};
use paravane_hal::time::Clock;
use paravane_unikernel::platform::{Machine, Platform};
use paravane_virtio::blk::{Config, Device, Running};
use paravane_virtio::feature::RingFeatures;

use crate::content::Content;
use crate::way::Way;
use crate::{MIXED, Outcome, SECTOR, Transport};

/// How long a request may take. No disk needs it; a lost interrupt is noticed by it.
const LIMIT: Duration = Duration::from_secs(10);

type Data = Vec<BlockBuffer>;

/// A disk that runs.
pub struct Disk<'m> {
    machine: &'m Machine,
    way: &'m Way,
    pool: &'m BlockPool,
    up: Running<Platform, Transport, Data>,
    woken: u32,
}

impl<'m> Disk<'m> {
    /// Starts `device`, to interrupt by `way` if it can.
    pub fn start(
        machine: &'m Machine,
        device: Device<Platform, Transport>,
        way: &'m Way,
        pool: &'m BlockPool,
    ) -> Outcome<Self> {
        let up = device.start(&Config::default(), way.interrupts()).map_err(Failed::into_error)?;
        Ok(Self { machine, way, pool, up, woken: 0 })
    }

    /// How many sectors it has.
    pub fn sectors(&self) -> u64 {
        self.up.control.capacity_sectors()
    }

    /// Says what disk it is.
    pub fn introduce(&mut self, name: &str) -> Outcome<()> {
        let (info, features) = (self.up.control.info(), self.up.control.features());
        let ring = if features.has_ring(RingFeatures::RING_PACKED) { "packed" } else { "split" };
        info!("disk: {} at {name} ring {ring} interrupts {}", info.driver, self.up.control.interrupts());
        let mut id = self.pieces(&[1]).ok_or("no buffer")?;
        if !id.iter_mut().all(|piece| piece.set_len_bytes(ID_BYTES)) {
            return Err("a buffer shorter than an identity".into());
        }
        self.up.queue.submit(Request::identify(id)).map_err(Failed::into_error)?;
        let serial = bytes_in(&self.complete()?.request.data.unwrap_or_default());
        info!(
            "disk: {} sectors, blocks of {} bytes{}, called {}",
            self.sectors(),
            info.block_bytes,
            if info.write_cache { ", write cache" } else { "" },
            String::from_utf8_lossy(&serial).trim_end_matches('\0')
        );
        Ok(())
    }

    /// Reads `sectors`, which have to hold what they should.
    pub fn read(&mut self, content: &Content, sectors: Range<u64>, shapes: &[&[usize]]) -> Outcome<()> {
        let most = self.transfer(sectors.clone(), shapes, &mut Request::read, &mut |sector, data| {
            let (mut at, bytes) = (sector, bytes_in(data));
            for bytes in bytes.chunks(SECTOR) {
                if bytes != content.sector(at) {
                    return Err(format!("sector {at} does not hold what it should").into());
                }
                at += 1;
            }
            Ok(())
        })?;
        info!("disk: read {} to {}, up to {most} requests at once", sectors.start, sectors.end);
        Ok(())
    }

    /// Writes what is to be written, and flushes.
    pub fn write(&mut self, content: &Content) -> Outcome<()> {
        let sectors = content.to_write.clone();
        let mut fill = |first, mut data: Data| {
            let mut at = first;
            for piece in &mut data {
                for offset in (0..piece.len_bytes()).step_by(SECTOR) {
                    // Whole sectors, each as long as it was made.
                    let _ = piece.copy_in(offset, &content.written(at));
                    at += 1;
                }
            }
            Request::write(first, data)
        };
        let most = self.transfer(sectors.clone(), MIXED, &mut fill, &mut |_, _| Ok(()))?;
        self.up.queue.submit(Request::flush()).map_err(Failed::into_error)?;
        self.complete()?;
        info!("disk: wrote {} to {}, up to {most} requests at once", sectors.start, sectors.end);
        Ok(())
    }

    /// Moves `sectors` by requests of these `shapes`, as many at once as there is room for. How
    /// many that were.
    fn transfer(
        &mut self,
        sectors: Range<u64>,
        shapes: &[&[usize]],
        request: &mut dyn FnMut(u64, Data) -> Request<Data>,
        done: &mut dyn FnMut(u64, &Data) -> Outcome<()>,
    ) -> Outcome<usize> {
        let (mut next, mut most) = (sectors.start, 0);
        let mut shapes = shapes.iter().cycle();
        let mut waiting = None;
        while next < sectors.end || waiting.is_some() || self.up.queue.in_flight() > 0 {
            if waiting.is_none() && next < sectors.end {
                let left = usize::try_from(sectors.end - next)?;
                let shape = shapes.next().copied().unwrap_or(&[1]);
                let fits = shape.iter().sum::<usize>() <= left;
                waiting = self.pieces(if fits { shape } else { &[1] }).map(|data| {
                    let first = next;
                    next += bytes_in_sectors(&data);
                    request(first, data).with_token(first)
                });
            }
            if let Some(request) = waiting.take() {
                match self.up.queue.submit(request).map_err(Failed::into_parts) {
                    Ok(()) => {
                        most = most.max(self.up.queue.in_flight());
                        continue;
                    }
                    Err((SubmitError::Full, request)) => waiting = Some(request),
                    Err((error, _)) => return Err(error.into()),
                }
            }
            let Request { token, data, .. } = self.complete()?.request;
            done(token, &data.unwrap_or_default())?;
        }
        Ok(most)
    }

    /// Buffers of so many sectors each, if there are as many.
    fn pieces(&self, sectors: &[usize]) -> Option<Data> {
        let piece = |sectors: &usize| {
            let mut buffer = self.pool.get()?;
            buffer.set_len_bytes(sectors * SECTOR).then_some(buffer)
        };
        sectors.iter().map(piece).collect()
    }

    /// Waits for the next completion, of a request that has to have been done.
    fn complete(&mut self) -> Outcome<Completion<Data>> {
        let start = self.machine.platform.now();
        loop {
            if let Some(completion) = self.up.queue.poll()? {
                completion.result?;
                return Ok(completion);
            }
            if self.is_polled() {
                if self.machine.platform.now().since(start) > LIMIT {
                    return Err("a request is not done in time".into());
                }
                self.machine.platform.relax();
            } else if self.up.queue.arm()? == Armed::Idle {
                self.sleep()?;
            }
        }
    }

    /// With nothing on the way, asks for an interrupt, and then for a sector: the interrupt has to
    /// come, before anybody looks.
    pub fn wait_for_interrupt(&mut self, content: &Content) -> Outcome<()> {
        if self.is_polled() {
            return Ok(());
        }
        self.take_rung();
        if self.up.queue.arm()? != Armed::Idle {
            return Err("work is pending on an idle queue".into());
        }
        let woken = self.woken;
        let data = self.pieces(&[1]).ok_or("no buffer")?;
        self.up.queue.submit(Request::read(0, data)).map_err(Failed::into_error)?;
        self.up.queue.publish();
        let completion = loop {
            self.sleep()?;
            if let Some(completion) = self.up.queue.poll()? {
                break completion;
            }
            let _ = self.up.queue.arm()?;
        };
        completion.result?;
        if bytes_in(&completion.request.data.unwrap_or_default()) != content.sector(0) {
            return Err("sector 0 does not hold what it should".into());
        }
        info!("disk: woken {} times, {} of them for one sector", self.woken, self.woken - woken);
        Ok(())
    }

    fn is_polled(&self) -> bool {
        self.up.control.interrupts() == InterruptMode::Polling
    }

    /// Sleeps until the disk interrupts.
    fn sleep(&mut self) -> Outcome<()> {
        let until = self.machine.platform.now().saturating_add(LIMIT);
        while !self.take_rung() {
            let now = self.machine.platform.now();
            if now >= until {
                return Err("no interrupt in time".into());
            }
            self.machine.interrupts.idle(Some(until.since(now)));
        }
        self.woken += 1;
        Ok(())
    }

    /// Whether the disk interrupted for its queue since the last look.
    fn take_rung(&mut self) -> bool {
        let rang = self.machine.interrupts.take_pending();
        match self.way {
            Way::Messages(ids, _) => {
                // For a message that queue and events share.
                let _ = self.up.control.acknowledge();
                let vector = self.up.control.interrupts().queue_vector(0);
                ids.get(usize::from(vector)).is_some_and(|id| rang.messages & id.bit() != 0)
            }
            Way::Line(line) if rang.lines & 1 << line != 0 => {
                // Asking lowers the line, so it can be let through again.
                let is_ours = self.up.control.acknowledge();
                self.machine.interrupts.unmask_line(*line);
                is_ours
            }
            Way::Line(_) | Way::Polling => false,
        }
    }

    /// Stops it. Nothing may be on its way.
    pub fn stop(self) -> Outcome<Device<Platform, Transport>> {
        let mut unfinished = 0;
        let stopped = self.up.stop(&mut |_, _| unfinished += 1).map_err(Failed::into_error)?;
        if unfinished > 0 {
            return Err(format!("{unfinished} requests were on their way").into());
        }
        Ok(stopped)
    }
}

/// How many sectors `data` is long.
fn bytes_in_sectors(data: &Data) -> u64 {
    data.iter().map(|piece| piece.len_bytes() / SECTOR).sum::<usize>() as u64
}

/// All bytes of `data`.
fn bytes_in(data: &Data) -> Vec<u8> {
    let mut all = Vec::new();
    for piece in data {
        let mut bytes = vec![0; piece.len_bytes()];
        // As long as it is.
        let _ = piece.copy_out(0, &mut bytes);
        all.extend(bytes);
    }
    all
}
