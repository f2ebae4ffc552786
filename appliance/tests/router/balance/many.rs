//! Connections without end: after any number of them all is as it was.

use paravane_appliance::flow::End;
use paravane_appliance::nat::Mode;
use paravane_hal::time::Clock as _;
use paravane_mock_hal::MockPlatform;

use super::support::*;
use crate::world::{PRIVATE, PUBLIC};

/// So many begin, and end, in a row: a tenth of the ports that stand for clients.
const WAVE: u16 = 100;

/// How many in all: some by default, more where that is asked for.
fn count() -> u64 {
    std::env::var("PARAVANE_STORM_STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(8000)
}

/// One connection, which ends in one of four ways.
fn connection(balanced: &mut Balanced, port: u16, way: u64) {
    if way == 3 {
        // Nobody hears of it again.
        balanced.through(PUBLIC, &balanced.of_client(port, SYN).at(1000, 0), b"");
        return;
    }
    let (there, back) = balanced.connect(port);
    let [client, server] = [1001, back.sequence.wrapping_add(1)];
    let from_client = |flags, more| balanced_tcp(&back, flags).at(client + more, server);
    let from_server =
        |flags, sequence, more| Tcp::new(there.destination, there.source, flags).at(sequence, more);
    balanced.through(PUBLIC, &from_client(ACK, 0), b"question");
    let answer = balanced.through(PRIVATE, &from_server(ACK, 9001, 1009), b"answer");
    assert_eq!((answer.source, answer.payload.as_slice()), (balanced.vip(), &b"answer"[..]));
    match way {
        0 => {
            balanced.through(PUBLIC, &from_client(FIN | ACK, 8).at(1009, server + 6), b"");
            balanced.through(PRIVATE, &from_server(FIN | ACK, 9007, 1010), b"");
            balanced.through(PUBLIC, &from_client(ACK, 9).at(1010, server + 7), b"");
        }
        1 => {
            balanced.through(PRIVATE, &from_server(FIN | ACK, 9007, 1009), b"");
            balanced.through(PUBLIC, &from_client(FIN | ACK, 8).at(1009, server + 7), b"");
            balanced.through(PRIVATE, &from_server(ACK, 9008, 1010), b"");
        }
        _ => {
            balanced.through(PUBLIC, &from_client(RST, 8).at(1009, 0), b"");
        }
    }
}

/// What the client that had this answer says next.
fn balanced_tcp(back: &Seen, flags: u8) -> Tcp {
    Tcp::new(back.destination, back.source, flags)
}

#[test]
fn after_any_number_of_connections_all_is_as_it_was() {
    let clock = MockPlatform::new();
    for (ends, mode) in [(V4, Mode::Dnat), (V6, Mode::Dnat), (V4, Mode::Full), (V6, Mode::Full)] {
        let mut balanced = Balanced::new(ends, mode);
        let ports = balanced.balancer().ports_free(0);
        let (mut done, mut port) = (0, 1024_u16);
        let wanted = count() / 4;
        while done < wanted {
            // The mock takes so many words without a look at a clock for a loop without end.
            let _ = clock.now();
            for _ in 0..WAVE {
                connection(&mut balanced, port, done % 4);
                port = port.checked_add(1).unwrap_or(1024);
                done += 1;
            }
            // Longer than any of them is kept: those that ended, and those that nobody answered.
            for _ in 0..130 {
                balanced.pass(1);
                // Neighbours are asked whether they are still there.
                balanced.world.answer_all();
            }
            assert_eq!((balanced.flows(), balanced.connections()), (0, 0), "after {done}");
        }
        assert_eq!(balanced.balancer().ports_free(0), ports);
        let flows = balanced.balancer().flows();
        let counters = flows.counters();
        assert_eq!((counters.opened(), flows.unproven()), (done, 0));
        assert_eq!(counters.ended(End::Expired), done, "none gave way");
        let serving = &balanced.world.path.balancer().unwrap().services()[0];
        assert_eq!(serving.pool().total(), done);
        assert!(balanced.world.dropped().is_empty(), "{:?}", balanced.world.dropped());
        balanced.world.sent(PUBLIC);
        balanced.world.sent(PRIVATE);
        assert!(balanced.world.all_home());
    }
}
