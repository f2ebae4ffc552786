//! The parts of a running NIC, each a choice over the drivers.

#![expect(
    clippy::large_enum_variant,
    reason = "a handful of NICs, each made once; a box would add a hop to every burst"
)]

use paravane_hal::Platform;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_net::{
    Burst, Control, DeviceStats, Events, Link, NicInfo, RxCounters, RxFilter, RxFilterError, RxQueue,
    TxCounters, TxQueue,
};
use paravane_pci::ConfigAccess;
use paravane_virtio::net as virtio_net;

/// The control half.
pub enum NicControl<P: Platform, C: ConfigAccess> {
    /// VMware's NIC.
    Vmxnet3(paravane_vmxnet3::VmxControl<P, C>),
    /// The virtio network device.
    VirtioNet(virtio_net::NetControl<P, C>),
}

/// The receive queue.
pub enum NicRx<P: Platform> {
    /// VMware's NIC.
    Vmxnet3(paravane_vmxnet3::RxQueue<P>),
    /// The virtio network device.
    VirtioNet(virtio_net::RxQueue<P>),
}

/// The transmit queue.
pub enum NicTx<P: Platform> {
    /// VMware's NIC.
    Vmxnet3(paravane_vmxnet3::TxQueue<P>),
    /// The virtio network device.
    VirtioNet(virtio_net::TxQueue<P>),
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

impl<P: Platform + Send + Sync, C: ConfigAccess + Send> Control for NicControl<P, C> {
    fn info(&self) -> NicInfo {
        which!(Self, self, control => control.info())
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
    fn set_filter(&mut self, filter: RxFilter) -> Result<(), RxFilterError> {
        which!(Self, self, control => control.set_filter(filter))
    }
    fn read_device_stats(&mut self) -> Result<Option<DeviceStats>, DeviceFault> {
        which!(Self, self, control => control.read_device_stats())
    }
}

impl<P: Platform + Send + Sync> RxQueue for NicRx<P> {
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

impl<P: Platform + Send + Sync> TxQueue for NicTx<P> {
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
