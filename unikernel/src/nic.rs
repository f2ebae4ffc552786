//! NICs whatever they are: one type over the drivers, so that the program does not care which one a hypervisor offers.
//!
//! A closed choice by `enum` rather than trait objects: starting and stopping moves parts in and out, and the data path is one match a burst.

#![expect(
    clippy::result_large_err,
    reason = "what was given comes back by value; NICs are started a few times in a boot"
)]

mod plan;
mod queues;

pub use plan::{InterruptPlan, IrqMode, Vectors};
pub use queues::{NicControl, NicRx, NicTx};

use alloc::format;
use alloc::string::String;
use core::fmt;

use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Interrupts;
use paravane_hal::{Failed, Platform};
use paravane_net::{BURST_FRAMES, FramePool, HEADROOM_BYTES, NicInfo};
use paravane_pci::{ConfigAccess, Function, Ids};
use paravane_virtio::net as virtio_net;

/// A buffer of the pool holds a standard frame with headroom, and two fill a page.
pub const FRAME_BYTES: u16 = 2048;
/// Slots of a receive ring.
const RX_ENTRIES: u16 = 256;
/// Slots of a transmit ring: what a device that sends nothing can keep. One connection's window is 45 frames.
const TX_ENTRIES: u16 = 128;
/// The largest IP packet that any NIC here receives.
const LARGEST_IP_MTU_BYTES: u16 = 9000;
/// An Ethernet header with a tag.
const TAGGED_HEADER_BYTES: u16 = 18;

/// Which driver a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// VMware's NIC.
    Vmxnet3,
    /// The virtio network device.
    VirtioNet,
}

impl Kind {
    /// The driver for a function with these ids, if there is one.
    #[must_use]
    pub fn of(ids: &Ids) -> Option<Self> {
        if paravane_vmxnet3::is_vmxnet3(ids) {
            Some(Self::Vmxnet3)
        } else if paravane_virtio::is_virtio_net(ids) {
            Some(Self::VirtioNet)
        } else {
            None
        }
    }
}

/// What of a NIC's configuration comes from outside.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// The largest IP packet, where the driver's default is not wanted.
    pub ip_mtu_bytes: Option<u16>,
}

impl Settings {
    /// The most frames that a NIC holds: its rings full, a burst of the longest frames received and not yet answered, a burst not yet taken
    /// for sending. A shared pool with so many for each NIC cannot be run dry by one whose device stands still.
    #[must_use]
    pub fn frames(&self) -> u32 {
        let buffers =
            |ip_mtu_bytes: u16| (ip_mtu_bytes + TAGGED_HEADER_BYTES).div_ceil(FRAME_BYTES - HEADROOM_BYTES);
        // vmxnet3 has a second receive ring for what does not fit one buffer.
        let receiving = RX_ENTRIES * buffers(self.ip_mtu_bytes.unwrap_or(0).min(LARGEST_IP_MTU_BYTES));
        let in_bursts = BURST_FRAMES * usize::from(buffers(LARGEST_IP_MTU_BYTES) + 1);
        u32::from(receiving + TX_ENTRIES).saturating_add(u32::try_from(in_bursts).unwrap_or(u32::MAX))
    }
}

/// A NIC that is found, identified and stopped.
pub enum StoppedNic<P: Platform, C: ConfigAccess> {
    /// VMware's NIC.
    Vmxnet3(paravane_vmxnet3::Device<P, C>),
    /// The virtio network device.
    VirtioNet(virtio_net::Device<P, C>),
}

/// A NIC that carries frames.
pub struct RunningNic<P: Platform, C: ConfigAccess> {
    /// Link, events, identity.
    pub control: NicControl<P, C>,
    /// Receives.
    pub rx: NicRx<P>,
    /// Sends.
    pub tx: NicTx<P>,
}

/// A NIC did not do what it was asked; in words, for the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicError(pub String);

impl NicError {
    /// The reason, in words.
    pub fn new(reason: &dyn fmt::Display) -> Self {
        Self(format!("{reason}"))
    }
}

impl fmt::Display for NicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<P: Platform + Send + Sync, C: ConfigAccess + Send> StoppedNic<P, C> {
    /// Identifies the device behind `function`.
    ///
    /// # Errors
    ///
    /// Why not, in words, and `function` back.
    pub fn open(kind: Kind, function: Function<C>, platform: P) -> Result<Self, (NicError, Function<C>)> {
        match kind {
            Kind::Vmxnet3 => paravane_vmxnet3::Device::new(function, platform)
                .map(Self::Vmxnet3)
                .map_err(|failed| (NicError::new(failed.error()), failed.into_parts().1)),
            Kind::VirtioNet => virtio_net::Device::new(function, platform)
                .map(Self::VirtioNet)
                .map_err(Failed::into_parts)
                .map_err(|(error, function)| (NicError::new(&error), function)),
        }
    }

    /// Which kind of interrupt its host wants; `Auto` if it does not say.
    #[must_use]
    pub fn wanted_interrupts(&self) -> IrqMode {
        use paravane_vmxnet3::WantedInterrupts as Wanted;
        match self {
            Self::Vmxnet3(device) => match device.wanted_interrupts() {
                Wanted::Any => IrqMode::Auto,
                Wanted::Intx => IrqMode::Intx,
                Wanted::Msi => IrqMode::Msi,
                Wanted::Msix => IrqMode::Msix,
            },
            Self::VirtioNet(_) => IrqMode::Auto,
        }
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// Why not, in words, and the stopped NIC back.
    pub fn start(
        self,
        settings: &Settings,
        pool: FramePool,
        interrupts: Interrupts<'_>,
    ) -> Result<RunningNic<P, C>, (NicError, Self)> {
        match self {
            Self::Vmxnet3(device) => {
                let mut config = paravane_vmxnet3::Config {
                    tx_entries: TX_ENTRIES,
                    rx_entries: RX_ENTRIES,
                    ..Default::default()
                };
                config.ip_mtu_bytes = settings.ip_mtu_bytes.unwrap_or(config.ip_mtu_bytes);
                match device.start(&config, pool, interrupts) {
                    Ok(running) => Ok(RunningNic {
                        control: NicControl::Vmxnet3(running.control),
                        rx: NicRx::Vmxnet3(running.rx),
                        tx: NicTx::Vmxnet3(running.tx),
                    }),
                    Err(failed) => {
                        let (error, device) = failed.into_parts();
                        Err((NicError::new(&error), Self::Vmxnet3(device)))
                    }
                }
            }
            Self::VirtioNet(device) => {
                // The MTU is the device's word; a smaller one is kept by the stack alone.
                let config = virtio_net::Config {
                    tx_entries: TX_ENTRIES,
                    rx_entries: RX_ENTRIES,
                    ..Default::default()
                };
                match device.start(&config, pool, interrupts) {
                    Ok(running) => Ok(RunningNic {
                        control: NicControl::VirtioNet(running.control),
                        rx: NicRx::VirtioNet(running.rx),
                        tx: NicTx::VirtioNet(running.tx),
                    }),
                    Err(failed) => {
                        let (error, device) = failed.into_parts();
                        Err((NicError::new(&error), Self::VirtioNet(device)))
                    }
                }
            }
        }
    }
}

impl<P: Platform + Send + Sync, C: ConfigAccess + Send> NicControl<P, C> {
    /// Stops the NIC that the three are parts of. Its memory is free again afterwards.
    ///
    /// # Errors
    ///
    /// Why not, in words. The memory that the device may still reach is leaked.
    pub fn stop(self, rx: NicRx<P>, tx: NicTx<P>) -> Result<StoppedNic<P, C>, NicError> {
        match (self, rx, tx) {
            (Self::Vmxnet3(control), NicRx::Vmxnet3(rx), NicTx::Vmxnet3(tx)) => {
                control.stop(rx, tx).map(StoppedNic::Vmxnet3).map_err(|error| NicError::new(&error))
            }
            (Self::VirtioNet(control), NicRx::VirtioNet(rx), NicTx::VirtioNet(tx)) => {
                control.stop(rx, tx).map(StoppedNic::VirtioNet).map_err(|error| NicError::new(&error))
            }
            _ => Err(NicError("the parts of two NICs were mixed up".into())),
        }
    }

    /// What driver and device agreed on, in words.
    #[must_use]
    pub fn agreed(&self) -> String {
        match self {
            Self::Vmxnet3(control) => format!("revision {}", control.revision()),
            Self::VirtioNet(control) => format!("{}", control.features()),
        }
    }

    /// Whether the device sends whatever becomes of the frames, so that one that sends nothing hangs. Virtio's may wait for its back-end as long as it likes.
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

    /// How it interrupts.
    #[must_use]
    pub fn interrupts(&self) -> Mode {
        use paravane_vmxnet3::InterruptMode as Vmxnet3;
        use virtio_net::InterruptsInUse as Virtio;
        match self {
            Self::Vmxnet3(control) => match control.interrupts() {
                Vmxnet3::Msix { .. } => Mode::Msix,
                Vmxnet3::Msi => Mode::Msi,
                Vmxnet3::Intx => Mode::Intx,
                Vmxnet3::Polling => Mode::Polling,
            },
            Self::VirtioNet(control) => match control.interrupts() {
                Virtio::Msix { .. } => Mode::Msix,
                Virtio::Intx => Mode::Intx,
                Virtio::Polling => Mode::Polling,
            },
        }
    }
}

/// How a running NIC interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By MSI-X.
    Msix,
    /// By MSI.
    Msi,
    /// By its line.
    Intx,
    /// Not at all.
    Polling,
}

impl Mode {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Msix => "msix",
            Self::Msi => "msi",
            Self::Intx => "intx",
            Self::Polling => "polling",
        }
    }
}

impl<P: Platform + Send + Sync, C: ConfigAccess + Send> RunningNic<P, C> {
    /// What does not change while it runs, with the MTU that the settings ask for where that is smaller.
    #[must_use]
    pub fn info(&self, settings: &Settings) -> NicInfo {
        let info = paravane_net::Control::info(&self.control);
        match settings.ip_mtu_bytes.and_then(|wanted| info.ip_mtu_bytes.checked_sub(wanted)) {
            Some(less) => NicInfo {
                ip_mtu_bytes: info.ip_mtu_bytes.saturating_sub(less),
                max_frame_bytes: info.max_frame_bytes.saturating_sub(less),
                ..info
            },
            None => info,
        }
    }
}
