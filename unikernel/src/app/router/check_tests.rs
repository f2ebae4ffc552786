//! A balancer between played NICs, whose servers are hosts that smoltcp plays.

use alloc::collections::VecDeque;
use core::time::Duration;

use paravane_mock_hal::MockPlatform;
use paravane_net::FrameLayout;
use smoltcp::iface::{Config as HostConfig, Interface as HostInterface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::wire::{EthernetAddress, IpCidr};

use super::testing::{Known, info, report};
use super::*;

const TOKEN: &str = "correct-horse-battery";
const CONFIG: &str = "admin=dhcp,token=correct-horse-battery public=192.0.2.1/24,2001:db8:1::1/64 \
                      private=10.0.0.1/24,2001:db8:2::1/64 \
                      service=web,192.0.2.80:80,check=/health,10.0.0.11:80,10.0.0.11:81 \
                      service=six,[2001:db8:1::80]:80,[2001:db8:2::11]:80";

/// A balancer with a host on `private`.
struct World {
    router: Router,
    now: Instant,
    wire: Wire,
    interface: HostInterface,
    sockets: SocketSet<'static>,
    /// Where each listens.
    ports: Vec<u16>,
    /// The answer to each request.
    answer: &'static [u8],
    /// So many requests came.
    asked: usize,
}

impl World {
    /// Whose servers listen on these ports.
    fn new(ports: &[u16], answer: &'static [u8]) -> Self {
        let config = Config::of("", CONFIG, None);
        assert!(config.faults.is_empty(), "{:?}", config.faults);
        let pool = FramePool::new(MockPlatform::new(), FrameLayout::new(128)).unwrap();
        let mut plan = Plan::new(config);
        [("public", 0), ("private", 1)].into_iter().for_each(|(name, low)| plan.add(name, &info(low)));
        let mut random = paravane_appliance::random::Random::new(&Known).unwrap();
        let now = Instant::from_nanos(1);
        let router = plan.build(pool, Some(&mut random), &|| 64 << 20, now);
        let mut wire = Wire::default();
        let config = HostConfig::new(EthernetAddress([2, 0, 0, 0, 0, 0x11]).into());
        let mut interface = HostInterface::new(config, &mut wire, smoltcp::time::Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            for address in ["10.0.0.11/24", "2001:db8:2::11/64"] {
                addresses.push(address.parse::<IpCidr>().unwrap()).unwrap();
            }
        });
        let mut sockets = SocketSet::new(Vec::new());
        let ports: Vec<_> = ports.iter().flat_map(|port| [*port; 4]).collect();
        for port in &ports {
            let buffer = || tcp::SocketBuffer::new(vec![0; 2048]);
            let mut socket = tcp::Socket::new(buffer(), buffer());
            socket.listen(*port).unwrap();
            sockets.add(socket);
        }
        Self { router, now, wire, interface, sockets, ports, answer, asked: 0 }
    }

    /// Lets so much time pass, in steps of 10 ms.
    fn pass(&mut self, time: Duration) {
        let end = self.now.saturating_add(time);
        while self.now < end {
            self.now = self.now.saturating_add(Duration::from_millis(10));
            self.router.poll(self.now);
            self.carry_to_host();
            let now = smoltcp::time::Instant::from_micros((self.now.as_nanos() / 1000).cast_signed());
            self.interface.poll(now, &mut self.wire, &mut self.sockets);
            self.serve();
            self.interface.poll(now, &mut self.wire, &mut self.sockets);
            self.carry_from_host();
            self.router.poll(self.now);
        }
    }

    fn serve(&mut self) {
        for ((_, socket), port) in self.sockets.iter_mut().zip(&self.ports) {
            let smoltcp::socket::Socket::Tcp(socket) = socket else { continue };
            if socket.can_recv() && socket.recv(|bytes| (bytes.len(), bytes.len())).unwrap() > 0 {
                self.asked += 1;
                socket.send_slice(self.answer).unwrap();
            }
            if !socket.is_open() {
                socket.listen(*port).unwrap();
            }
        }
    }

    fn carry_to_host(&mut self) {
        let burst = self.router.egress(InterfaceId(1)).unwrap();
        while let Some(frame) = burst.pop() {
            let mut bytes = vec![0; frame.total_bytes()];
            frame.copy_out(&mut bytes).unwrap();
            self.wire.to_host.push_back(bytes);
        }
        self.router.egress(InterfaceId(0)).unwrap().clear();
    }

    fn carry_from_host(&mut self) {
        while let Some(bytes) = self.wire.from_host.pop_front() {
            let mut frame = self.router.pool.get().unwrap();
            assert!(frame.append(&bytes));
            let mut burst = Burst::new();
            burst.push(frame);
            self.router.take(InterfaceId(1), &mut burst, self.now);
        }
    }

    fn statuses(&self) -> Vec<(String, &'static str, &'static str)> {
        let services = services::services(&self.router, self.now);
        let servers = services.into_iter().flat_map(|service| service.servers);
        servers.map(|server| (server.name, server.status, server.check_status)).collect()
    }

    fn ask(&mut self, method: &str, target: &str) -> (&'static str, String) {
        let mut change = Change::new(method, target);
        change.token = Some(TOKEN.into());
        let (status, _, line) = self.router.change(&change, self.now);
        (status, line.into_owned())
    }
}

/// The cable of `private`.
#[derive(Default)]
struct Wire {
    to_host: VecDeque<Vec<u8>>,
    from_host: VecDeque<Vec<u8>>,
}

struct Came(Vec<u8>);

impl RxToken for Came {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Goes<'w>(&'w mut VecDeque<Vec<u8>>);

impl TxToken for Goes<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len_bytes: usize, fill: F) -> R {
        let mut bytes = vec![0; len_bytes];
        let answer = fill(&mut bytes);
        self.0.push_back(bytes);
        answer
    }
}

impl Device for Wire {
    type RxToken<'a> = Came;
    type TxToken<'a> = Goes<'a>;
    fn receive(&mut self, _now: smoltcp::time::Instant) -> Option<(Came, Goes<'_>)> {
        let bytes = self.to_host.pop_front()?;
        Some((Came(bytes), Goes(&mut self.from_host)))
    }
    fn transmit(&mut self, _now: smoltcp::time::Instant) -> Option<Goes<'_>> {
        Some(Goes(&mut self.from_host))
    }
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

const GOOD: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const BAD: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\r\n";

fn server(name: &str, status: &'static str, check: &'static str) -> (String, &'static str, &'static str) {
    (name.into(), status, check)
}

#[test]
fn servers_are_asked_over_the_path_and_marked_by_what_they_answer() {
    let mut world = World::new(&[80], GOOD);
    assert_eq!(world.statuses()[0], server("10.0.0.11:80", "UP", "INI"), "until somebody says otherwise");
    world.pass(Duration::from_secs(20));
    let wanted = [
        server("10.0.0.11:80", "UP", "L7OK"),
        server("10.0.0.11:81", "DOWN", "L4CON"),
        server("[2001:db8:2::11]:80", "UP", "L4OK"),
    ];
    assert_eq!(world.statuses(), wanted);
    assert!((8..=12).contains(&world.asked), "each two seconds: {}", world.asked);
    world.answer = BAD;
    world.pass(Duration::from_secs(10));
    assert_eq!(world.statuses()[0], server("10.0.0.11:80", "DOWN", "L7STS"));
    world.answer = GOOD;
    world.pass(Duration::from_secs(10));
    assert_eq!(world.statuses()[0], server("10.0.0.11:80", "UP", "L7OK"));
    // Nothing is left over of all these connections.
    let path = world.router.path.as_ref().unwrap();
    assert!(path.balancer().unwrap().flows().is_empty());
    assert_eq!(path.drops().of(InterfaceId(1), paravane_appliance::drops::Reason::NoListener), 0);
    assert_eq!(world.router.checker.as_ref().unwrap().put_off(), 0);
    assert_eq!(world.router.pool.free(), 128);
}

#[test]
fn a_server_that_is_silent_is_down_and_its_sockets_come_back() {
    let mut world = World::new(&[80], GOOD);
    world.interface.update_ip_addrs(|addresses| addresses.clear());
    world.pass(Duration::from_secs(400));
    assert!(world.statuses().iter().all(|server| server.1 == "DOWN" && server.2 == "L4TOUT"));
    assert_eq!(world.router.checker.as_ref().unwrap().put_off(), 0, "as many times as there are sockets");
}

#[test]
fn servers_are_changed_by_who_has_the_token() {
    let mut world = World::new(&[80], GOOD);
    let mut without = Change::new("DELETE", "/services/web/servers/10.0.0.11:80");
    for token in
        [None, Some("correct-horse-batterx"), Some("correct-horse"), Some(""), Some("correct-horse-battery1")]
    {
        without.token = token.map(String::from);
        assert_eq!(world.router.change(&without, world.now).0, "401 Unauthorized", "{token:?}");
    }
    world.router.config.admin_token.value = None;
    assert_eq!(world.ask("DELETE", "/services/web/servers/10.0.0.11:80").0, "403 Forbidden");
    world.router.config.admin_token.value = Some(TOKEN.into());

    let web = "/services/web/servers/new";
    for (method, target, status, line) in [
        (
            "POST",
            format!("{web}?address=10.0.0.12:80&weight=7"),
            "201 Created",
            "web/new: added, at 10.0.0.12:80",
        ),
        (
            "POST",
            format!("{web}?address=10.0.0.13:80"),
            "409 Conflict",
            "another server of the pool has the name",
        ),
        (
            "POST",
            format!("{web}2?address=10.0.0.12:80"),
            "409 Conflict",
            "another server of the pool listens on",
        ),
        (
            "POST",
            format!("{web}2?address=[2001:db8::1]:80"),
            "400 Bad Request",
            "2001:db8::1 is of another IP version",
        ),
        ("POST", format!("{web}2"), "400 Bad Request", "say ?address=10.0.0.11:80"),
        ("POST", format!("{web}%20?address=10.0.0.14:80"), "400 Bad Request", "'new%20' is no name"),
        (
            "POST",
            format!("{web}2?address=10.0.0.14:80&wait=1"),
            "400 Bad Request",
            "no such parameter 'wait'; there are: address",
        ),
        ("POST", format!("{web}/weight?value=0"), "200 OK", "web/new: weight 0"),
        ("POST", format!("{web}/weight?value=+1"), "400 Bad Request", "value is a number from 0 to 256"),
        ("POST", format!("{web}/weight?value=257"), "400 Bad Request", "value is a number from 0 to 256"),
        ("POST", format!("{web}/weight"), "400 Bad Request", "say ?value=0 to 256"),
        ("POST", format!("{web}/drain?seconds=30"), "200 OK", "web/new: drained"),
        ("POST", format!("{web}/resume"), "200 OK", "web/new: resumed"),
        ("POST", format!("{web}/maintain"), "200 OK", "web/new: maintained"),
        ("POST", format!("{web}/explode"), "404 Not Found", "POST: weight, drain"),
        ("POST", format!("{web}/drain/x"), "404 Not Found", "there is /services/SERVICE/servers/SERVER"),
        ("DELETE", format!("{web}?seconds=x"), "400 Bad Request", "seconds is a number from 0"),
        ("DELETE", web.into(), "200 OK", "web/new: taken out"),
        ("DELETE", web.into(), "404 Not Found", "web has no server 'new'"),
        ("DELETE", "/services/webb/servers/new".into(), "404 Not Found", "there is no service 'webb'"),
    ] {
        let (seen, said) = world.ask(method, &target);
        assert!(seen == status && said.starts_with(line), "{method} {target}: {seen}, {said}");
    }
    let weights = services::services(&world.router, world.now);
    assert_eq!(weights[0].servers.iter().map(|server| server.weight).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn what_is_balanced_is_in_status_and_metrics() {
    let mut world = World::new(&[80], GOOD);
    world.pass(Duration::from_secs(20));
    let report = Report { uptime_us: 20_000_000, ..report() };
    let json: serde_json::Value = serde_json::from_str(&world.router.page("status", &report).2).unwrap();
    let web = &json["services"][0];
    assert_eq!(
        (&web["name"], &web["status"], &web["active_servers"]),
        (&"web".into(), &"UP".into(), &1.into())
    );
    assert_eq!(web["servers"][1]["check_error"], "the connection was refused");
    assert_eq!(json["flows"]["limit"], 65_536);
    let metrics = world.router.page("metrics", &report).2;
    for line in [
        "paravane_flows_limit 65536",
        "paravane_service_active_servers{service=\"web\"} 1",
        "paravane_server_up{service=\"web\",server=\"10.0.0.11:81\"} 0",
        "paravane_server_weight{service=\"six\",server=\"[2001:db8:2::11]:80\"} 1",
    ] {
        assert!(metrics.lines().any(|seen| seen == line), "{line} in {metrics}");
    }
    let shown = world.router.page("status", &report).2;
    assert!(shown.contains("\"check_error\":\"the connection was refused\""), "{shown}");
    assert!(!shown.contains(TOKEN), "the token is nobody's to see");
}

#[test]
fn what_does_not_fit_into_memory_is_said() {
    let line = CONFIG.replace("service=web", "service=web,192.0.2.81:80,10.0.0.11:80 service=web2");
    let config = Config::of("[balancer]\nflows = 1000000", &line, None);
    let pool = FramePool::new(MockPlatform::new(), FrameLayout::new(16)).unwrap();
    let mut plan = Plan::new(config);
    [("public", 0), ("private", 1)].into_iter().for_each(|(name, low)| plan.add(name, &info(low)));
    let mut random = paravane_appliance::random::Random::new(&Known).unwrap();
    let router = plan.build(pool, Some(&mut random), &|| 16 << 20, Instant::default());
    let unready = router.unready();
    let wanted = "built-in paravane.toml:2:9: nothing is balanced: 1000000 flows take ";
    assert!(unready[0].starts_with(wanted), "{unready:?}");
}
