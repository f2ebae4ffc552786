//! What tests of a router and of a balancer have in common.

use alloc::vec::Vec;

use paravane_hal::entropy::{Entropy, EntropyError};
use paravane_net::{MacAddr, NicInfo, Offloads};

use crate::app::status::Report;

/// Numbers that tests may guess.
pub(super) struct Known;

impl Entropy for Known {
    fn name(&self) -> &'static str {
        "known"
    }
    fn fill(&self, to: &mut [u8]) -> Result<(), EntropyError> {
        to.fill(7);
        Ok(())
    }
}

/// A NIC whose address ends so.
pub(super) fn info(low: u32) -> NicInfo {
    NicInfo {
        driver: "none",
        mac: MacAddr::local(low),
        ip_mtu_bytes: 1500,
        max_frame_bytes: 1514,
        offloads: Offloads::empty(),
        filters: true,
        max_segments: 16,
        max_cut_segments: 16,
        rx_slots: 64,
        tx_slots: 64,
    }
}

/// A frame of UDP to that port, of so many bytes in all.
pub(super) fn udp_frame(port: u16, bytes: usize) -> Vec<u8> {
    let mut frame = alloc::vec![2; 12];
    frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0xc0, 0]);
    frame.extend(port.to_be_bytes());
    frame.resize(bytes, 7);
    frame
}

/// A report of a machine without NICs.
pub(super) fn report() -> Report {
    Report {
        version: "0.1.0",
        build: "0.1.0+0123456789ab",
        boot_us: 1,
        boot_ticks: 2,
        uptime_us: 61_002_003,
        clock: "PIT".into(),
        entropy: "known",
        dma_bytes_in_use: 4096,
        pool_frames: 64,
        pool_free: 60,
        last_panic: None,
        stopping: None,
        nics: Vec::new(),
    }
}
