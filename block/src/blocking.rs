//! A disk for programs that wait: bytes in, bytes out.
//!
//! The slow face of a queue, for tools, boot code and file systems that know nothing better. Data
//! is copied through buffers of a pool, several requests at a time, and each call ends at its
//! deadline, whatever the device does.

use core::fmt;
use core::time::Duration;

use paravane_hal::fault::DeviceFault;
use paravane_hal::time::{Clock, Deadline, TimedOut};

use crate::SECTOR_BYTES;
use crate::buffer::{BlockBuffer, BlockPool};
use crate::disk::DiskInfo;
use crate::queue::RequestQueue;
use crate::ranges::{RangeLimits, RangeParts, SectorRange};
use crate::request::{Completion, ID_BYTES, LIFETIME_BYTES, Request, RequestError, SubmitError};
use crate::shape::Lifetime;

/// A sector's length, as wide as a length in memory.
const SECTOR: usize = SECTOR_BYTES as usize;

/// A queue, and what it takes to wait for it.
///
/// After a call that timed out the device may still have requests of it. Their buffers stay in the
/// queue and go home when they come back, in a later call, or when the device is stopped.
#[derive(Debug)]
pub struct Disk<Q, C> {
    queue: Q,
    pool: BlockPool,
    clock: C,
    limit: Duration,
    next_token: u64,
}

/// What was asked of a disk was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiskError {
    /// The queue did not take it: it is nothing that the disk can do.
    Refused(SubmitError),
    /// The device failed it. Which part, the request tells.
    Failed(RequestError),
    /// The device broke the rules. It has to be stopped and started.
    Fault(DeviceFault),
    /// The device did not do it in time. Whether it will, nobody knows.
    TimedOut(TimedOut),
    /// The pool has no buffer left, or none as long as a block.
    NoBuffer {
        /// How long they have to be.
        block_bytes: u32,
    },
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Failed(error) => error.fmt(f),
            Self::Fault(fault) => fault.fmt(f),
            Self::TimedOut(error) => write!(f, "the disk does not answer: {error}"),
            Self::NoBuffer { block_bytes } => {
                write!(f, "the pool has no buffer of {block_bytes} bytes for the disk")
            }
        }
    }
}

impl core::error::Error for DiskError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Refused(error) => Some(error),
            Self::Failed(error) => Some(error),
            Self::Fault(fault) => Some(fault),
            Self::TimedOut(error) => Some(error),
            Self::NoBuffer { .. } => None,
        }
    }
}

impl<Q: RequestQueue<BlockBuffer>, C: Clock> Disk<Q, C> {
    /// `queue`, through buffers of `pool`; each call takes as long as `limit` at most.
    ///
    /// The longer the pool's buffers, the fewer requests. A pool that others drain has calls wait.
    #[must_use]
    pub const fn new(queue: Q, pool: BlockPool, clock: C, limit: Duration) -> Self {
        Self { queue, pool, clock, limit, next_token: 0 }
    }

    /// The queue, for a stop. Requests of calls that timed out may be in it.
    #[must_use]
    pub fn into_queue(self) -> Q {
        self.queue
    }

    /// What the disk is.
    #[must_use]
    pub fn info(&self) -> &DiskInfo {
        self.queue.info()
    }

    /// How many sectors of 512 bytes it has.
    #[must_use]
    pub fn capacity_sectors(&self) -> u64 {
        self.queue.capacity_sectors()
    }

    /// Fills `to`, whole blocks, with what is stored from `sector` on.
    ///
    /// # Errors
    ///
    /// [`DiskError`]; `to` may be filled in part.
    pub fn read(&mut self, sector: u64, to: &mut [u8]) -> Result<(), DiskError> {
        let len_bytes = to.len();
        self.transfer(
            sector,
            len_bytes,
            Request::read,
            |_, _| true,
            |offset, buffer| {
                let bytes = to.get_mut(offset..).and_then(|rest| rest.get_mut(..buffer.len_bytes()));
                bytes.is_some_and(|bytes| buffer.copy_out(0, bytes))
            },
        )
    }

    /// Stores `from`, whole blocks, from `sector` on. It may lie in a cache until the next
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// [`DiskError`]; any part of it may be stored.
    pub fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), DiskError> {
        let fill = |offset, buffer: &mut BlockBuffer| {
            let bytes = from.get(offset..).and_then(|rest| rest.get(..buffer.len_bytes()));
            bytes.is_some_and(|bytes| buffer.copy_in(0, bytes))
        };
        self.transfer(sector, from.len(), Request::write, fill, |_, _| true)
    }

    /// Makes durable what was written before.
    ///
    /// # Errors
    ///
    /// [`DiskError`]; what is durable is not known then.
    pub fn flush(&mut self) -> Result<(), DiskError> {
        self.ask(Request::flush()).map(drop)
    }

    /// Asks for the identity: ASCII, padded with zeros.
    ///
    /// # Errors
    ///
    /// [`DiskError`].
    pub fn identify(&mut self) -> Result<[u8; ID_BYTES], DiskError> {
        self.ask_for(Request::identify)
    }

    /// Asks how worn the medium is.
    ///
    /// # Errors
    ///
    /// [`DiskError`].
    pub fn lifetime(&mut self) -> Result<Lifetime, DiskError> {
        self.ask_for::<LIFETIME_BYTES>(Request::lifetime).map(Lifetime::from_bytes)
    }

    /// Tells that `sectors` from `sector` on are not needed any more.
    ///
    /// # Errors
    ///
    /// [`DiskError`]; any part of them may be discarded.
    pub fn discard(&mut self, sector: u64, sectors: u64) -> Result<(), DiskError> {
        self.ask_by_range(sector, sectors, self.info().discard, Request::discard)
    }

    /// Has `sectors` from `sector` on read as zeroes; the device may give up what is behind them if
    /// `may_unmap`.
    ///
    /// # Errors
    ///
    /// [`DiskError`]; any part of them may be zeroes.
    pub fn write_zeroes(&mut self, sector: u64, sectors: u64, may_unmap: bool) -> Result<(), DiskError> {
        let limits = self.info().write_zeroes;
        self.ask_by_range(sector, sectors, limits, |range| Request::write_zeroes(range, may_unmap))
    }

    /// Has `sectors` from `sector` on erased for good.
    ///
    /// # Errors
    ///
    /// [`DiskError`]; any part of them may be erased.
    pub fn secure_erase(&mut self, sector: u64, sectors: u64) -> Result<(), DiskError> {
        self.ask_by_range(sector, sectors, self.info().secure_erase, Request::secure_erase)
    }

    /// One request after the other, each as long as the device takes.
    fn ask_by_range(
        &mut self,
        sector: u64,
        sectors: u64,
        limits: Option<RangeLimits>,
        make: impl Fn(SectorRange) -> Request<BlockBuffer>,
    ) -> Result<(), DiskError> {
        let Some(limits) = limits else { return Err(DiskError::Refused(SubmitError::Unsupported)) };
        self.check_end(sector, sectors)?;
        for range in RangeParts::new(sector, sectors, limits) {
            self.ask(make(range))?;
        }
        Ok(())
    }

    fn ask_for<const N: usize>(
        &mut self,
        make: impl FnOnce(BlockBuffer) -> Request<BlockBuffer>,
    ) -> Result<[u8; N], DiskError> {
        let block_bytes = self.info().block_bytes;
        let mut buffer = self.pool.get().ok_or(DiskError::NoBuffer { block_bytes })?;
        if !buffer.set_len_bytes(N) {
            return Err(DiskError::NoBuffer { block_bytes });
        }
        let answered = self.ask(make(buffer))?;
        let mut bytes = [0; N];
        let is_whole = answered.data.is_some_and(|buffer| buffer.copy_out(0, &mut bytes));
        // What came back is what went in.
        debug_assert!(is_whole);
        Ok(bytes)
    }

    /// One request. The queue may still be full of others, of calls that timed out.
    fn ask(&mut self, request: Request<BlockBuffer>) -> Result<Request<BlockBuffer>, DiskError> {
        let deadline = Deadline::after(&self.clock, self.limit);
        let (token, mut request) = (self.next_token, request.with_token(self.next_token));
        self.next_token = self.next_token.wrapping_add(1);
        loop {
            match self.queue.submit(request) {
                Ok(()) => break,
                Err(failed) => match failed.into_parts() {
                    (SubmitError::Full, back) => request = back,
                    (error, _) => return Err(DiskError::Refused(error)),
                },
            }
            if self.queue.poll().map_err(DiskError::Fault)?.is_none() {
                self.wait(deadline)?;
            }
        }
        loop {
            match self.queue.poll().map_err(DiskError::Fault)? {
                Some(Completion { request, result }) if request.token == token => {
                    return result.map(|()| request).map_err(DiskError::Failed);
                }
                Some(_) => {}
                None => self.wait(deadline)?,
            }
        }
    }

    /// Lets time pass, unless it is over.
    fn wait(&self, deadline: Deadline) -> Result<(), DiskError> {
        if deadline.has_passed(&self.clock) {
            return Err(DiskError::TimedOut(TimedOut { after: self.limit }));
        }
        self.clock.relax();
        Ok(())
    }

    fn check_end(&self, sector: u64, sectors: u64) -> Result<(), DiskError> {
        let capacity_sectors = self.capacity_sectors();
        if sector.checked_add(sectors).is_some_and(|end| end <= capacity_sectors) {
            return Ok(());
        }
        Err(DiskError::Refused(SubmitError::OutOfRange { sector, sectors, capacity_sectors }))
    }

    /// How much of `len_bytes`, which are whole blocks of the disk from `sector` on, goes into one
    /// buffer.
    fn check_transfer(&self, sector: u64, len_bytes: usize) -> Result<usize, DiskError> {
        let block_bytes = self.info().block_bytes;
        let block = usize::try_from(block_bytes).unwrap_or(usize::MAX);
        if len_bytes.checked_rem(block) != Some(0) {
            let bytes = u64::try_from(len_bytes).unwrap_or(u64::MAX);
            return Err(DiskError::Refused(SubmitError::NotBlocks { bytes, block_bytes }));
        }
        self.check_end(sector, sectors_of(len_bytes))?;
        let buffer_bytes = self.pool.buffer_bytes();
        match buffer_bytes.checked_rem(block) {
            Some(rest) if rest < buffer_bytes => Ok(buffer_bytes.wrapping_sub(rest)),
            _ => Err(DiskError::NoBuffer { block_bytes }),
        }
    }

    /// Moves `len_bytes` from `sector` on, a buffer's worth to a request, several at a time. Before
    /// a request `fill` sees its buffer, and after it `take`, both with where that is in the data.
    fn transfer(
        &mut self,
        sector: u64,
        len_bytes: usize,
        make: impl Fn(u64, BlockBuffer) -> Request<BlockBuffer>,
        fill: impl Fn(usize, &mut BlockBuffer) -> bool,
        mut take: impl FnMut(usize, &BlockBuffer) -> bool,
    ) -> Result<(), DiskError> {
        let most_bytes = self.check_transfer(sector, len_bytes)?;
        let deadline = Deadline::after(&self.clock, self.limit);
        let first_token = self.next_token;
        let (mut sent_bytes, mut out) = (0_usize, 0_usize);
        let mut failure = None;
        loop {
            let mut dry = false;
            while failure.is_none() && sent_bytes < len_bytes {
                let Some(mut buffer) = self.pool.get() else {
                    dry = true;
                    break;
                };
                let now_bytes = most_bytes.min(len_bytes.wrapping_sub(sent_bytes));
                let is_ready = buffer.set_len_bytes(now_bytes) && fill(sent_bytes, &mut buffer);
                debug_assert!(is_ready, "no longer than the pool's buffers, or than the data");
                let request = make(sector.wrapping_add(sectors_of(sent_bytes)), buffer);
                match self.queue.submit(request.with_token(self.next_token)) {
                    Ok(()) => {
                        self.next_token = self.next_token.wrapping_add(1);
                        sent_bytes = sent_bytes.wrapping_add(now_bytes);
                        out = out.wrapping_add(1);
                    }
                    Err(failed) => match failed.into_error() {
                        SubmitError::Full => break,
                        error => failure = Some(DiskError::Refused(error)),
                    },
                }
            }
            if out == 0 && (failure.is_some() || sent_bytes >= len_bytes) {
                return failure.map_or(Ok(()), Err);
            }
            let Some(completion) = self.queue.poll().map_err(DiskError::Fault)? else {
                self.wait(deadline).map_err(|error| {
                    let block_bytes = self.info().block_bytes;
                    if dry && out == 0 { DiskError::NoBuffer { block_bytes } } else { error }
                })?;
                continue;
            };
            let Completion { request, result } = completion;
            // Others are of calls that timed out.
            let Some(number) = request.token.checked_sub(first_token) else { continue };
            out = out.saturating_sub(1);
            let offset = usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(most_bytes);
            match result {
                Ok(()) => {
                    let is_taken = request.data.is_some_and(|buffer| take(offset, &buffer));
                    debug_assert!(is_taken, "what comes back is what went in");
                }
                Err(error) => _ = failure.get_or_insert(DiskError::Failed(error)),
            }
        }
    }
}

/// How many sectors so many bytes are.
pub(crate) fn sectors_of(len_bytes: usize) -> u64 {
    u64::try_from(len_bytes / SECTOR).unwrap_or(u64::MAX)
}
