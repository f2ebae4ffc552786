//! The image that routes, between hosts of ours on `public` and `private`.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | the cases, and what they have in common |
//! | `packets` | what hosts send, and how it has to come out |
//! | `forward` | packets that go on, and those that do not, with what their senders hear |
//! | `stream` | connections through the router |
//! | `balance` | clients and back ends, and the balancer between them |
//! | `flows` | as many connections as there may be, in little memory |
//! | `stop` | how the machine ends under connections, and begins anew |
//! | `last_panic` | that it is there again after a panic, and says so |
//! | `admin` | that nothing on the other NICs reaches the machine itself |
//! | `firewall` | what becomes of packets where there are rules |
//! | `config` | where the configuration is from, and what is said of a wrong one |
//! | `pair` | addresses that it shares with another machine, which is played |

mod admin;
mod balance;
mod config;
mod firewall;
mod flows;
mod forward;
mod last_panic;
mod packets;
mod pair;
mod stop;
mod stream;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
pub use packets::router_mac;
use serde_json::Value;

use crate::guest::{Guest, Plan, guest_address, guest_address_v6, host_address, host_address_v6, host_mac};
use crate::image;
use crate::qemu::{Machine, NicModel};
use crate::runner::{Case, Subject};
use crate::station::Station;

/// What a path, a balancer, a firewall with its language and a configuration add to the image that
/// serves files.
const MAX_IMAGE_BYTES: u64 = 1645 * 1024;

/// One of the two NICs that packets are passed on by.
pub const PUBLIC: usize = 1;
/// The other one that packets are passed on by.
pub const PRIVATE: usize = 2;

/// The largest packet of both links.
pub const MTU_BYTES: u16 = 1500;
/// The largest packet on `private`, where that is less than on `public`.
const PRIVATE_MTU_BYTES: u16 = 1400;

/// Two NICs, and how they are called together.
const PAIRS: [(&str, [NicModel; 2]); 4] = [
    ("vmxnet3-virtio", [NicModel::Vmxnet3, NicModel::VirtioModern]),
    ("virtio-vmxnet3", [NicModel::VirtioTransitional, NicModel::Vmxnet3]),
    ("vmxnet3-vmxnet3", [NicModel::Vmxnet3, NicModel::Vmxnet3]),
    ("virtio-packed-virtio", [NicModel::VirtioPacked, NicModel::VirtioModern]),
];

fn router_image() -> Result<PathBuf> {
    image::built_once(image::ROUTER)
}

/// A case about the router's image.
fn case(name: &str, body: impl Fn(Subject<'_>) -> Result<String> + Send + Sync + 'static) -> Case {
    Case::new(format!("router/{name}"), move |_| body(Subject { image: &router_image()? }))
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases =
        vec![case("image-size", |subject| super::boot::image_size(subject.image, MAX_IMAGE_BYTES))];
    for machine in [Machine::Pc, Machine::Q35] {
        for irq in ["msix", "line", "polling"] {
            for (name, pair) in PAIRS {
                let name = format!("{}/{name}/{irq}", machine.name());
                cases.push(case(&name, move |subject| forward::run(subject, machine, pair, irq)));
            }
        }
    }
    let mmio = [NicModel::VirtioMmio; 2];
    // Without ACPI, QEMU names them on the command line in the reverse order.
    cases.push(case("microvm-acpi/virtio-mmio/line", move |subject| {
        forward::run(subject, Machine::MicrovmAcpi, mmio, "line")
    }));
    for (name, pair) in PAIRS {
        cases.push(case(&format!("stream/{name}"), move |subject| stream::run(subject, pair)));
    }
    cases.extend(balance::cases());
    cases.extend(flows::cases());
    cases.extend(admin::cases());
    cases.extend(config::cases());
    cases.extend(pair::cases());
    cases.extend(firewall::cases());
    cases.extend(stop::cases());
    cases.extend(last_panic::cases());
    cases
}

/// A machine with `admin` and `pair`, whose CPU gives random numbers, with nothing said of a
/// router.
fn bare_plan(machine: Machine, pair: [NicModel; 2], irq: &str) -> Plan {
    let [public, private] = pair;
    let admin = if machine == Machine::MicrovmAcpi { NicModel::VirtioMmio } else { NicModel::Vmxnet3 };
    let mut plan = Plan::new(machine, &[admin, public, private], irq);
    plan.addressed = false;
    plan.extras(vec!["-cpu".into(), "max".into()])
}

/// The words that make it a router between the hosts on its cables, and give `admin` an address.
/// Packets on `private` are of at most `mtu_bytes`.
pub fn words(admin: &str, mtu_bytes: u16) -> Vec<String> {
    let both = |nic| format!("{}/24,{}/64", guest_address(nic), guest_address_v6(nic));
    vec![
        format!("admin={admin}"),
        format!("public={}", both(PUBLIC)),
        format!("private={},mtu={mtu_bytes}", both(PRIVATE)),
        "route=198.51.100.0/24,unreachable".into(),
        "route=198.51.101.0/24,blackhole".into(),
        format!("route=203.0.113.0/24,{}", host_address(PUBLIC)),
        format!("route=2001:db8:ff::/48,{}", host_address_v6(PUBLIC)),
    ]
}

/// A router between the hosts on its cables.
fn plan(machine: Machine, pair: [NicModel; 2], irq: &str, mtu_bytes: u16) -> Plan {
    let words = words(&format!("{}/24", guest_address(0)), mtu_bytes);
    words.into_iter().fold(bare_plan(machine, pair, irq), Plan::word)
}

/// Stations in place of the hosts on `public` and `private`, in that order.
fn stations(guest: &mut Guest) -> Result<[Station<'_>; 2]> {
    let [public, private] = guest.peers([PUBLIC, PRIVATE])?;
    let station = |cable, nic| Station::new(cable, host_mac(nic), host_address(nic), host_address_v6(nic));
    Ok([station(public.cable(), PUBLIC), station(private.cable(), PRIVATE)])
}

/// The status, as it is.
fn status(guest: &mut Guest) -> Result<Value> {
    let text = guest.get(0, "/status.json")?;
    serde_json::from_slice(&text).context("the status is no JSON")
}

/// How many frames that came in by `nic` were dropped for `reason`.
fn drops(status: &Value, nic: &str, reason: &str) -> Result<u64> {
    let interfaces = status["interfaces"].as_array().context("no interfaces in the status")?;
    let interface = interfaces.iter().find(|interface| interface["name"] == nic);
    let interface = interface.with_context(|| format!("no interface {nic} in the status"))?;
    interface["drops"][reason].as_u64().with_context(|| format!("no drops for {reason} in the status"))
}
