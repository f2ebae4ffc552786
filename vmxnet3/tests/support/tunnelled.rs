//! Devices that are asked about frames in tunnels.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use paravane_mock_hal::model::vmxnet3::{Personality, Sent};
use paravane_net::{Burst, Control as _, Frame, Offloads, TxQueue as _};
use paravane_vmxnet3::{Config, TunnelPorts};

use crate::support::{Machine, MockRunning, small};

pub const OF_GENEVE: Offloads =
    Offloads::GENEVE_CHECKSUM.union(Offloads::GENEVE_TSO).union(Offloads::GENEVE_OUTER_CHECKSUM);
pub const OF_VXLAN: Offloads =
    Offloads::VXLAN_CHECKSUM.union(Offloads::VXLAN_TSO).union(Offloads::VXLAN_OUTER_CHECKSUM);
pub const OF_TUNNELS: Offloads = OF_GENEVE.union(OF_VXLAN);
/// Capabilities of tunnels, from revision 7 on.
pub const CAPABILITIES: u32 = 0b1111_1100;

pub fn config() -> Config {
    small().with_max_revision(7).with_tunnels(TunnelPorts::ASSIGNED)
}

pub fn up_to(revision: u8) -> Machine {
    Machine::new(Personality::esxi().up_to(revision))
}

/// What left for `frame`, if it was not refused.
pub fn transmit(machine: &Machine, up: &mut MockRunning, frame: Frame) -> Option<Sent> {
    let refused = up.tx.counters().refused;
    let mut burst = Burst::new();
    burst.push(frame);
    assert_eq!(up.tx.transmit(&mut burst), Ok(1));
    assert!(burst.is_empty());
    up.tx.flush();
    machine.model().look();
    up.tx.reclaim().unwrap();
    let mut sent = machine.model().take_sent();
    assert_eq!(sent.len() as u64 + up.tx.counters().refused, refused + 1);
    sent.pop()
}

pub fn offloads(up: &MockRunning) -> Offloads {
    up.control.info().offloads & OF_TUNNELS
}

/// `uptFeatures`, as the device reads it.
pub fn upt_features(machine: &Machine) -> u64 {
    let shared = machine.model().shared_addr().unwrap();
    u64::from_le_bytes(machine.platform.memory().device_get(shared + 0x18).unwrap())
}
