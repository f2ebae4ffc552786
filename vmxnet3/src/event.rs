//! What the device reports besides frames: link changes, queues that stopped.
//!
//! Pure: reading `ecr` and answering it is [`control`](crate::control)'s part.

use paravane_hal::fault::DeviceFault;
use paravane_net::Link;

use crate::shared::QueueStatus;

/// The link, from the answer to `GET_LINK`: up in bit 0, Mbit/s in the upper half.
pub(crate) const fn link(answer: u32) -> Link {
    if answer & 1 == 0 {
        return Link::Down;
    }
    match answer >> 16 {
        0 => Link::Up { mbps: None, duplex: None },
        mbps => Link::Up { mbps: Some(mbps), duplex: None },
    }
}

/// The reason of the first queue that stopped.
pub(crate) fn stopped(mut queues: impl Iterator<Item = QueueStatus>) -> Option<DeviceFault> {
    let stopped = queues.find(|queue| queue.stopped != 0)?;
    Some(DeviceFault::Stopped { code: stopped.error.get() })
}

/// What a code in `QueueStatus.error` means, in words.
#[must_use]
pub const fn stop_reason(code: u32) -> &'static str {
    match code {
        0x8000_0000 => "no last descriptor (EOP) of a frame",
        0x8000_0001 => "a transmit descriptor was used again before its completion",
        0x8000_0002 => "too many descriptors in a frame",
        0x8000_0003 => "a kind of descriptor that is not supported",
        0x8000_0004 => "a receive buffer that is too small",
        0x8000_0005 => "stress option of the host",
        0x8000_0006 => "switch between emulation and pass-through failed",
        0x8000_0007 => "an invalid transmit descriptor",
        _ => "unknown reason",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::little_endian::U32;

    const fn status(stopped: u8, code: u32) -> QueueStatus {
        QueueStatus { stopped, pad: [0; 3], error: U32::new(code) }
    }

    #[test]
    fn link_answers_as_seen_on_devices() {
        assert_eq!(link(0x03e8_0001), Link::Up { mbps: Some(1000), duplex: None }, "QEMU");
        assert_eq!(link(0x2710_0001), Link::Up { mbps: Some(10_000), duplex: None }, "ESXi, by its drivers");
        assert_eq!(link(0x03e8_0000), Link::Down);
        assert_eq!(link(1), Link::Up { mbps: None, duplex: None });
    }

    #[test]
    fn the_queue_that_stopped_gives_the_reason() {
        let queues = [status(0, 0x8000_0007), status(1, 0x8000_0004)];
        assert_eq!(stopped(queues.into_iter()), Some(DeviceFault::Stopped { code: 0x8000_0004 }));
        assert_eq!(stopped([status(0, 0x8000_0007), status(0, 0)].into_iter()), None);
    }
}
