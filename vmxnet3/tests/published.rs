//! Where received frames go: by the hashes that were published for RSS, by the key and the table
//! that the driver was told, and to the queue that the driver receives them by.
//!
//! Spec: Microsoft, "Verifying the RSS Hash Calculation".

#![allow(
    clippy::unwrap_used,
    clippy::result_large_err,
    clippy::cast_possible_truncation,
    reason = "helpers of tests"
)]

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;
use paravane_hal::irq::{Armed, Interrupts, MsiMessage};
use paravane_mock_hal::message;
use paravane_mock_hal::model::vmxnet3::Personality;
use paravane_net::{Burst, Change, Control as _, Rss, RssKinds, RxHash, RxHashKind, RxQueue, Settings};
use support::{MAC, Machine, MockRunning, bytes_of, numbered, small};

const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
    0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
    0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];
const PAIRS: u16 = 8;

/// From an address and a port to others, and the hashes of addresses alone and with ports.
type Published = ([&'static str; 2], [u16; 2], [u32; 2]);

const PUBLISHED: [Published; 8] = [
    (["66.9.149.187", "161.142.100.80"], [2794, 1766], [0x323e_8fc2, 0x51cc_c178]),
    (["199.92.111.2", "65.69.140.83"], [14230, 4739], [0xd718_262a, 0xc626_b0ea]),
    (["24.19.198.95", "12.22.207.184"], [12898, 38024], [0xd2d0_a5de, 0x5c2b_394a]),
    (["38.27.205.30", "209.142.163.6"], [48228, 2217], [0x8298_9176, 0xafc7_327f]),
    (["153.39.163.191", "202.188.127.2"], [44251, 1303], [0x5d18_09c5, 0x10e8_28a2]),
    (["3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1"], [2794, 1766], [0x2cc1_8cd5, 0x4020_7d3d]),
    (["3ffe:501:8::260:97ff:fe40:efab", "ff02::1"], [14230, 4739], [0x0f0c_461c, 0xdde5_1bbf]),
    (
        ["3ffe:1900:4545:3:200:f8ff:fe21:67cf", "fe80::200:f8ff:fe21:67cf"],
        [44251, 38024],
        [0x4b61_e985, 0x02d1_feef],
    ),
];

fn frame([from, to]: [&str; 2], [source, destination]: [u16; 2], is_tcp: bool) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], MAC);
    let ip = match (from.parse(), to.parse()) {
        (Ok(IpAddr::V4(from)), Ok(IpAddr::V4(to))) => {
            ethernet.ipv4(Ipv4Addr::octets(&from), Ipv4Addr::octets(&to), 64)
        }
        (Ok(IpAddr::V6(from)), Ok(IpAddr::V6(to))) => {
            ethernet.ipv6(Ipv6Addr::octets(&from), Ipv6Addr::octets(&to), 64)
        }
        _ => unreachable!("two addresses of one version"),
    };
    let mut bytes = Vec::new();
    if is_tcp {
        ip.tcp(source, destination, 1, 1000).write(&mut bytes, &[7; 100]).unwrap();
    } else {
        ip.udp(source, destination).write(&mut bytes, &[7; 100]).unwrap();
    }
    bytes
}

/// Delivers `bytes`; the pair that received them, and the hash that came along.
fn received(machine: &Machine, up: &mut MockRunning, bytes: &[u8]) -> (u16, Option<RxHash>) {
    assert!(machine.model().deliver(bytes));
    let mut pairs = up.rx.take_pairs();
    let mut came = Vec::new();
    let mut burst = Burst::new();
    assert!(up.rx.receive(&mut burst).is_ok());
    came.extend(burst.pop().map(|frame| (0, frame)));
    for (number, pair) in (1..).zip(&mut pairs) {
        assert!(pair.rx.receive(&mut burst).is_ok());
        came.extend(burst.pop().map(|frame| (number, frame)));
    }
    up.rx.give_back(pairs);
    assert_eq!(came.len(), 1);
    assert_eq!(bytes_of(&came[0].1), bytes);
    (came[0].0, came[0].1.rx_hash())
}

#[test]
fn frames_are_received_by_the_queue_that_their_published_hash_says() {
    let kinds = RssKinds::IP4 | RssKinds::TCP4 | RssKinds::IP6 | RssKinds::TCP6;
    let there: Vec<u16> = (0..128).map(|entry| entry % PAIRS).collect();
    let back: Vec<u16> = (0..128).map(|entry| (entry * 3 + 1) % PAIRS).collect();
    let machine = Machine::new(Personality::esxi());
    let rss = Rss::new(kinds, &there).unwrap().with_key(KEY);
    let config = small()
        .with_pairs(PAIRS)
        .with_rx_entries(32 * PAIRS)
        .with_settings(Settings::default().with_rss(rss));
    let mut up = machine.start(&config, Interrupts::POLLING);
    for table in [&there, &back] {
        up.control.change(Change::Rss(Rss::new(kinds, table).unwrap().with_key(KEY))).unwrap();
        for (addresses, ports, hashes) in PUBLISHED {
            let is_v4 = addresses[0].contains('.');
            for (is_tcp, hash) in [(false, hashes[0]), (true, hashes[1])] {
                let kind = match (is_v4, is_tcp) {
                    (true, false) => RxHashKind::Ip4,
                    (true, true) => RxHashKind::Tcp4,
                    (false, false) => RxHashKind::Ip6,
                    (false, true) => RxHashKind::Tcp6,
                };
                let queue = table[hash as usize % table.len()];
                let bytes = frame(addresses, ports, is_tcp);
                let came = received(&machine, &mut up, &bytes);
                assert_eq!(came, (queue, Some(RxHash { value: hash, kind })), "{addresses:?} {is_tcp}");
            }
        }
    }
    up.stop().unwrap();
    machine.assert_clean();
}

#[test]
fn each_receive_queue_interrupts_by_its_own_message() {
    const MESSAGES: [MsiMessage; 17] = [message(0xfee0_0000, 0x40); 17];
    let machine = Machine::new(Personality::esxi());
    let config = small().with_pairs(PAIRS).with_rx_entries(32 * PAIRS);
    let mut up = machine.start(&config, Interrupts::msix(&MESSAGES));
    assert_eq!(up.rx.arm(), Ok(Armed::Idle));
    for queue in 0..u8::try_from(PAIRS).unwrap() {
        machine.model().interrupts.clear();
        assert!(machine.model().deliver_to(queue.into(), &numbered(1)));
        // Received and sent frames of a pair in turn.
        assert_eq!(machine.model().interrupts, [2 * queue]);
    }
    up.stop().unwrap();
    machine.assert_clean();
}
