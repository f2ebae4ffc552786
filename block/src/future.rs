//! Requests as futures, for any executor or none.
//!
//! A [`Tasks`] holds a queue and a table as long as it was made; after that it asks for no memory.
//! [`submit`](Tasks::submit) takes a request and gives a [`Pending`], which is a future of its
//! completion. Who has interrupts calls [`wake`](Tasks::wake) at each; who has none polls futures,
//! for every poll of one looks at the queue for all.
//!
//! A future that is dropped does not end its request: the device may have its memory. The request
//! is parked, and its data goes home when it comes back, in a look on behalf of another or with the
//! stop of the device.
//!
//! All of it stays on one core: futures borrow the table, which has no lock.

use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use paravane_hal::Failed;
use paravane_hal::dma::{DmaError, DmaErrorReason};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;

use crate::data::Data;
use crate::queue::RequestQueue;
use crate::request::{Completion, Request, RequestError, SubmitError};

/// What became of a request.
enum Slot<B> {
    /// There is none.
    Free,
    /// It is out. By what it is known to its owner, and who waits for it.
    Out { token: u64, waker: Option<Waker> },
    /// It is done, and not asked for yet.
    Done(Completion<B>),
    /// It is out, and nobody waits for it any more.
    Parked,
}

struct Table<B, Q> {
    queue: Q,
    slots: Vec<Slot<B>>,
    free: Vec<u32>,
}

/// A queue whose requests are futures.
pub struct Tasks<B, Q> {
    table: RefCell<Table<B, Q>>,
}

impl<B: Data, Q: RequestQueue<B>> Tasks<B, Q> {
    /// `queue`, with up to `count` requests out or not asked for yet. What is in it already is not
    /// known here: there should be nothing.
    ///
    /// # Errors
    ///
    /// [`DmaError`] when there is no memory for it, and the queue back.
    pub fn new(queue: Q, count: u16) -> Result<Self, Failed<DmaError, Q>> {
        let (mut slots, mut free) = (Vec::new(), Vec::new());
        let has_room =
            slots.try_reserve_exact(count.into()).is_ok() && free.try_reserve_exact(count.into()).is_ok();
        if !has_room {
            let len_bytes = usize::from(count).saturating_mul(size_of::<Slot<B>>());
            return Err(Failed::new(DmaError::new(len_bytes, DmaErrorReason::OutOfMemory), queue));
        }
        slots.extend((0..count).map(|_| Slot::Free));
        free.extend((0..u32::from(count)).rev());
        Ok(Self { table: RefCell::new(Table { queue, slots, free }) })
    }

    /// Takes `request`. The device is told when the future is first polled, or with the next
    /// [`wake`](Self::wake): many that are submitted together cost one doorbell.
    ///
    /// # Errors
    ///
    /// [`SubmitError`], and the request back; [`SubmitError::Full`] also when the table is.
    pub fn submit(&self, request: Request<B>) -> Result<Pending<'_, B, Q>, Failed<SubmitError, Request<B>>> {
        let Table { queue, slots, free } = &mut *self.table.borrow_mut();
        let Some(number) = free.pop() else { return Err(Failed::new(SubmitError::Full, request)) };
        let token = request.token;
        if let Err(failed) = queue.submit(request.with_token(number.into())) {
            free.push(number);
            return Err(failed.map_parts(|request| request.with_token(token)));
        }
        if let Some(slot) = slots.get_mut(place(number)) {
            *slot = Slot::Out { token, waker: None };
        }
        Ok(Pending { tasks: self, number: Some(number) })
    }

    /// Looks for completions, and wakes who waits for them: called at an interrupt. How many there
    /// were.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device broke the rules. Everybody is woken, and is told.
    pub fn wake(&self) -> Result<usize, DeviceFault> {
        let mut count = 0_usize;
        // Ends: each turn takes one out of those in flight. Nobody is woken while the table is
        // held: who wakes may poll.
        loop {
            let taken = self.table.borrow_mut().take_one();
            match taken {
                Ok(Some(waker)) => waker.into_iter().for_each(Waker::wake),
                Ok(None) => return Ok(count),
                Err(fault) => {
                    self.wake_everybody();
                    return Err(fault);
                }
            }
            count = count.saturating_add(1);
        }
    }

    #[cold]
    fn wake_everybody(&self) {
        loop {
            let waiting = self.table.borrow_mut().take_waker();
            let Some(waker) = waiting else { return };
            waker.wake();
        }
    }

    /// Asks for an interrupt at the next completion, then looks once more; on
    /// [`Armed::Pending`] there is something to [`wake`](Self::wake) for.
    ///
    /// # Errors
    ///
    /// As [`wake`](Self::wake).
    pub fn arm(&self) -> Result<Armed, DeviceFault> {
        let armed = self.table.borrow_mut().queue.arm();
        armed.inspect_err(|_| self.wake_everybody())
    }

    /// The queue, for a stop. What is out is known to it by tokens of this table; what is done and
    /// was not asked for goes home.
    #[must_use]
    pub fn into_queue(self) -> Q {
        self.table.into_inner().queue
    }

    /// How many requests are out that nobody waits for any more.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.table.borrow().slots.iter().filter(|slot| matches!(slot, Slot::Parked)).count()
    }
}

impl<B: Data, Q: RequestQueue<B>> Table<B, Q> {
    /// Takes one completion, and puts it where its future finds it. Who is to be woken, if there
    /// was one.
    fn take_one(&mut self) -> Result<Option<Option<Waker>>, DeviceFault> {
        Ok(self.queue.poll()?.map(|completion| self.settle(completion)))
    }

    fn settle(&mut self, Completion { request, result }: Completion<B>) -> Option<Waker> {
        let number = u32::try_from(request.token).ok()?;
        let slot = self.slots.get_mut(place(number))?;
        match core::mem::replace(slot, Slot::Free) {
            Slot::Out { token, waker } => {
                let request = request.with_token(token);
                let result = result.map_err(|error| RequestError::new(&request, error.fault));
                *slot = Slot::Done(Completion { request, result });
                waker
            }
            // Its data goes home here.
            Slot::Parked => {
                self.free.push(number);
                None
            }
            // None of these is out.
            other => {
                *slot = other;
                None
            }
        }
    }

    /// Somebody who waits.
    fn take_waker(&mut self) -> Option<Waker> {
        self.slots.iter_mut().find_map(|slot| match slot {
            Slot::Out { waker, .. } => waker.take(),
            _ => None,
        })
    }

    /// Notes who waits for request `number`. What is not needed any more, to be dropped when the
    /// table is not held: a task may go with its last waker, and futures of this table with it.
    fn wait(&mut self, number: u32, by: Waker) -> Option<Waker> {
        match self.slots.get_mut(place(number)) {
            Some(Slot::Out { waker, .. }) => waker.replace(by),
            _ => Some(by),
        }
    }

    /// The completion of request `number`, if it is there.
    fn take(&mut self, number: u32) -> Option<Completion<B>> {
        let slot = self.slots.get_mut(place(number))?;
        match core::mem::replace(slot, Slot::Free) {
            Slot::Done(completion) => {
                self.free.push(number);
                Some(completion)
            }
            other => {
                *slot = other;
                None
            }
        }
    }
}

/// Where request `number` is in the table.
fn place(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A request that was submitted: a future of its completion. Dropped, it parks the request.
#[must_use = "a future does nothing unless it is polled; dropped, it parks its request"]
pub struct Pending<'t, B: Data, Q: RequestQueue<B>> {
    tasks: &'t Tasks<B, Q>,
    /// `None` once it is over.
    number: Option<u32>,
}

impl<B: Data, Q: RequestQueue<B>> Future for Pending<'_, B, Q> {
    /// Whether it was done is in the completion. [`DeviceFault`]: the queue is broken, and the
    /// request in it until the device was stopped.
    type Output = Result<Completion<B>, DeviceFault>;

    /// One that is over, and is polled again, is pending for ever.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(number) = self.number else { return Poll::Pending };
        let looked = self.tasks.wake();
        let done = self.tasks.table.borrow_mut().take(number);
        if let Some(completion) = done {
            self.number = None;
            return Poll::Ready(Ok(completion));
        }
        let armed = looked.and_then(|_| {
            let by = context.waker().clone();
            let before = self.tasks.table.borrow_mut().wait(number, by);
            drop(before);
            self.tasks.arm()
        });
        match armed {
            Ok(Armed::Idle) => Poll::Pending,
            // It came in between: another look, in another turn.
            Ok(Armed::Pending) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Err(fault) => Poll::Ready(Err(fault)),
        }
    }
}

impl<B: Data, Q: RequestQueue<B>> Drop for Pending<'_, B, Q> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut table = self.tasks.table.borrow_mut();
        // Done, it goes home with this.
        if table.take(number).is_some() {
            return;
        }
        let slot = table.slots.get_mut(place(number)).filter(|slot| matches!(slot, Slot::Out { .. }));
        let before = slot.map(|slot| core::mem::replace(slot, Slot::Parked));
        // With its waker more may go.
        drop(table);
        drop(before);
    }
}

impl<B, Q> fmt::Debug for Tasks<B, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tasks")
    }
}

impl<B: Data, Q: RequestQueue<B>> fmt::Debug for Pending<'_, B, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("number", &self.number).finish()
    }
}
