//! What a queue has in flight: requests, by the number that the driver writes beside each part.
//!
//! The data is the device's until every part has come back. So a table that is dropped leaks what
//! it holds, and only proof that the device has let go empties it.

use alloc::vec::Vec;

use paravane_hal::dma::{DeviceTag, DmaError, DmaErrorReason, Quiet};
use paravane_hal::pool::Posted;

use crate::request::{Completion, Request, RequestError, RequestFault};

/// One request, of which the device has parts.
#[derive(Debug)]
struct Pending<B> {
    request: Request<B>,
    parts: u16,
    /// The first that went wrong.
    fault: Option<RequestFault>,
}

/// The requests that a device has.
#[derive(Debug)]
pub struct InFlight<B> {
    pending: Posted<Pending<B>>,
    /// Numbers that are free.
    free: Vec<u16>,
    device: DeviceTag,
    slots: u16,
}

impl<B> InFlight<B> {
    /// Room for `slots` requests to the device tagged `device`.
    ///
    /// # Errors
    ///
    /// [`DmaError`] when there is no memory for it.
    pub fn new(slots: u16, device: DeviceTag) -> Result<Self, DmaError> {
        let mut free = Vec::new();
        if free.try_reserve_exact(slots.into()).is_err() {
            let len_bytes = usize::from(slots).saturating_mul(size_of::<u16>());
            return Err(DmaError::new(len_bytes, DmaErrorReason::OutOfMemory));
        }
        free.extend((0..slots).rev());
        Ok(Self { pending: Posted::new(slots.into(), device)?, free, device, slots })
    }

    /// How many more it takes.
    #[must_use]
    #[inline]
    pub fn room(&self) -> usize {
        self.free.len()
    }

    /// How many it has.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.slots).saturating_sub(self.free.len())
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes `request`, of which the device gets `parts`. Returns its number, and where it is now.
    ///
    /// # Errors
    ///
    /// `request`, when there is no room.
    #[inline]
    pub fn insert(&mut self, request: Request<B>, parts: u16) -> Result<(u16, &Request<B>), Request<B>> {
        let Some(number) = self.free.pop() else { return Err(request) };
        match self.pending.slots_mut().get_mut(usize::from(number)) {
            Some(slot @ None) => {
                let pending = slot.insert(Pending { request, parts, fault: None });
                Ok((number, &pending.request))
            }
            // A free number's slot is empty.
            _ => Err(request),
        }
    }

    /// The device is done with a part of request `number`, and that was the end of it. The
    /// completion, with its last part; the first fault decides.
    #[inline]
    pub fn finish(&mut self, number: u16, end: Result<(), RequestFault>) -> Option<Completion<B>> {
        let slot = self.pending.slots_mut().get_mut(usize::from(number))?;
        let pending = slot.as_mut()?;
        if let Err(fault) = end {
            pending.fault.get_or_insert(fault);
        }
        pending.parts = pending.parts.saturating_sub(1);
        if pending.parts > 0 {
            return None;
        }
        let Pending { request, fault, .. } = slot.take()?;
        self.free.push(number);
        let result = match fault {
            None => Ok(()),
            Some(fault) => Err(RequestError::new(&request, fault)),
        };
        Some(Completion { request, result })
    }

    /// Gives every request to `unfinished` that is not finished: the device gave all of them up, as
    /// it does when it resets their queue.
    pub fn take_all(&mut self, unfinished: &mut dyn FnMut(Request<B>)) {
        for number in 0..self.slots {
            if let Some(pending) = self.pending.take(number.into()) {
                self.free.push(number);
                unfinished(pending.request);
            }
        }
    }

    /// Gives every request back, against proof that the device has let go.
    ///
    /// # Errors
    ///
    /// `self`, untouched, when the proof is about another device.
    pub fn give_back(
        mut self,
        quiet: &Quiet<'_>,
        unfinished: &mut dyn FnMut(Request<B>, &Quiet<'_>),
    ) -> Result<(), Self> {
        if quiet.device() != self.device {
            return Err(self);
        }
        for number in 0..self.slots {
            if let Some(pending) = self.pending.take(number.into()) {
                unfinished(pending.request, quiet);
            }
        }
        Ok(())
    }
}
