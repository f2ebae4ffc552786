//! Ports in the place of clients'.

use std::collections::HashSet;

use super::super::*;
use super::support::*;
use crate::flow::{Hit, New};
use crate::packet::wire::PROTOCOL_UDP;

fn client(number: u16) -> Key {
    let [source, destination] = [[10, 9, 8, 7], [192, 0, 2, 1]].map(IpAddr::from);
    let ends = Ends { source, destination, source_port: number, destination_port: 53 };
    Key::new(ends, PROTOCOL_UDP, OUTSIDE).unwrap()
}

fn target(server: u8, mode: Mode) -> Target {
    Target { address: [10, 0, 0, server].into(), port: 5353, zone: INSIDE, mode }
}

fn nat(addresses: u8, ports: core::ops::RangeInclusive<u16>) -> Nat {
    let addresses = (1..=addresses).map(|last| [172, 16, 0, last].into()).collect();
    Nat::new(Sources::new(addresses).with_ports(ports), &mut random())
}

fn open(nat: &mut Nat, table: &mut Table, number: u16, server: u8) -> Result<(Hit, Key), NatError> {
    let original = client(number);
    let reply = nat.reply_key(table, &original, &target(server, Mode::Full))?;
    let new = New { original, reply, tag: TAG, direction: Direction::Original, segment: None };
    Ok((table.open(&new, at(0), &mut |_, _, _| {}).unwrap(), reply))
}

#[test]
fn each_client_of_a_server_has_a_port_of_its_own() {
    let (mut nat, mut table) = (nat(2, 1024..=2023), table());
    let mut taken = HashSet::new();
    let mut order = Vec::new();
    for number in 1..=1000 {
        let (_, reply) = open(&mut nat, &mut table, number, 1).unwrap();
        assert!((1024..2024).contains(&reply.destination_port()));
        assert!(taken.insert((reply.destination(), reply.destination_port())));
        order.push(reply.destination_port());
    }
    assert_eq!(nat.ports_free(table.len(), false), 1000);
    assert_eq!(nat.ports_free(table.len(), true), 0, "none of that version");
    let next = order.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 10).count();
    assert!(next < 40, "{next} of 1000 are near the one before");
    assert_eq!(taken.iter().map(|(address, _)| address).collect::<HashSet<_>>().len(), 2);
}

#[test]
fn ports_run_out_by_server_and_come_back() {
    let (mut nat, mut table) = (nat(1, 2000..=2007), table());
    let opened: Vec<_> = (1..=8).map(|number| open(&mut nat, &mut table, number, 1).unwrap().0).collect();
    assert_eq!(open(&mut nat, &mut table, 9, 1), Err(NatError::PortsExhausted));
    assert_eq!((nat.ports_exhausted(), nat.ports_free(table.len(), false)), (1, 0));
    open(&mut nat, &mut table, 9, 2).unwrap();
    let index = opened[3].index;
    let port = table.get(index).unwrap().key(Direction::Reply).destination_port();
    assert!(table.remove(index, &mut |_, _, _| {}));
    let (_, reply) = open(&mut nat, &mut table, 10, 1).unwrap();
    assert_eq!(reply.destination_port(), port, "the one that is free");
}

#[test]
fn without_addresses_there_are_no_ports() {
    let table = table();
    for mut nat in [Nat::new(Sources::NONE, &mut random()), nat(0, 1..=9)] {
        let reply = nat.reply_key(&table, &client(1), &target(1, Mode::Full));
        assert_eq!(reply, Err(NatError::PortsExhausted));
    }
    let empty = core::ops::RangeInclusive::new(9, 8);
    let reply = nat(1, empty).reply_key(&table, &client(1), &target(1, Mode::Full));
    assert_eq!(reply, Err(NatError::PortsExhausted));
}

#[test]
fn a_server_of_the_other_version_is_none() {
    let server = Target { address: IpAddr::from([9; 16]), ..target(1, Mode::Dnat) };
    for mode in [Mode::Dnat, Mode::Full] {
        let reply = nat(1, 1..=9).reply_key(&table(), &client(1), &Target { mode, ..server });
        assert_eq!(reply, Err(NatError::Version));
    }
}

#[test]
fn a_client_keeps_its_address_and_port() {
    let reply = nat(1, 1..=9).reply_key(&table(), &client(77), &target(3, Mode::Dnat)).unwrap();
    let [source, destination] = [[10, 0, 0, 3], [10, 9, 8, 7]].map(IpAddr::from);
    let ends = Ends { source, destination, source_port: 5353, destination_port: 77 };
    assert_eq!(Some(reply), Key::new(ends, PROTOCOL_UDP, INSIDE));
}
