//! What a table takes.

use super::super::*;
use super::support::*;
use crate::packet::wire::PROTOCOL_UDP;

#[test]
fn a_hundred_thousand_flows_take_as_much_as_is_said() {
    const FLOWS: u32 = 100_000;
    let mut table = table(Limits { unproven: FLOWS, ..Limits::new(FLOWS) });
    let bytes = size_of_val(&*table.flows) + index::bytes_of(table.flows.len());
    assert_eq!(bytes, Table::bytes_of(FLOWS));
    assert_eq!(bytes.div_ceil(FLOWS as usize), 157, "what the module's page says of a flow");
    assert!(bytes < 16 << 20, "a quarter of 64 MiB");
    let now = at(0);
    let keys: Vec<_> = (0..FLOWS).map(|number| talks(&mut table, number, now)).collect();
    assert_eq!((table.len(), table.unproven()), (FLOWS, 0));
    for (number, key) in (0..).zip(&keys) {
        assert_eq!(table.find(key), Some(Hit { index: number, direction: Direction::Original }));
        assert_eq!(table.find(&back(key)), Some(Hit { index: number, direction: Direction::Reply }));
    }
    let one_more = client(FLOWS, 17);
    assert_eq!(table.open(&new(one_more, None), now, &mut nobody), Err(Refused::Full));
    assert_eq!(table.find(&one_more), None);
    table.check();
    assert_eq!(size_of_val(&*table.flows) + index::bytes_of(table.flows.len()), bytes);
}

#[test]
fn a_million_flows_come_and_go_and_none_stays() {
    let mut table = table(Limits { unproven: 5000, ..Limits::new(10_000) });
    let mut ended = 0_u64;
    for round in 0..250_u32 {
        let now = at(u64::from(round) * 200);
        for number in 0..4_000 {
            let number = round * 4_000 + number;
            if number % 8 == 0 {
                talks(&mut table, number, now);
            } else {
                table.open(&new(client(number, PROTOCOL_UDP), None), now, &mut nobody).unwrap();
            }
        }
        assert_eq!(table.len(), 4_000);
        while table.poll(at(u64::from(round) * 200 + 130), 1_000, &mut |_, _, _| ended += 1).is_some() {}
        assert_eq!(table.len(), 0);
    }
    assert_eq!((ended, table.counters().opened()), (1_000_000, 1_000_000));
    assert_eq!(table.counters().ended(End::Expired), 1_000_000);
    assert_eq!((table.index.len(), table.flows_of_service(0)), (0, 0));
    table.check();
}

#[test]
fn a_table_of_nothing_refuses_all() {
    let mut table = table(Limits::new(0));
    assert_eq!(table.find(&client(1, 17)), None);
    assert_eq!(table.open(&new(client(1, 17), None), at(0), &mut nobody), Err(Refused::Full));
    assert_eq!(table.poll(at(0), 100, &mut nobody), None);
    table.check();
}
