//! SYNs from everywhere: nothing is kept of them, and who means it gets through.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use paravane_appliance::flow::End;

use super::{CLIENT, How, connect, each};
use crate::balance::support::{ACK, SYN, Tcp, V4, V6, service};
use crate::world::{PRIVATE, PUBLIC};

/// Somebody beyond the gateway.
fn somebody(number: u32, is_v4: bool) -> SocketAddr {
    let bits = number.wrapping_mul(0x9e37_79b9);
    let address: IpAddr = if is_v4 {
        Ipv4Addr::from_bits(0x2000_0000 | bits >> 6).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0xff, (bits >> 16) as u16, 0, 0, 0, bits as u16).into()
    };
    SocketAddr::new(address, 1024 + (bits >> 8) as u16 / 2)
}

#[test]
fn nothing_is_kept_of_those_that_never_come_back() {
    each(|mut balanced, how| {
        let old = connect(&mut balanced, &how, 5000);
        let is_v4 = how.ends.client.is_ipv4();
        for number in 0..3000 {
            let syn = Tcp::new(somebody(number, is_v4), balanced.vip(), SYN).at(number, 0);
            balanced.take(PUBLIC, &syn, b"");
            let answer = balanced.one(PUBLIC);
            assert_eq!((answer.flags, answer.destination), (SYN | ACK, syn.source));
            // And some that answer what they never got.
            let ack = Tcp { flags: ACK, ..syn }.at(number.wrapping_add(1), number.wrapping_mul(77));
            balanced.take(PUBLIC, &ack, b"");
            let _ = balanced.world.sent(PUBLIC);
        }
        assert!(balanced.world.sent(PRIVATE).is_empty(), "no server hears of it");
        assert_eq!((balanced.flows(), balanced.connections()), (1, 1));
        assert_eq!(balanced.balancer().splices().unwrap().len(), 1);
        assert_eq!(balanced.balancer().flows().unproven(), 0);
        assert!(balanced.world.all_home());
        // Whoever means it is served, and who was there before is.
        connect(&mut balanced, &how, 6000);
        let there = balanced.through(PUBLIC, &old.of_client(&balanced, ACK), b"still here");
        assert_eq!((there.sequence, there.payload.as_slice()), (CLIENT + 1, &b"still here"[..]));
    });
}

/// Beside a service that is not spliced, whose share of the table is full.
#[test]
fn what_is_spliced_does_not_give_way_to_a_flood_of_others() {
    for ends in [V4, V6] {
        let how = How::new(ends);
        let mut settings = crate::balance::support::settings();
        settings.flows.unproven = 100;
        let plain = service(&ends, paravane_appliance::nat::Mode::Dnat);
        let plain = paravane_appliance::balance::Service {
            name: "plain".into(),
            listen: SocketAddr::new(ends.vip, 81),
            ..plain
        };
        let services = vec![how.service(), plain];
        let mut balanced = crate::balance::support::Balanced::with(ends, services, settings);
        let joined: Vec<_> = (5000..5010).map(|port| super::begin(&mut balanced, port)).collect();
        for number in 0..1000 {
            let to = SocketAddr::new(ends.vip, 81);
            let syn = Tcp::new(somebody(number, ends.client.is_ipv4()), to, SYN).at(number, 0);
            balanced.take(PUBLIC, &syn, b"");
        }
        let _ = balanced.world.sent(PRIVATE);
        let flows = balanced.balancer().flows();
        assert_eq!((flows.unproven(), flows.counters().ended(End::Evicted)), (100, 900));
        for joined in joined {
            let opening = super::answer(&mut balanced, &how, &joined);
            assert_eq!(opening.destination, balanced.client(joined.port));
        }
    }
}
