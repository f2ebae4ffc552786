//! Anything comes from anybody, and nothing is left of it in the end.

use core::net::SocketAddr;
use core::time::Duration;

use paravane_appliance::balance::Service;
use paravane_appliance::interface::InterfaceId;
use paravane_appliance::nat::Mode;
use proptest::prelude::*;

use super::How;
use crate::balance::support::{ACK, Balanced, FIN, RST, SYN, Seen, Tcp, V4, V6, segments, service, settings};
use crate::world::{PRIVATE, PUBLIC};

/// What happens.
#[derive(Clone, Debug)]
enum Event {
    /// A client says something of its own.
    Client { client: u16, port: u16, flags: u8, sequence: u32, data: u8 },
    /// Somebody answers what was seen on a link, one of the latest, as hosts do or with other
    /// flags, by numbers that far off.
    Answer { is_public: bool, which: u8, flags: Option<u8>, ahead: [i32; 2], data: u8 },
    /// Time goes on.
    Pass { millis: u32 },
    /// A server is taken out, or comes back.
    Server { which: u8, is_in: bool, is_over: bool },
}

fn events() -> impl Strategy<Value = Event> {
    let flags = || {
        prop_oneof![
            4 => Just(ACK),
            3 => Just(SYN | ACK),
            2 => Just(SYN),
            2 => Just(RST | ACK),
            1 => Just(RST),
            2 => Just(FIN | ACK),
            1 => 0..32_u8,
        ]
    };
    let ahead = || prop_oneof![12 => Just(0), 1 => -3..3_i32, 1 => any::<i32>()];
    let which = prop_oneof![3 => Just(0_u8), 1 => 0..4_u8];
    let data = || prop_oneof![2 => Just(0_u8), 1 => any::<u8>()];
    prop_oneof![
        3 => (0..3_u16, prop_oneof![3 => Just(80), 1 => Just(81)], prop_oneof![5 => Just(SYN), 1 => flags()], any::<u32>(), data()).prop_map(
            |(client, port, flags, sequence, data)| Event::Client { client, port, flags, sequence, data }
        ),
        12 => (any::<bool>(), which, prop::option::weighted(0.3, flags()), [ahead(), ahead()], data()).prop_map(
            |(is_public, which, flags, ahead, data)| Event::Answer { is_public, which, flags, ahead, data }
        ),
        1 => prop_oneof![3 => 0..400_u32, 1 => 0..5000_u32].prop_map(|millis| Event::Pass { millis }),
        1 => (0..2_u8, any::<[bool; 2]>())
            .prop_map(|(which, [is_in, is_over])| Event::Server { which, is_in, is_over }),
    ]
}

struct Storm {
    balanced: Balanced,
    /// What was seen lately, by link.
    seen: [Vec<Seen>; 2],
}

impl Storm {
    fn act(&mut self, event: &Event) {
        let Self { balanced, seen } = self;
        match *event {
            Event::Client { client, port, flags, sequence, data } => {
                let to = SocketAddr::new(balanced.ends.vip, port);
                let tcp = Tcp::new(balanced.client(5000 + client), to, flags).at(sequence, 0);
                balanced.take(PUBLIC, &tcp, &vec![7; data.into()]);
            }
            Event::Answer { is_public, which, flags, ahead, data } => {
                let lately = &seen[usize::from(!is_public)];
                let Some(to) = lately.iter().rev().nth(which.into()) else { return };
                let usual = if to.flags == SYN { SYN | ACK } else { ACK };
                let tcp = Tcp::answer(to, flags.unwrap_or(usual));
                let [sequence, acknowledgement] = ahead;
                let tcp = tcp.at(
                    tcp.sequence.wrapping_add_signed(sequence),
                    tcp.acknowledgement.wrapping_add_signed(acknowledgement),
                );
                balanced.take(if is_public { PUBLIC } else { PRIVATE }, &tcp, &vec![7; data.into()]);
            }
            Event::Pass { millis } => balanced.world.pass(Duration::from_millis(millis.into())),
            Event::Server { which, is_in, is_over } => {
                let (server, now) = (balanced.servers[usize::from(which)], balanced.world.now);
                // The second service's servers are numbered likewise.
                for number in 0..2 {
                    let serving = balanced.balancer().service_mut(number).unwrap();
                    if is_in {
                        serving.resume(server, now).unwrap();
                    } else {
                        serving.drain(server, is_over.then_some(now)).unwrap();
                    }
                }
            }
        }
        self.look();
    }

    /// What leaves is right, and accounts are.
    fn look(&mut self) {
        let Self { balanced, seen } = self;
        for (link, lately) in [PUBLIC, PRIVATE].into_iter().zip(seen) {
            lately.extend(segments(&balanced.world.sent(link)));
            lately.drain(..lately.len().saturating_sub(8));
        }
        let balancer = balanced.world.path.balancer().unwrap();
        let flows = balancer.flows();
        let counted: u32 = balancer.services().iter().map(|serving| serving.pool().connections()).sum();
        assert_eq!(counted, flows.len(), "a connection for each flow");
        let spliced = flows.iter_from(0).filter(|(_, flow)| flow.is_spliced()).count();
        assert!(balancer.splices().unwrap().len() as usize <= spliced);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 64 } else { 512 }))]
    #[test]
    fn nothing_is_left_of_whatever_is_said(
        bits in any::<[bool; 3]>(),
        events in prop::collection::vec(events(), 1..80),
    ) {
        let [is_v6, proxy, keeps_source] = bits;
        let how = How { ends: if is_v6 { V6 } else { V4 }, proxy, keeps_source };
        let other = Service { listen: SocketAddr::new(how.ends.vip, 81), ..service(&how.ends, Mode::Full) };
        let balanced = Balanced::with(how.ends, vec![how.service(), other], settings());
        let mut storm = Storm { balanced, seen: [Vec::new(), Vec::new()] };
        for event in &events {
            storm.act(event);
        }
        for which in 0..2 {
            storm.act(&Event::Server { which, is_in: false, is_over: true });
        }
        for _ in 0..25 {
            storm.act(&Event::Pass { millis: 1000 });
        }
        let balanced = &mut storm.balanced;
        prop_assert_eq!((balanced.flows(), balanced.connections()), (0, 0));
        prop_assert!(balanced.balancer().splices().unwrap().is_empty());
        for link in [PUBLIC, PRIVATE, InterfaceId(2)] {
            drop(balanced.world.path.fetch(link).map(core::mem::take));
        }
        prop_assert!(balanced.world.all_home());
    }
}
