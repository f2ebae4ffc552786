//! A running NIC in an environment, and the exchange of frames that all tests are made of.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use paravane_hal::irq::Interrupts;
use paravane_hal::time::wait_for;
use paravane_net::{
    Burst, Config, Control as _, Device, FramePool, MacAddr, Running, RxQueue as _, TxQueue as _,
};

use crate::environment::Environment;
use crate::peer;

/// A frame is back within microseconds; a machine with other things to do takes longer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A running NIC.
pub(crate) struct Nic<'e, E: Environment, D: Device> {
    pub(crate) environment: &'e mut E,
    pub(crate) parts: Running<D>,
    pool: FramePool,
    /// Of the next frame.
    number: u32,
}

impl<'e, E: Environment, D: Device> Nic<'e, E, D> {
    /// Starts `stopped` with rings of `entries`, without interrupts.
    pub(crate) fn start(
        environment: &'e mut E,
        stopped: D,
        pool: &FramePool,
        entries: u16,
    ) -> Result<Self, String> {
        Self::start_with(environment, stopped, pool, entries, Interrupts::POLLING)
    }

    /// Starts `stopped` with rings of `entries`.
    pub(crate) fn start_with(
        environment: &'e mut E,
        stopped: D,
        pool: &FramePool,
        entries: u16,
        interrupts: Interrupts<'_>,
    ) -> Result<Self, String> {
        let config = Config::default().with_tx_entries(entries).with_rx_entries(entries);
        let started = stopped.start(&config.into(), pool.clone(), interrupts);
        let parts = started.map_err(|failed| failed.to_string())?;
        Ok(Self { environment, parts, pool: pool.clone(), number: 0 })
    }

    /// Waits for a message.
    pub(crate) fn await_message(&mut self) -> Result<(), String> {
        let Self { environment, .. } = self;
        let clock = environment.platform();
        let rang = wait_for(&clock, ANSWER_LIMIT, || {
            environment.turn();
            environment.rang().then_some(())
        });
        rang.map_err(|late| format!("no interrupt: {late}"))
    }

    /// Stops it; every frame of the pool has to be back then.
    pub(crate) fn stop(self) -> Result<D, String> {
        let stopped = self.parts.stop().map_err(|failed| failed.to_string())?;
        let missing = self.pool.buffers().saturating_sub(self.pool.free());
        if missing == 0 {
            Ok(stopped)
        } else {
            Err(format!("{missing} frames did not come back at the stop"))
        }
    }

    pub(crate) fn mac(&self) -> MacAddr {
        self.parts.control.info().mac
    }

    /// Sends one burst of frames of these lengths, and waits until exactly they have come back, in
    /// order, byte for byte.
    pub(crate) fn echo(&mut self, lengths: &[usize]) -> Result<(), String> {
        let own = self.mac();
        let questions: Vec<_> = lengths.iter().map(|len_bytes| self.question(own, *len_bytes)).collect();
        self.send(&questions)?;
        self.expect(&questions)
    }

    /// The next frame, with its answer addressed to `answer_to`.
    pub(crate) fn question(&mut self, answer_to: MacAddr, len_bytes: usize) -> Vec<u8> {
        self.number = self.number.wrapping_add(1);
        peer::question(self.mac(), answer_to, self.number, len_bytes)
    }

    /// Sends frames as one burst.
    pub(crate) fn send(&mut self, frames: &[Vec<u8>]) -> Result<(), String> {
        let mut burst = Burst::new();
        for bytes in frames {
            let mut frame = self.pool.get().ok_or("the pool has no frame left to send")?;
            if !frame.append(bytes) {
                return Err(format!("{} bytes do not fit a frame of the pool", bytes.len()));
            }
            burst.push(frame);
        }
        let Self { environment, parts, .. } = self;
        let clock = environment.platform();
        let mut fault = None;
        let sent = wait_for(&clock, ANSWER_LIMIT, || {
            fault = parts.tx.transmit(&mut burst).and_then(|_| parts.tx.reclaim()).err();
            parts.tx.flush();
            environment.turn();
            (burst.is_empty() || fault.is_some()).then_some(())
        });
        match (fault, sent) {
            (Some(fault), _) => Err(format!("sending: {fault}")),
            (None, Err(late)) => Err(format!("{} frames could not be sent: {late}", burst.len())),
            (None, Ok(())) => Ok(()),
        }
    }

    /// Waits for the answers to `questions`, and nothing else, in order; then for the last of them
    /// to be reported as sent.
    pub(crate) fn expect(&mut self, questions: &[Vec<u8>]) -> Result<(), String> {
        let mut due = questions.iter().filter_map(|question| peer::answer(question));
        let mut next = due.next();
        let mut burst = Burst::new();
        let mut wrong = None;
        let Self { environment, parts, .. } = self;
        let clock = environment.platform();
        let waited = wait_for(&clock, ANSWER_LIMIT, || {
            environment.turn();
            let moved = parts.rx.receive(&mut burst).and_then(|_| parts.tx.reclaim());
            if let Err(fault) = moved {
                wrong = Some(fault.to_string());
            }
            while let Some(frame) = burst.pop() {
                let mut bytes = vec![0; frame.total_bytes()];
                let whole = frame.copy_out(&mut bytes).is_some();
                match &next {
                    Some(wanted) if whole && *wanted == bytes => next = due.next(),
                    wanted => wrong = Some(difference(wanted.as_deref(), &bytes)),
                }
            }
            let counters = parts.tx.counters();
            let is_done = next.is_none() && counters.completed == counters.frames;
            (is_done || wrong.is_some()).then_some(())
        });
        match (wrong, waited) {
            (Some(reason), _) => Err(reason),
            (None, Ok(())) => Ok(()),
            (None, Err(late)) => {
                let missing = usize::from(next.is_some()).saturating_add(due.count());
                let counters = (parts.rx.counters(), parts.tx.counters());
                Err(format!("{missing} of {} answers are missing: {late}; {counters:?}", questions.len()))
            }
        }
    }
}

/// How a received frame differs from the one that was due.
fn difference(wanted: Option<&[u8]>, seen: &[u8]) -> String {
    let Some(wanted) = wanted else {
        return format!("a frame of {} bytes that nobody asked for", seen.len());
    };
    if wanted.len() != seen.len() {
        return format!("a frame of {} bytes where one of {} was due", seen.len(), wanted.len());
    }
    let at = wanted.iter().zip(seen).take_while(|(wanted, seen)| wanted == seen).count();
    format!("a frame of {} bytes differs from the one that was due, first at byte {at}", seen.len())
}
