//! Requests, done one after the other: what the classes share whose device does as it is asked.

use super::faults::{Said, low16};
use super::queue::Chain;
use super::{Class, Virtio};
use crate::fault::FaultPoint;

impl<C: Class> Virtio<C> {
    /// Answers all requests of `queue`, then says when the device wants to hear of more. `answer`
    /// gets the bytes that a request has for the device and how many it has room for, and gives
    /// those that the device writes; what is more than fits is left out.
    pub fn answer_all(&mut self, queue: usize, mut answer: impl FnMut(&mut Self, &[u8], usize) -> Vec<u8>) {
        self.serve_queue(queue, |device, chain| {
            let memory = device.memory_of(queue);
            let mut bytes = match chain.read(&memory) {
                Ok(asked) => answer(device, &asked, chain.writable_bytes()),
                Err(fault) => {
                    device.ring_violation(queue, fault.to_string());
                    Vec::new()
                }
            };
            bytes.truncate(chain.writable_bytes());
            if let Err(fault) = chain.write(&memory, &bytes) {
                device.ring_violation(queue, fault.to_string());
            }
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let mut said = Said { index: chain.head.into(), length, ..Said::default() };
            let subject = u32::try_from(queue).unwrap_or(u32::MAX);
            let here = Self::plays_completion;
            let action = device.ask(FaultPoint::RequestCompletion, subject, &mut said, here);
            device.has_misled |= (said.index, said.length) != (chain.head.into(), length);
            device.say(queue, said, action);
            low16(said.generation)
        });
    }

    /// Has `complete` do whatever there is to do in `queue`, then says when the device wants to
    /// hear of more. How far ahead of the truth the ring is to be, it answers.
    pub(super) fn serve_queue(&mut self, queue: usize, mut complete: impl FnMut(&mut Self, &Chain) -> u16) {
        if self.queues[queue].is_stopped {
            return;
        }
        // Each round takes what the driver made available, of which there is only so much in a
        // still ring.
        loop {
            let mut chains: Vec<Chain> = std::iter::from_fn(|| self.take(queue)).collect();
            if self.shuffles() {
                chains.reverse();
            }
            let any = !chains.is_empty();
            self.serve_these(queue, chains, &mut complete);
            self.tell_wish(queue);
            if !any || self.waiting(queue) == 0 {
                return;
            }
        }
    }

    /// The same with these requests alone.
    pub(super) fn serve_these(
        &mut self,
        queue: usize,
        chains: Vec<Chain>,
        mut complete: impl FnMut(&mut Self, &Chain) -> u16,
    ) {
        let ahead = chains.iter().map(|chain| complete(self, chain)).last();
        if let Some(ahead) = ahead {
            self.show(queue, ahead);
        }
    }
}
