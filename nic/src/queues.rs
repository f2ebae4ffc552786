//! The parts of a running NIC, each a choice over the drivers.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

use paravane_hal::Platform;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, InterruptMode};
use paravane_hal::recover::Progress;
use paravane_net::{
    Burst, Change, ChangeError, Control, DeviceStats, Events, Link, NicInfo, RxCounters, RxFilter,
    RxFilterError, RxQueue, Settings, TxCounters, TxQueue,
};
use paravane_pci::ConfigAccess;
use paravane_virtio::net as virtio_net;
use paravane_virtio::transport::any::Any;

use crate::kind::Kind;

/// The control half.
#[non_exhaustive]
pub enum NicControl<P: Platform, C: ConfigAccess> {
    /// VMware's NIC.
    Vmxnet3(paravane_vmxnet3::VmxControl<P, C>),
    /// The virtio network device.
    VirtioNet(virtio_net::NetControl<P, Any<P, C>>),
}

/// The receive queue.
#[non_exhaustive]
pub enum NicRx<P: Platform> {
    /// VMware's NIC.
    Vmxnet3(paravane_vmxnet3::RxQueues<P>),
    /// The virtio network device.
    VirtioNet(virtio_net::RxQueues<P>),
}

/// The transmit queue.
#[non_exhaustive]
pub enum NicTx<P: Platform> {
    /// VMware's NIC.
    Vmxnet3(paravane_vmxnet3::TxQueue<P>),
    /// The virtio network device.
    VirtioNet(virtio_net::TxQueue<P>),
}

/// The queues of a running NIC, which may go to different cores.
#[derive(Debug)]
pub struct Queues<P: Platform> {
    /// Receives.
    pub rx: NicRx<P>,
    /// Sends.
    pub tx: NicTx<P>,
}

/// Hands a call to whichever driver it is.
macro_rules! which {
    ($choice:ident, $value:expr, $driver:ident => $call:expr) => {
        match $value {
            $choice::Vmxnet3($driver) => $call,
            $choice::VirtioNet($driver) => $call,
        }
    };
}

impl<P: Platform, C: ConfigAccess> NicControl<P, C> {
    /// What driver and device agreed on, in words.
    #[must_use]
    pub fn agreed(&self) -> String {
        match self {
            Self::Vmxnet3(control) => format!("revision {}", control.revision()),
            Self::VirtioNet(control) => format!("{}", control.features()),
        }
    }

    /// Whether the device sends whatever becomes of the frames, so that one that sends nothing
    /// hangs. Virtio's may wait for its back-end as long as it likes.
    #[must_use]
    pub fn sends_at_once(&self) -> bool {
        matches!(self, Self::Vmxnet3(_))
    }

    /// A fault in words, the device's own code included where the driver knows what it means.
    #[must_use]
    pub fn describe(&self, fault: DeviceFault) -> String {
        match (self, fault) {
            (Self::Vmxnet3(_), DeviceFault::Stopped { code }) => {
                format!("{fault}: {}", paravane_vmxnet3::stop_reason(code))
            }
            _ => format!("{fault}"),
        }
    }
}

/// Says which driver it is of.
macro_rules! say_kind {
    ($name:ident<$($parameter:ident: $bound:ident),+>) => {
        impl<$($parameter: $bound),+> fmt::Debug for $name<$($parameter),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let kind = match self {
                    Self::Vmxnet3(_) => Kind::Vmxnet3,
                    Self::VirtioNet(_) => Kind::VirtioNet,
                };
                write!(f, concat!(stringify!($name), "({})"), kind.name())
            }
        }
    };
}

say_kind!(NicControl<P: Platform, C: ConfigAccess>);
say_kind!(NicRx<P: Platform>);
say_kind!(NicTx<P: Platform>);

impl<P: Platform, C: ConfigAccess + Send> Control for NicControl<P, C> {
    fn info(&self) -> NicInfo {
        which!(Self, self, control => control.info())
    }
    fn interrupts(&self) -> InterruptMode {
        which!(Self, self, control => control.interrupts())
    }
    fn link(&self) -> Link {
        which!(Self, self, control => control.link())
    }
    fn acknowledge(&mut self) -> bool {
        which!(Self, self, control => control.acknowledge())
    }
    fn poll(&mut self) -> Result<Events, DeviceFault> {
        which!(Self, self, control => control.poll())
    }
    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        which!(Self, self, control => control.arm())
    }
    fn watch_queue(&mut self, queue: u16, progress: Progress, limit: Duration) -> Result<(), DeviceFault> {
        which!(Self, self, control => control.watch_queue(queue, progress, limit))
    }
    fn set_filter(&mut self, filter: RxFilter) -> Result<(), RxFilterError> {
        which!(Self, self, control => control.set_filter(filter))
    }
    fn settings(&self) -> Settings {
        which!(Self, self, control => control.settings())
    }
    fn submit_change(&mut self, change: Change) -> Result<(), ChangeError> {
        which!(Self, self, control => control.submit_change(change))
    }
    fn poll_change(&mut self) -> Result<bool, ChangeError> {
        which!(Self, self, control => control.poll_change())
    }
    fn change(&mut self, change: Change) -> Result<(), ChangeError> {
        which!(Self, self, control => control.change(change))
    }
    fn read_device_stats(&mut self) -> Result<Option<DeviceStats>, DeviceFault> {
        which!(Self, self, control => control.read_device_stats())
    }
}

impl<P: Platform> RxQueue for NicRx<P> {
    fn receive(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault> {
        which!(Self, self, queue => queue.receive(burst))
    }
    fn refill(&mut self) -> usize {
        which!(Self, self, queue => queue.refill())
    }
    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        which!(Self, self, queue => queue.arm())
    }
    fn disarm(&mut self) {
        which!(Self, self, queue => queue.disarm());
    }
    fn counters(&self) -> RxCounters {
        which!(Self, self, queue => queue.counters())
    }
}

impl<P: Platform> TxQueue for NicTx<P> {
    fn transmit(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault> {
        which!(Self, self, queue => queue.transmit(burst))
    }
    fn reclaim(&mut self) -> Result<usize, DeviceFault> {
        which!(Self, self, queue => queue.reclaim())
    }
    fn flush(&mut self) {
        which!(Self, self, queue => queue.flush());
    }
    fn remind(&mut self) {
        which!(Self, self, queue => queue.remind());
    }
    fn room(&self) -> usize {
        which!(Self, self, queue => queue.room())
    }
    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        which!(Self, self, queue => queue.arm())
    }
    fn disarm(&mut self) {
        which!(Self, self, queue => queue.disarm());
    }
    fn counters(&self) -> TxCounters {
        which!(Self, self, queue => queue.counters())
    }
}
