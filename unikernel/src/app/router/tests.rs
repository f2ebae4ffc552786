//! A router between two NICs that are played: what is on the wire is what comes of it.

use paravane_appliance::drops::Reason;
use paravane_mock_hal::MockPlatform;
use paravane_net::{Frame, FrameLayout, MacAddr};

use super::testing::{Known, info, report};
use super::*;
use crate::app::http::Route;

const CONFIG: &str = "public=192.0.2.1/24,2001:db8:1::1/64 private=10.0.0.1/24,mtu=1400 \
                      route=0.0.0.0/0,192.0.2.254 route=10.9.0.0/16,private route=198.51.100.0/24,blackhole";

/// A router of `line` over the NICs of these names.
fn router(line: &str, names: &[&str], is_seeded: bool) -> Router {
    let pool = FramePool::new(MockPlatform::new(), FrameLayout::new(64)).unwrap();
    let mut plan = Plan::new(Config::of("", line, None));
    for (name, low) in names.iter().zip(0..) {
        assert_eq!(usize::from(plan.next_id().0), usize::try_from(low).unwrap());
        plan.add(name, &info(low));
    }
    let mut random = paravane_appliance::random::Random::new(&Known).unwrap();
    plan.build(pool, is_seeded.then_some(&mut random), &|| 16 << 20, Instant::default())
}

pub(super) fn ready() -> Router {
    let mut router = router(CONFIG, &["public", "private"], true);
    [0, 1].into_iter().for_each(|id| router.link_changed(InterfaceId(id), true, Instant::default()));
    router
}

fn sent(router: &mut Router, id: u8) -> Vec<Vec<u8>> {
    let burst = router.egress(InterfaceId(id)).unwrap();
    let bytes = |frame: Frame| {
        let mut bytes = vec![0; frame.total_bytes()];
        frame.copy_out(&mut bytes).unwrap();
        bytes
    };
    core::iter::from_fn(|| burst.pop()).map(bytes).collect()
}

#[test]
fn each_address_is_announced_when_its_link_comes() {
    let mut router = ready();
    let announced = sent(&mut router, 0);
    assert_eq!(announced.len(), 3, "IPv4, IPv6, and that of the link");
    assert_eq!(announced[0][12..14], [8, 6]);
    assert_eq!(announced[0][28..32], [192, 0, 2, 1]);
    assert_eq!(announced[1][62..78], "2001:db8:1::1".parse::<core::net::Ipv6Addr>().unwrap().octets());
    assert_eq!(announced[2][62..64], [0xfe, 0x80]);
    assert_eq!(sent(&mut router, 1).len(), 1);
    router.link_changed(InterfaceId(0), false, Instant::default());
    assert!(sent(&mut router, 0).is_empty());
    assert_eq!(router.unready(), ["public: the link is down"]);
}

#[test]
fn what_is_for_the_machine_itself_is_dropped() {
    let mut router = ready();
    let mut bytes = vec![0; 54];
    bytes[..6].copy_from_slice(&MacAddr::local(0).0);
    bytes[6..12].copy_from_slice(&[2; 6]);
    bytes[12..34]
        .copy_from_slice(&[8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0xf6, 0xcb, 192, 0, 2, 9, 192, 0, 2, 1]);
    bytes[34..38].copy_from_slice(&[1, 1, 0, 80]);
    let sum = bytes[14..34].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum = sum.sum::<u32>() - 0xf6cb;
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    let mut frame = router.pool.get().unwrap();
    assert!(frame.append(&bytes));
    let mut burst = Burst::new();
    burst.push(frame);
    let _ = sent(&mut router, 0);
    router.take(InterfaceId(0), &mut burst, Instant::from_nanos(1));
    let path = router.path.as_ref().unwrap();
    assert_eq!(path.drops().of(InterfaceId(0), Reason::NoListener), 1);
    assert_eq!(path.drops().total(InterfaceId(0)), 1);
    assert!(sent(&mut router, 0).is_empty(), "and nobody answers");
}

#[test]
fn a_route_leads_where_it_was_said() {
    let router = ready();
    let path = router.path.as_ref().unwrap();
    let lookup = |address: &str| path.routes().lookup(address.parse().unwrap()).copied();
    use paravane_appliance::route::Kind;
    let gateway = "192.0.2.254".parse().unwrap();
    assert_eq!(lookup("203.0.113.1"), Some(Kind::via(InterfaceId(0), gateway)));
    assert_eq!(lookup("10.9.1.1"), Some(Kind::on_link(InterfaceId(1))));
    assert_eq!(lookup("198.51.100.1"), Some(Kind::Blackhole));
    assert_eq!(path.interfaces()[1].mtu_bytes, 1400);
    assert!(router.unready().is_empty());
}

#[test]
fn a_nic_that_is_not_there_is_named_and_the_others_route() {
    let mut router = router(CONFIG, &["public"], true);
    router.link_changed(InterfaceId(0), true, Instant::default());
    let unready = router.unready();
    assert_eq!(unready.len(), 1, "{unready:?}");
    assert!(unready[0].starts_with("command line:46: no NIC private"), "{unready:?}");
    assert!(router.path.is_some_and(|path| path.routes().lookup("10.9.1.1".parse().unwrap()).is_some()));
}

#[test]
fn without_random_numbers_or_with_a_fault_nothing_is_passed_on() {
    let unseeded = router(CONFIG, &["public", "private"], false);
    assert!(unseeded.path.is_none());
    assert!(unseeded.unready()[0].contains("no random numbers"), "{:?}", unseeded.unready());
    let wrong = router("public=10.0.0.1", &[], true);
    assert!(wrong.path.is_none());
    assert_eq!(wrong.unready().len(), 1, "{:?}", wrong.unready());
}

#[test]
fn pages_are_for_reading_alone() {
    for (target, page) in [
        ("/", "page"),
        ("/page.css", "style"),
        ("/page.js", "script"),
        ("/status.json?x", "status"),
        ("/history.json", "history"),
        ("/metrics", "metrics"),
        ("/livez", "livez"),
        ("/readyz", "readyz"),
    ] {
        assert_eq!(routes("GET", target), Ok(Route::Program(page)));
        assert_eq!(routes("HEAD", target), Ok(Route::Program(page)));
        assert_eq!(routes("POST", target).unwrap_err().status, "405 Method Not Allowed");
    }
    for target in ["/nics/public/restart", "/bytes/1", "/digest", "/files/a", "/livez/"] {
        assert_eq!(routes("GET", target).unwrap_err().status, "404 Not Found");
    }
}

#[test]
fn the_pages_say_whether_it_routes() {
    let mut router = ready();
    assert_eq!(router.page("readyz", &report()).0, "200 OK");
    router.link_changed(InterfaceId(1), false, Instant::default());
    let (status, _, body) = router.page("readyz", &report());
    assert_eq!((status, &*body), ("503 Service Unavailable", "private: the link is down\n"));
    assert_eq!(router.page("livez", &report()).0, "200 OK");
    let json: serde_json::Value = serde_json::from_str(&router.page("status", &report()).2).unwrap();
    assert_eq!((&json["ready"], &json["pool_free"]), (&false.into(), &60.into()));
    assert_eq!(json["interfaces"][1]["name"], "private");
    assert_eq!(json["interfaces"][0]["drops"].as_object().unwrap().len(), Reason::ALL.len());
    let metrics = router.page("metrics", &report()).2;
    for line in
        ["paravane_ready 0", "paravane_interface_up{nic=\"public\"} 1", "paravane_uptime_seconds 61.002003"]
    {
        assert!(metrics.lines().any(|seen| seen == line), "{line}");
    }
    assert_eq!(json["troubles"], serde_json::json!(["private: the link is down"]));
    assert_eq!(json["build"], "0.1.0+0123456789ab");
    let info = "paravane_build_info{version=\"0.1.0\",commit=\"";
    assert!(metrics.lines().any(|seen| seen.starts_with(info)), "{metrics}");
}

#[test]
fn the_page_has_all_its_parts_from_here() {
    let router = ready();
    let page = router.page("page", &report());
    assert_eq!((page.0, page.1), ("200 OK", "text/html; charset=utf-8"));
    for (name, kind, link) in
        [("style", "text/css", "href=\"/page.css\""), ("script", "text/javascript", "src=\"/page.js\"")]
    {
        let (status, content_type, _) = router.page(name, &report());
        assert!(status == "200 OK" && content_type.starts_with(kind) && page.2.contains(link), "{name}");
    }
    // Nothing of the machine is in it: what people wrote in a configuration is no markup.
    let script = router.page("script", &report()).2;
    for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!script.contains(way), "{way}");
    }
}

const PAIR: &str = "public=192.0.2.2/24 private=10.0.0.2/24 vrrp=public,7,192.0.2.80,sync=pair \
                    vrrp=private,8,10.0.0.1,sync=pair service=web,192.0.2.80:80,10.0.0.11:8080";

fn vrrp(router: &Router) -> serde_json::Value {
    let json: serde_json::Value = serde_json::from_str(&router.page("status", &report()).2).unwrap();
    json["vrrp"].clone()
}

#[test]
fn what_is_shared_comes_with_who_is_active_and_that_is_shown() {
    let mut router = router(PAIR, &["public", "private"], true);
    let has = |router: &Router| {
        let path = router.path.as_ref().unwrap();
        (
            path.interfaces()[0].has("192.0.2.80".parse().unwrap()),
            path.balancer().unwrap().services()[0].is_here(),
        )
    };
    assert_eq!((has(&router), &vrrp(&router)[0]["state"]), ((false, false), &"fault".into()));
    [0, 1].into_iter().for_each(|id| router.link_changed(InterfaceId(id), true, Instant::default()));
    assert_eq!((has(&router), &vrrp(&router)[0]["state"]), ((false, false), &"backup".into()));
    let _ = router.poll(Instant::from_nanos(4_000_000_000));
    assert_eq!(has(&router), (true, true));
    let shown = vrrp(&router);
    assert_eq!(
        (&shown[1]["state"], &shown[1]["interface"], &shown[1]["sync"]),
        (&"active".into(), &"private".into(), &"pair".into())
    );
    assert_eq!((&shown[0]["became_active"], &shown[0]["sent"]), (&1.into(), &1.into()));
    let metrics = router.page("metrics", &report()).2;
    for line in [
        "paravane_vrrp_active{nic=\"public\",id=\"7\",version=\"4\"} 1",
        "paravane_vrrp_priority{nic=\"private\",id=\"8\",version=\"4\"} 100",
    ] {
        assert!(metrics.lines().any(|seen| seen == line), "{line}");
    }
    router.link_changed(InterfaceId(1), false, Instant::from_nanos(5_000_000_000));
    assert_eq!((has(&router), &vrrp(&router)[0]["state"]), ((false, false), &"fault".into()));
    assert!(
        ready().page("metrics", &report()).2.lines().all(|line| !line.contains("vrrp_")),
        "of none, nothing"
    );
}

#[test]
fn nics_let_the_groups_in_where_something_is_shared() {
    let groups = |line: &str, name: &str| {
        let config = Plan::new(Config::of("", line, None)).nic_config(name);
        config.settings.filter.contains(paravane_net::RxFilter::ALL_MULTICAST)
    };
    assert!(groups(PAIR, "public") && groups(PAIR, "private"));
    let one = "public=192.0.2.2/24 private=10.0.0.2/24 vrrp=public,7,192.0.2.80";
    assert_eq!((groups(one, "public"), groups(one, "private")), (true, false));
}

#[test]
fn nobody_is_active_alone_whose_other_side_has_no_nic() {
    let mut router = router(PAIR, &["public"], true);
    router.link_changed(InterfaceId(0), true, Instant::default());
    let _ = router.poll(Instant::from_nanos(10_000_000_000));
    let shown = vrrp(&router);
    assert_eq!((&shown[0]["state"], &shown[1]["state"]), (&"fault".into(), &"fault".into()));
    assert_eq!(shown[1]["interface"], "private");
}
