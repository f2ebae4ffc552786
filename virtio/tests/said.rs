//! What is said about a device that has more than is served.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Mutex;

use log::{LevelFilter, Log, Metadata, Record};
use paravane_hal::irq::Interrupts;
use paravane_mock_hal::MockPlatform;
use paravane_mock_hal::model::virtio::{Net, Personality, VirtioNet, net};
use paravane_net::{FrameLayout, FramePool};
use paravane_pci::Function;
use paravane_virtio::net::{Config, Device};
use paravane_virtio::transport::pci;

/// Keeps warnings.
struct Ear(Mutex<Vec<String>>);

impl Log for Ear {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }
    fn flush(&self) {}
}

static EAR: Ear = Ear(Mutex::new(Vec::new()));

/// The only test here: there is one log.
#[test]
fn pairs_of_queues_that_are_not_served_are_said() {
    log::set_logger(&EAR).unwrap();
    log::set_max_level(LevelFilter::Warn);
    for (more, pairs, is_said) in [(0, 1, false), (net::bits::MQ, 2, false), (net::bits::MQ, 1, true)] {
        let platform = MockPlatform::new();
        let mut personality = Personality::cloud_hypervisor();
        personality.net_features = personality.net_features & !net::bits::MQ | more;
        let model = Net::of(&personality, [2, 0, 0, 0, 0, 1]);
        let plugged = VirtioNet::plug(&platform, "00:04.0".parse().unwrap(), model, personality);
        let function = Function::claim(plugged.host.clone(), plugged.address).unwrap();
        let pool = FramePool::new(platform.clone(), FrameLayout::new(600)).unwrap();
        let device = pci::open(function, platform.clone(), Device::new).unwrap();
        let running = device.start(&Config::default().with_pairs(pairs), pool, Interrupts::POLLING).unwrap();
        let said = std::mem::take(&mut *EAR.0.lock().unwrap());
        assert_eq!(
            said.iter().any(|line| line.contains("of 2 pairs of queues 1 are served")),
            is_said,
            "{said:?}"
        );
        assert!(running.stop().is_ok());
    }
}
