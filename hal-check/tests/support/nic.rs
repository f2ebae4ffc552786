//! A NIC on a platform with a mistake, and a station that answers ARP.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use paravane_hal::Failed;
use paravane_hal::irq::Interrupts;
use paravane_hal::time::{Clock as _, wait_for};
use paravane_hal_check::{Report, Settings, check_nic};
use paravane_mock_hal::PciHost;
use paravane_mock_hal::model::virtio::net::{Net, VirtioNet};
use paravane_mock_hal::model::virtio::{self, Virtio};
use paravane_mock_hal::model::vmxnet3::{self, Vmxnet3};
use paravane_net::{Burst, FrameLayout, FramePool, RxQueue as _, TxQueue as _};
use paravane_pci::{Function, PciAddress};
use paravane_virtio::transport::pci;

use super::arp::{PEER, answer};
use super::{Mistake, Planted};

const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

/// Which model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    Vmxnet3,
    Virtio,
    /// The strictest monitor there is.
    Firecracker,
}

pub enum Card {
    Vmxnet3(Arc<Mutex<Vmxnet3>>),
    Virtio(virtio::Plugged<Net>),
}

/// A machine with one NIC.
pub struct Machine {
    pub platform: Planted,
    pub card: Card,
    pub config: PciHost,
    pub address: PciAddress,
}

impl Machine {
    pub fn new(model: Model, mistake: Mistake) -> Self {
        let platform = Planted::new(mistake);
        let address = PciAddress::new(0, 0, 4, 0).unwrap();
        let virtio = |personality: virtio::Personality| {
            Card::Virtio(Virtio::plug(&platform.mock, address, Net::of(&personality, MAC), personality))
        };
        let card = match model {
            Model::Vmxnet3 => {
                let personality = vmxnet3::Personality::qemu();
                Card::Vmxnet3(Vmxnet3::plug(&platform.mock, address, MAC, personality).model)
            }
            Model::Virtio => virtio(virtio::Personality::qemu()),
            Model::Firecracker => virtio(virtio::Personality::firecracker()),
        };
        let config = platform.mock.pci().clone();
        Self { platform, card, config, address }
    }

    pub fn function(&self) -> Function<PciHost> {
        Function::claim(self.config.clone(), self.address).unwrap()
    }

    /// Moves the wire.
    pub fn turn(&self) {
        match &self.card {
            Card::Vmxnet3(model) => {
                let mut model = model.lock().unwrap();
                model.look();
                for sent in model.take_sent() {
                    answer(&sent.bytes).map(|answer| model.deliver(&answer));
                }
            }
            Card::Virtio(device) => {
                let mut model: std::sync::MutexGuard<'_, VirtioNet> = device.lock();
                for sent in model.take_sent() {
                    answer(&sent.bytes).map(|answer| model.deliver(&answer));
                }
            }
        }
    }

    /// What the model has against the driver.
    pub fn violations(&self) -> Vec<String> {
        match &self.card {
            Card::Vmxnet3(model) => model.lock().unwrap().violations.clone(),
            Card::Virtio(device) => device.lock().violations.clone(),
        }
    }

    pub fn check(&self) -> Report {
        self.check_with(Settings::default())
    }

    pub fn check_with(&self, settings: Settings<'_>) -> Report {
        let turn = || self.turn();
        let settings = settings.with_peer(PEER).with_wait(Duration::from_millis(200)).with_turn(&turn);
        check_nic(&self.platform, self.function(), &settings)
    }

    /// What happens without the self-test: the driver's own words for a frame sent, or none when
    /// all went well.
    pub fn by_driver_alone(&self) -> Option<String> {
        let platform = self.platform.clone();
        let pool = match FramePool::new(platform.clone(), FrameLayout::new(256)) {
            Ok(pool) => pool,
            Err(error) => return Some(error.to_string()),
        };
        let mut frame = pool.get().unwrap();
        assert!(frame.append(&[0xff; 60]));
        let mut burst = Burst::new();
        burst.push(frame);
        let function = self.function();
        macro_rules! life {
            ($open:expr, $driver:ident $(:: $path:ident)*) => {{
                use $driver $(:: $path)*::Config;
                let mut config = Config::default();
                (config.tx_entries, config.rx_entries) = (32, 32);
                let device = match $open(function, platform.clone()) {
                    Ok(device) => device,
                    Err(failed) => return Some(failed.to_string()),
                };
                match device.start(&config, pool, Interrupts::POLLING) {
                    Ok(running) => (running.control, running.rx, running.tx),
                    Err(failed) => return Some(failed.to_string()),
                }
            }};
        }
        macro_rules! send {
            ($parts:expr) => {{
                let (control, mut rx, mut tx) = $parts;
                let _control = control;
                if let Err(fault) = tx.transmit(&mut burst) {
                    return Some(fault.to_string());
                }
                tx.flush();
                let mut fault = None;
                let waited = wait_for(&platform, Duration::from_millis(200), || {
                    self.turn();
                    let moved = tx.reclaim().and_then(|_| rx.receive(&mut Burst::new()));
                    fault = moved.err();
                    (fault.is_some() || tx.counters().completed > 0).then_some(())
                });
                let _ = platform.now();
                fault.map(|fault| fault.to_string()).or_else(|| waited.err().map(|late| late.to_string()))
            }};
        }
        match &self.card {
            Card::Vmxnet3(_) => send!(life!(paravane_vmxnet3::Device::new, paravane_vmxnet3)),
            Card::Virtio(_) => send!(life!(
                |function, platform| {
                    pci::open(function, platform, paravane_virtio::net::Device::new)
                        .map_err(Failed::into_error)
                },
                paravane_virtio::net
            )),
        }
    }
}
