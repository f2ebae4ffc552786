use super::*;
use proptest::prelude::*;
use std::string::ToString;
use std::vec::Vec;

const PUBLIC: InterfaceId = InterfaceId(0);
const PRIVATE: InterfaceId = InterfaceId(1);
const ADMIN: InterfaceId = InterfaceId(2);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn route(prefix: &str, kind: Kind) -> Route {
    Route { prefix: prefix.parse().unwrap(), kind }
}

fn routes(all: &[(&str, Kind)]) -> Routes {
    let mut routes = Routes::new(100);
    for (prefix, kind) in all {
        assert_eq!(routes.insert(route(prefix, *kind)), Ok(true));
    }
    routes
}

#[test]
fn the_longest_prefix_wins_whichever_came_first() {
    let mut all = [
        ("0.0.0.0/0", Kind::via(PUBLIC, address("192.0.2.1"))),
        ("10.0.0.0/8", Kind::Blackhole),
        ("10.1.0.0/16", Kind::via(PRIVATE, address("10.9.9.9"))),
        ("10.1.2.3/32", Kind::Unreachable),
        ("::/0", Kind::via(PUBLIC, address("fe80::1"))),
        ("2001:db8::/32", Kind::on_link(PRIVATE)),
    ];
    for _ in 0..2 {
        let routes = routes(&all);
        for (destination, prefix) in [
            ("9.255.255.255", "0.0.0.0/0"),
            ("10.0.0.0", "10.0.0.0/8"),
            ("10.1.0.0", "10.1.0.0/16"),
            ("10.1.2.2", "10.1.0.0/16"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.4", "10.1.0.0/16"),
            ("10.2.0.0", "10.0.0.0/8"),
            ("255.255.255.255", "0.0.0.0/0"),
            ("2001:db8::", "2001:db8::/32"),
            ("2001:db9::", "::/0"),
            ("::", "::/0"),
        ] {
            let kind = all.iter().find(|(known, _)| *known == prefix).map(|(_, kind)| kind);
            assert_eq!(routes.lookup(address(destination)), kind, "{destination}");
        }
        all.reverse();
    }
}

#[test]
fn the_last_address_of_a_prefix_may_be_one_of_its_own() {
    let mut all = [
        ("10.0.0.0/8", Kind::on_link(PUBLIC)),
        ("10.0.0.0/30", Kind::on_link(PRIVATE)),
        ("10.0.0.3/32", Kind::Blackhole),
        ("2001:db8::/32", Kind::on_link(PUBLIC)),
        ("2001:db8::/127", Kind::on_link(PRIVATE)),
        ("2001:db8::1/128", Kind::Blackhole),
    ];
    for _ in 0..2 {
        let routes = routes(&all);
        for [within, last, behind] in
            [["10.0.0.2", "10.0.0.3", "10.0.0.4"], ["2001:db8::", "2001:db8::1", "2001:db8::2"]]
        {
            assert_eq!(routes.lookup(address(within)), Some(&Kind::on_link(PRIVATE)), "{within}");
            assert_eq!(routes.lookup(address(last)), Some(&Kind::Blackhole), "{last}");
            assert_eq!(routes.lookup(address(behind)), Some(&Kind::on_link(PUBLIC)), "{behind}");
        }
        routes.v4.check();
        routes.v6.check();
        all.reverse();
    }
}

#[test]
fn without_a_route_there_is_none() {
    let mut routes = routes(&[("10.0.0.0/8", Kind::on_link(PRIVATE))]);
    assert_eq!(routes.lookup_v4(Ipv4Addr::new(9, 255, 255, 255)), None);
    assert_eq!(routes.lookup_v4(Ipv4Addr::new(11, 0, 0, 0)), None);
    assert_eq!(routes.lookup_v6(Ipv6Addr::LOCALHOST), None);
    assert!(routes.remove_all("10.0.0.0/8".parse().unwrap()));
    assert!(!routes.remove_all("10.0.0.0/8".parse().unwrap()));
    assert_eq!(routes.lookup_v4(Ipv4Addr::new(10, 0, 0, 0)), None);
    assert_eq!(routes.count(), 0);
}

#[test]
fn of_equals_the_first_is_used_and_the_next_takes_its_place() {
    let [one, two] = [PUBLIC, PRIVATE].map(|interface| Kind::via(interface, address("10.0.0.1")));
    let mut routes = routes(&[("0.0.0.0/0", one), ("0.0.0.0/0", two)]);
    assert_eq!(routes.insert(route("0.0.0.0/0", two)), Ok(false), "it is there");
    assert_eq!(routes.count(), 2);
    assert_eq!(routes.lookup(address("8.8.8.8")), Some(&one));
    assert!(routes.remove(&route("0.0.0.0/0", one)));
    assert!(!routes.remove(&route("0.0.0.0/0", one)));
    assert_eq!(routes.lookup(address("8.8.8.8")), Some(&two));
    assert!(routes.remove(&route("0.0.0.0/0", two)));
    assert_eq!((routes.lookup(address("8.8.8.8")), routes.count()), (None, 0));
}

#[test]
fn a_replaced_route_is_alone() {
    let mut routes = routes(&[("::/0", Kind::on_link(PUBLIC)), ("::/0", Kind::on_link(PRIVATE))]);
    assert_eq!(routes.replace(route("::/0", Kind::Blackhole)), Ok(()));
    assert_eq!(routes.iter().collect::<Vec<_>>(), [route("::/0", Kind::Blackhole)]);
    assert_eq!((routes.count(), routes.lookup_v6(Ipv6Addr::LOCALHOST)), (1, Some(&Kind::Blackhole)));
}

#[test]
fn there_is_a_limit() {
    let mut routes = Routes::new(2);
    let kind = Kind::on_link(ADMIN);
    assert_eq!(routes.insert(route("10.0.0.0/8", kind)), Ok(true));
    assert_eq!(routes.insert(route("10.0.0.0/8", Kind::Blackhole)), Ok(true));
    let full = RouteError::Full { limit: 2 };
    assert_eq!(routes.insert(route("::/0", kind)), Err(full));
    assert_eq!(routes.replace(route("11.0.0.0/8", kind)), Err(full));
    assert_eq!(full.to_string(), "more than 2 routes: remove some, or raise the limit");
    assert_eq!(routes.replace(route("10.0.0.0/8", kind)), Ok(()), "two make room for one");
    let others = [route("::/0", kind), route("1::/16", kind)];
    assert_eq!(routes.extend(others), Err(full));
    assert_eq!(routes.lookup(address("::1")), Some(&kind), "the first one went in");
    assert_eq!(routes.count(), 2);
}

#[test]
fn a_gateway_is_of_the_prefix_s_version() {
    let mut routes = Routes::new(2);
    let gateway = address("fe80::1");
    let error = routes.insert(route("0.0.0.0/0", Kind::via(PUBLIC, gateway))).unwrap_err();
    assert_eq!(error, RouteError::Version { gateway });
    assert_eq!(error.to_string(), "the gateway fe80::1 is of another IP version than the prefix");
    assert_eq!(routes.count(), 0);
}

#[test]
fn a_source_comes_in_where_an_answer_would_leave() {
    let routes = routes(&[
        ("0.0.0.0/0", Kind::via(PUBLIC, address("192.0.2.1"))),
        ("10.0.0.0/8", Kind::on_link(PRIVATE)),
        ("10.66.0.0/16", Kind::Blackhole),
        ("fe80::/10", Kind::on_link(PUBLIC)),
        ("fe80::/10", Kind::on_link(PRIVATE)),
    ]);
    let holds = |source, interface| routes.is_reverse_path(address(source), interface);
    assert!(holds("203.0.113.1", PUBLIC) && !holds("203.0.113.1", PRIVATE));
    assert!(holds("10.1.1.1", PRIVATE) && !holds("10.1.1.1", PUBLIC));
    assert!(!holds("10.66.1.1", PRIVATE) && !holds("10.66.1.1", PUBLIC), "nothing comes from there");
    assert!(holds("fe80::1", PUBLIC) && holds("fe80::1", PRIVATE), "equal routes");
    assert!(!holds("fe80::1", ADMIN) && !holds("2001:db8::1", PUBLIC));
}

/// What a route means, said the plain way: all routes are looked at.
fn brute(list: &[Route], destination: IpAddr) -> Option<&Kind> {
    let longest = list.iter().filter(|route| route.prefix.contains(destination));
    // Of equals `max_by_key` takes the last one.
    longest.rev().max_by_key(|route| route.prefix.bits()).map(|route| &route.kind)
}

/// Prefixes of few addresses, so that they lie within each other all the time, at both ends too.
fn prefix() -> impl Strategy<Value = Prefix> {
    let v4 = (
        prop_oneof![any::<u32>(), 0_u32..4, u32::MAX - 3..=u32::MAX, 0x0a00_0000_u32..0x0a00_0004],
        0..=32_u8,
    );
    let v6 = (prop_oneof![any::<u128>(), 0_u128..4, u128::MAX - 3..=u128::MAX], 0..=128_u8);
    prop_oneof![
        v4.prop_map(|(address, bits)| Prefix::around(Ipv4Addr::from_bits(address).into(), bits).unwrap()),
        v6.prop_map(|(address, bits)| Prefix::around(Ipv6Addr::from_bits(address).into(), bits).unwrap()),
    ]
}

fn any_route() -> impl Strategy<Value = Route> {
    let kind = (0..5_u8).prop_map(|which| match which {
        0 => Kind::Blackhole,
        1 => Kind::Unreachable,
        interface => Kind::on_link(InterfaceId(interface)),
    });
    (prefix(), kind).prop_map(|(prefix, kind)| Route { prefix, kind })
}

/// The first and the last address of a prefix, and their neighbours.
fn boundaries(prefix: Prefix) -> [IpAddr; 4] {
    match prefix.address() {
        IpAddr::V4(address) => {
            let (first, last) = (address.to_bits(), key::Key::last_of(address.to_bits(), prefix.bits()));
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|at| Ipv4Addr::from_bits(at).into())
        }
        IpAddr::V6(address) => {
            let (first, last) = (address.to_bits(), key::Key::last_of(address.to_bits(), prefix.bits()));
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|at| Ipv6Addr::from_bits(at).into())
        }
    }
}

/// What may be done to routes.
#[derive(Clone, Debug)]
enum Change {
    Insert(Route),
    Replace(Route),
    Remove(prop::sample::Index),
    RemoveAll(prop::sample::Index),
    Extend(Vec<Route>),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => any_route().prop_map(Change::Insert),
        1 => any_route().prop_map(Change::Replace),
        3 => any::<prop::sample::Index>().prop_map(Change::Remove),
        2 => any::<prop::sample::Index>().prop_map(Change::RemoveAll),
        1 => prop::collection::vec(any_route(), 0..8).prop_map(Change::Extend),
    ]
}

/// Does the change to a list too.
fn change_both(routes: &mut Routes, list: &mut Vec<Route>, change: &Change) {
    let add = |list: &mut Vec<Route>, route: Route| {
        let is_new = !list.contains(&route);
        if is_new {
            list.push(route);
        }
        is_new
    };
    match change {
        Change::Insert(route) => assert_eq!(routes.insert(*route), Ok(add(list, *route))),
        Change::Replace(route) => {
            assert_eq!(routes.replace(*route), Ok(()));
            list.retain(|known| known.prefix != route.prefix);
            list.push(*route);
        }
        Change::Remove(index) if !list.is_empty() => {
            let route = list.remove(index.index(list.len()));
            assert!(routes.remove(&route) && !routes.remove(&route));
        }
        Change::RemoveAll(index) if !list.is_empty() => {
            let prefix = list[index.index(list.len())].prefix;
            assert!(routes.remove_all(prefix) && !routes.remove_all(prefix));
            list.retain(|known| known.prefix != prefix);
        }
        Change::Remove(_) | Change::RemoveAll(_) => {}
        Change::Extend(more) => {
            assert_eq!(routes.extend(more.iter().copied()), Ok(()));
            for route in more {
                add(list, *route);
            }
        }
    }
}

proptest! {
    #[test]
    fn it_answers_as_a_list_does(changes in prop::collection::vec(change(), 1..60), others: [u32; 8]) {
        let (mut routes, mut list) = (Routes::new(1000), Vec::new());
        let mut asked: Vec<IpAddr> = others.map(|other| Ipv4Addr::from_bits(other).into()).into();
        for change in &changes {
            change_both(&mut routes, &mut list, change);
            routes.v4.check();
            routes.v6.check();
            prop_assert_eq!(routes.count() as usize, list.len());
            asked.extend(list.last().into_iter().flat_map(|route| boundaries(route.prefix)));
            for destination in &asked {
                prop_assert_eq!(routes.lookup(*destination), brute(&list, *destination), "{}", destination);
            }
        }
        routes.index.check(&routes.v4);
        let mut all: Vec<_> = routes.iter().collect();
        prop_assert_eq!(all.len(), list.len());
        all.retain(|route| !list.contains(route));
        prop_assert_eq!(all, []);
    }
}

/// Numbers that look random, and are the same each time.
fn scattered(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|n| n.wrapping_mul(0x9e37_79b1) ^ n.rotate_left(17))
}

fn many(count: u32) -> impl Iterator<Item = Route> {
    scattered(count).map(|at| {
        let bits = [8, 16, 20, 22, 24, 24, 24, 32][(at % 8) as usize];
        let prefix = Prefix::around(Ipv4Addr::from_bits(at).into(), bits).unwrap();
        Route { prefix, kind: Kind::on_link(InterfaceId((at % 4) as u8)) }
    })
}

#[test]
fn many_routes_go_in_at_once_or_one_by_one() {
    let (mut at_once, mut one_by_one) = (Routes::new(5_000), Routes::new(5_000));
    at_once.extend(many(5_000)).unwrap();
    for route in many(5_000) {
        one_by_one.insert(route).unwrap();
    }
    assert!(at_once.count() > 3_000);
    assert!(at_once.iter().eq(one_by_one.iter()));
    one_by_one.v4.check();
    one_by_one.index.check(&one_by_one.v4);
    for destination in scattered(20_000).map(Ipv4Addr::from_bits) {
        assert_eq!(at_once.lookup_v4(destination), one_by_one.lookup_v4(destination), "{destination}");
    }
    for route in many(5_000) {
        one_by_one.remove_all(route.prefix);
    }
    one_by_one.v4.check();
    one_by_one.index.check(&one_by_one.v4);
    assert_eq!((one_by_one.count(), one_by_one.iter().count()), (0, 0));
}
