use super::*;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;

const START: Instant = Instant::from_nanos(0);

fn sources(max_connections: u32, rate: Option<[u32; 2]>, sources: u32) -> Sources {
    let rate = rate.map(|[per_second, burst]| Rate { per_second, burst });
    Sources::new(SourceLimits { max_connections, rate, sources }, [7, 8])
}

fn v4(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0b00_0000 + number).into()
}

fn v6(network: u64, host: u64) -> IpAddr {
    Ipv6Addr::from_bits(u128::from(network) << 64 | u128::from(host)).into()
}

fn take(sources: &mut Sources, address: IpAddr, now: Instant) -> Result<SourceId, Refused> {
    let admitted = sources.admit(address, true, now)?;
    Ok(sources.take(&admitted))
}

#[test]
fn a_source_has_so_many_connections_and_no_more() {
    let mut this = sources(2, None, 64);
    let first = take(&mut this, v4(1), START).unwrap();
    take(&mut this, v4(1), START).unwrap();
    assert_eq!(take(&mut this, v4(1), START), Err(Refused::SourceConnections));
    assert!(take(&mut this, v4(2), START).is_ok(), "another one");
    this.release(first);
    assert!(take(&mut this, v4(1), START).is_ok());
    assert_eq!(take(&mut this, v4(1), START), Err(Refused::SourceConnections));
    assert_eq!(this.connections(), 3);
}

#[test]
fn a_source_is_an_address_or_64_bits() {
    let mut this = sources(1, None, 64);
    take(&mut this, v6(0x2001_0db8_0000_0001, 1), START).unwrap();
    let neighbour = take(&mut this, v6(0x2001_0db8_0000_0001, 2), START);
    assert_eq!(neighbour, Err(Refused::SourceConnections), "the same customer");
    assert!(take(&mut this, v6(0x2001_0db8_0000_0002, 1), START).is_ok());
    // As numbers they would be one.
    take(&mut this, v4(1), START).unwrap();
    assert!(take(&mut this, v6(0x0b00_0001, 0), START).is_ok());
}

#[test]
fn a_source_makes_new_ones_at_its_rate_whether_they_last_or_not() {
    let mut this = sources(u32::MAX, Some([10, 3]), 64);
    let mut made = 0;
    for ms in 0..10_000 {
        let now = Instant::from_nanos(ms * 1_000_000);
        if let Ok(id) = take(&mut this, v4(1), now) {
            this.release(id);
            made += 1;
        }
    }
    assert_eq!(made, 3 + 99, "a burst, and ten a second since");
    assert_eq!(this.admit(v4(1), true, Instant::from_nanos(9_999_000_000)).err(), Some(Refused::SourceRate));
    assert!(this.admit(v4(1), false, Instant::from_nanos(9_999_000_000)).is_ok(), "it is not new");
}

#[test]
fn who_has_nothing_gives_its_place_away() {
    let mut this = sources(1, Some([1, 1]), 4);
    let mut held: std::vec::Vec<_> =
        (0..4).map(|number| take(&mut this, v4(number), START).unwrap()).collect();
    assert!(!held.contains(&SourceId::NONE));
    let more = take(&mut this, v4(9), START).unwrap();
    assert_eq!((more, this.uncounted), (SourceId::NONE, 1), "let in, for nothing is known of it");
    this.release(more);
    assert_eq!(this.connections(), 4, "it was nobody's");
    // A connection less, but the bucket says something until it is full.
    this.release(held.pop().unwrap());
    assert_eq!(take(&mut this, v4(10), START), Ok(SourceId::NONE));
    let later = START.saturating_add(Duration::from_secs(1));
    assert_ne!(take(&mut this, v4(10), later), Ok(SourceId::NONE));
    assert_eq!(take(&mut this, v4(10), later), Err(Refused::SourceConnections));
    for id in held {
        this.release(id);
    }
    assert_eq!(this.connections(), 1);
}

#[test]
fn what_is_admitted_counts_once_it_is_taken() {
    let this = sources(1, Some([1, 1]), 4);
    for _ in 0..10 {
        assert!(this.admit(v4(1), true, START).is_ok());
    }
    assert_eq!(this.connections(), 0);
}

#[test]
fn a_million_sources_take_no_more_room_than_there_is() {
    let mut this = sources(5, Some([5, 5]), 1000);
    assert_eq!(this.sources.len(), 1024);
    for number in 0..1_000_000_u32 {
        let now = Instant::from_nanos(u64::from(number) * 1000);
        let id = take(&mut this, v4(number), now).unwrap();
        this.release(id);
    }
    assert_eq!((this.sources.len(), this.connections()), (1024, 0));
    assert!(this.uncounted > 0);
}
