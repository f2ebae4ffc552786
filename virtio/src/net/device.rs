//! A network device that is not running: claimed, or stopped.
//!
//! ```text
//!  transport --new--> Device --start--> Running { control, rx, tx }
//!                    Device <--stop---
//!  transport <--into_parts-- Device
//! ```
//!
//! What is the same for every class of device, [`device`](crate::device) does.

use alloc::vec::Vec;

use paravane_hal::Platform;

use crate::device::{self, Class};
use crate::net::DEVICE_ID;
use crate::net::control_queue::{CommandMemory, ControlRing};
use crate::net::rx::RxRings;
use crate::net::tx::TxRing;

/// The network device among the classes.
pub struct Net;

impl Class for Net {
    const DEVICE_ID: u16 = DEVICE_ID;
    const NAME: &'static str = "virtio-net";

    type Rings<P: Platform> = (Vec<PairRings<P>>, CommandRings<P>);
}

/// A pair of queues, as far as it is there.
pub(crate) type PairRings<P> = (RxRings<P>, Option<TxRing<P>>);
/// A control queue and its memory, likewise.
pub(crate) type CommandRings<P> = (Option<ControlRing<P>>, Option<CommandMemory<P>>);

/// A claimed network device that does not run: it was reset, or does not answer to that.
pub type Device<P, T> = device::Device<P, T, Net>;

/// A running network device, in parts that may go to different cores.
pub type Running<P, T> = paravane_net::Running<Device<P, T>>;
