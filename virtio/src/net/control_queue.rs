//! The control queue: one command at a time, given, and waited for no longer than is decent.
//!
//! ```text
//!  submit -> header | data | room for the ack -> publish -> (device acts) -> complete -> judge the ack
//! ```
//!
//! Header, data and ack are a descriptor each, for there are devices that take them in no other
//! way. They lie in memory that was there before; while the device has them nothing else is
//! written there. A device that does not answer in time keeps it: the queue is broken then, and
//! takes no other command before a reset.
//!
//! Spec: VIRTIO 1.2, 5.1.6.5 "Control Virtqueue".

use core::time::Duration;

use paravane_hal::Platform;
use paravane_hal::addr::Align;
use paravane_hal::dma::{DeviceDma, DeviceTag, DmaBox, DmaError, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_hal::time::{Clock, Deadline};

use crate::device::{Queue, Rings};
use crate::net::command::{Command, DATA_BYTES};
use crate::queue::tokens::Tokens;
use crate::ring::Segment;

/// How long a device may take for a command. Some ask a switch in hardware.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(3);
/// [`COMMAND_TIMEOUT`], for messages.
const TIMEOUT_MS: u32 = 3000;
const _: () = assert!(COMMAND_TIMEOUT.as_millis() == TIMEOUT_MS as u128);

/// How many entries the queue has, if the device allows: a command takes three.
pub(crate) const ENTRIES: u16 = 4;
/// Descriptors of a command with data.
pub(crate) const SEGMENTS: u16 = 3;

/// `VIRTIO_NET_OK`.
const OK: u8 = 0;
/// `VIRTIO_NET_ERR`.
const ERR: u8 = 1;
/// No ack: what is there before the device writes one.
const NO_ACK: u8 = 0xff;

/// What the device makes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ack {
    /// It did it.
    Ok,
    /// It did not.
    Refused,
}

/// Where a command lies in its memory: class and command, the ack behind them, then the data.
const HEADER_AT: usize = 0;
const ACK_AT: usize = 2;
const DATA_AT: usize = 16;

/// The memory of the command that is under way.
pub(crate) struct CommandMemory<P: Platform>(DmaBox<u8, P>);

impl<P: Platform> CommandMemory<P> {
    /// # Errors
    ///
    /// [`DmaError`]; nothing stays allocated.
    pub(crate) fn new(of: &DeviceDma<P>) -> Result<Self, DmaError> {
        DmaBox::array_zeroed(of, DATA_AT.saturating_add(DATA_BYTES), Align::new(16)).map(Self)
    }

    /// Writes `command` there, and says where the device finds its parts: what it reads first, its
    /// data if there is any, and where the ack goes.
    fn write(&mut self, command: &Command) -> Option<(Segment, Option<Segment>, Segment)> {
        let Command { header, data, data_bytes } = command;
        let data = data.get(..usize::from(*data_bytes))?;
        let parts = [(HEADER_AT, &header[..]), (ACK_AT, &[NO_ACK]), (DATA_AT, data)];
        for (at, bytes) in parts {
            for (i, byte) in bytes.iter().enumerate() {
                self.0.write_at(at.saturating_add(i), byte).then_some(())?;
            }
        }
        let part =
            |at, len_bytes, writable| Some(Segment { addr: self.0.dma_addr_of(at)?, len_bytes, writable });
        let has_data = *data_bytes > 0;
        Some((
            part(HEADER_AT, 2, false)?,
            part(DATA_AT, u32::from(*data_bytes), false).filter(|_| has_data),
            part(ACK_AT, 1, true)?,
        ))
    }
}

impl<P: Platform> Rings for Option<CommandMemory<P>> {
    fn is_none(&self) -> bool {
        self.is_none()
    }

    fn free(self, quiet: &Quiet<'_>) -> bool {
        self.is_none_or(|memory| memory.0.free(quiet).is_ok())
    }
}

/// The ring under it. What is lent with a chain is the one slot there is.
pub(crate) type ControlRing<P> = Queue<Tokens<()>, P>;

/// The control queue of a running device.
pub(crate) struct ControlQueue<P: Platform> {
    ring: ControlRing<P>,
    memory: CommandMemory<P>,
    /// Until when the device may take for the command that it has.
    deadline: Option<Deadline>,
}

impl<P: Platform> ControlQueue<P> {
    /// Over `ring`, with its commands in `memory`.
    pub(crate) fn new(ring: ControlRing<P>, memory: CommandMemory<P>) -> Self {
        Self { ring, memory, deadline: None }
    }

    /// What it was made of, to be given back.
    pub(crate) fn into_parts(self) -> (ControlRing<P>, CommandMemory<P>) {
        (self.ring, self.memory)
    }

    /// Which device it belongs to.
    pub(crate) fn device(&self) -> DeviceTag {
        self.ring.device()
    }

    /// Breaks the queue.
    #[cold]
    pub(crate) fn fail(&mut self, fault: DeviceFault) {
        self.ring.fail(fault);
    }

    /// Gives its memory back. False when the proof is about another device.
    pub(crate) fn free(self, quiet: &Quiet<'_>) -> bool {
        let (ring, memory) = self.into_parts();
        ring.free(quiet) & Some(memory).free(quiet)
    }

    /// Gives the device `command`, which it may take [`COMMAND_TIMEOUT`] for. It has none now.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the queue is broken.
    pub(crate) fn submit(&mut self, command: &Command, clock: &impl Clock) -> Result<(), DeviceFault> {
        self.ring.check()?;
        let Some((head, data, ack)) = self.memory.write(command) else {
            // It has room for any command.
            return Err(self.ring.fail(DeviceFault::OutOfSequence { what: "no room for a command" }));
        };
        let segments = if data.is_some() { SEGMENTS } else { SEGMENTS.saturating_sub(1) };
        if self.ring.submit(segments.into(), head, data, ack, ()).is_err() {
            // It has room for one command, and none is under way.
            return Err(self.ring.fail(DeviceFault::OutOfSequence { what: "no room for a command" }));
        }
        self.deadline = Some(Deadline::after(clock, COMMAND_TIMEOUT));
        self.ring.publish();
        Ok(())
    }

    /// What became of the command that the device has. `None`: nothing yet.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the queue is broken. A device that did not answer in time broke it, and
    /// keeps the command.
    pub(crate) fn poll(&mut self, clock: &impl Clock) -> Result<Option<Ack>, DeviceFault> {
        // How much it wrote, it may say as it likes: what is there, says whether it did.
        if self.ring.complete()?.is_some() {
            self.deadline = None;
            self.ring.disarm();
            return match self.memory.0.read_at(ACK_AT).unwrap_or(NO_ACK) {
                OK => Ok(Some(Ack::Ok)),
                ERR => Ok(Some(Ack::Refused)),
                value => Err(self.ring.fail(DeviceFault::UnknownKind { what: "ack", value: value.into() })),
            };
        }
        if self.deadline.is_some_and(|deadline| deadline.has_passed(clock)) {
            return Err(self.ring.fail(DeviceFault::NoAnswer { after_ms: TIMEOUT_MS }));
        }
        Ok(None)
    }

    /// Asks for an interrupt when the device is done, then looks once more.
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    pub(crate) fn arm(&mut self) -> Result<Armed, DeviceFault> {
        self.ring.arm(1)
    }
}
