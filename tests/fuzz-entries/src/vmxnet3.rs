//! VMXNET3: completions of both kinds, events, and a device that stops.

use paravane_hal::irq::Interrupts;
use paravane_mock_hal::MockPlatform;
use paravane_mock_hal::model::vmxnet3::{Personality, Vmxnet3};
use paravane_net::{Burst, Control as _, FramePool, RxQueue as _, TxQueue as _};
use paravane_pci::{Function, PciAddress};
use paravane_vmxnet3::{Config, Device};

use crate::input::Input;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const SLOTS: u16 = 32;

/// A frame that the filter lets through.
fn to_us(fill: u8) -> [u8; 60] {
    let mut frame = [fill; 60];
    frame[..6].copy_from_slice(&MAC);
    frame
}

/// Each input byte is an act of the device or of the driver; what a completion says is in the bytes after it.
pub fn vmxnet3(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let platform = MockPlatform::builder().record_faults().without_sites().build();
    let address = PciAddress::new(0, 0, 4, 0).unwrap();
    let plugged = Vmxnet3::plug(&platform, address, MAC, Personality::qemu());
    let pool = FramePool::new(platform.clone(), 256, 2048, 64).unwrap();
    let jumbo = input.byte() & 1 == 1;
    let config = Config {
        tx_entries: SLOTS,
        rx_entries: SLOTS,
        rx2_entries: Some(SLOTS),
        ip_mtu_bytes: if jumbo { 9000 } else { 1500 },
        ..Config::default()
    };
    let function = Function::claim(plugged.config.clone(), address).unwrap();
    let device = Device::new(function, platform.clone()).map_err(|(error, _)| error).unwrap();
    let mut running =
        device.start(&config, pool.clone(), Interrupts::Polling).map_err(|(error, _)| error).unwrap();
    let model = || plugged.model.lock().unwrap();
    let mut burst = Burst::new();
    while !input.is_empty() {
        match input.byte() % 8 {
            0 => model().complete_rx([input.word(), input.word(), input.word(), input.word() & 0x7fff_ffff]),
            // Likely ones get further than noise does.
            1 => {
                let [index, flags] = input.array();
                let word0 =
                    (u32::from(index) % 40) | u32::from(flags & 3) << 14 | u32::from(flags >> 2 & 3) << 16;
                model().complete_rx([word0, 0, u32::from(input.half()) % 2100, 0]);
            }
            2 => model().complete_tx(u32::from(input.byte()) % 40),
            3 => drop(model().deliver(&to_us(input.byte()))),
            4 => {
                let _ = running.rx.receive(&mut burst);
                burst.clear();
            }
            5 => {
                if let Some(mut frame) = pool.get() {
                    frame.append(&[5; 60]);
                    burst.extend([frame]);
                }
                let _ = running.tx.transmit(&mut burst);
                burst.clear();
            }
            6 => drop(running.tx.reclaim()),
            _ => {
                model().set_link(input.byte() & 1 == 1);
                let _ = running.control.poll();
            }
        }
    }
    let device = running.stop().map_err(|error| error.reason).unwrap();
    assert_eq!(pool.free(), pool.frames(), "every buffer came home");
    let mut running =
        device.start(&config, pool.clone(), Interrupts::Polling).map_err(|(error, _)| error).unwrap();
    model().set_link(true);
    assert!(model().deliver(&to_us(9)));
    assert_eq!(running.rx.receive(&mut burst), Ok(1), "a restart heals");
    drop(burst);
    running.stop().map_err(|error| error.reason).unwrap();
    assert_eq!(pool.free(), pool.frames());
}
