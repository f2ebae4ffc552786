//! Addresses that several machines share, of which one has them: VRRP on the links of a path.
//!
//! One that comes is an address of its interface like others, and the services there are this
//! machine's; one that goes is none, and they are not: nothing is answered, passed on or begun for
//! it here.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use paravane_hal::time::Instant;
use paravane_net::Frame;

use super::Path;
use crate::drops::Reason;
use crate::interface::{Interface, InterfaceId};
use crate::neighbour;
use crate::packet::Packet;
use crate::route::{Kind, Prefix, Route};
use crate::vrrp::{Advertisement, Event, Instances, Task};

/// What a path has of such addresses.
#[derive(Debug, Default)]
pub(super) struct Shared {
    instances: Option<Instances>,
    /// Frames for advertisements: while others hold all that there are, a machine that is well is
    /// not to be taken for dead.
    spare: Vec<Frame>,
}

impl Path {
    /// Has it take part in virtual routers, from when the links of their interfaces are said to be
    /// [up](Self::link_changed). Until it is active in one it has none of its addresses, which are
    /// to be those of no interface. Each interface has an address of the same IP version, from
    /// which it speaks: over IPv6 one of the link.
    pub fn set_vrrp(&mut self, instances: Instances) {
        self.shared.spare = instances.members().iter().filter_map(|_| self.egress.pool.get()).collect();
        self.shared.instances = Some(instances);
        self.find_services();
    }

    /// The virtual routers that it takes part in, if there are any.
    #[must_use]
    pub const fn vrrp(&self) -> Option<&Instances> {
        self.shared.instances.as_ref()
    }

    /// The oldest thing about them that people want to know of, and have not heard.
    pub fn take_vrrp_event(&mut self) -> Option<Event> {
        self.shared.instances.as_mut()?.take_event()
    }

    /// The link of an interface came, or went.
    pub fn link_changed(&mut self, interface: InterfaceId, is_up: bool, now: Instant) {
        if let Some(instances) = &mut self.shared.instances {
            instances.link_changed(interface, is_up, now);
            self.follow_vrrp();
        }
    }

    /// Gives up what it shares with other machines, for good, and tells them: they take over at
    /// once. What that says is among what is to be [sent](Self::egress).
    pub fn resign(&mut self, now: Instant) {
        if let Some(instances) = &mut self.shared.instances {
            instances.resign(now);
            self.follow_vrrp();
        }
    }

    /// Takes what another machine says of such addresses.
    #[cold]
    pub(super) fn hear_vrrp(&mut self, from: InterfaceId, packet: &Packet, frame: Frame, now: Instant) {
        let reason = match self.heard_vrrp(from, packet, &frame, now) {
            Ok(()) => return drop(frame),
            Err(reason) => reason,
        };
        self.egress.drop(from, frame, reason);
    }

    fn heard_vrrp(
        &mut self,
        from: InterfaceId,
        packet: &Packet,
        frame: &Frame,
        now: Instant,
    ) -> Result<(), Reason> {
        let ways = &self.egress.ways;
        let own = ways.interfaces.get(from.index()).ok_or(Reason::Group)?;
        let instances = self.shared.instances.as_mut().ok_or(Reason::Group)?;
        let (source, _) = packet.addresses().ok_or(Reason::Vrrp)?;
        // What we said ourselves comes back where a switch has a loop.
        if packet.source == own.mac || own.has(source) {
            return Err(Reason::Spoofed);
        }
        let is_near = match source {
            IpAddr::V4(_) => ways.routes.is_reverse_path(source, from),
            // Spec: RFC 9568, 5.1.2.1 "Source Address".
            IpAddr::V6(source) => source.is_unicast_link_local(),
        };
        if !is_near {
            return Err(Reason::ReversePath);
        }
        let said = Advertisement::of(packet, frame).ok_or(Reason::Group)?.map_err(|_| Reason::Vrrp)?;
        let speaker = speaker(own, source.is_ipv4()).ok_or(Reason::Group)?;
        if !instances.heard(from, &said, [source, speaker], now) {
            return Err(Reason::Group);
        }
        self.follow_vrrp();
        Ok(())
    }

    /// What time brings. When to look again.
    pub(super) fn poll_vrrp(&mut self, now: Instant) -> Option<Instant> {
        let next = self.shared.instances.as_mut()?.poll(now);
        self.follow_vrrp();
        next
    }

    /// Does what comes of it.
    #[cold]
    fn follow_vrrp(&mut self) {
        // Ends: there are some tasks, and no more come while they are done.
        while let Some(task) = self.shared.instances.as_mut().and_then(Instances::take_task) {
            match task {
                Task::Take(member) => self.each_address(member, |path, id, address| path.add(id, address)),
                Task::Leave(member) => {
                    self.each_address(member, |path, id, address| path.remove(id, address));
                }
                Task::Announce(member) => {
                    self.each_address(member, |path, id, address| path.announce(id, address));
                }
                Task::Send(member, priority) => self.advertise(member, priority),
            }
        }
        // Whoever spoke needs a frame the next time.
        let members = self.shared.instances.as_ref().map_or(0, |instances| instances.members().len());
        while self.shared.spare.len() < members
            && let Some(frame) = self.egress.pool.get()
        {
            self.shared.spare.push(frame);
        }
    }

    fn each_address(&mut self, member: usize, change: impl Fn(&mut Self, InterfaceId, IpAddr)) {
        // Ends: a member has some addresses, which do not change.
        for nth in 0.. {
            let members = self.shared.instances.as_ref().map(Instances::members);
            let member = members.and_then(|members| members.get(member));
            let address =
                member.and_then(|member| Some((member.interface(), *member.settings().addresses.get(nth)?)));
            let Some((id, address)) = address else { break };
            change(self, id, address);
        }
    }

    /// The machine has `address` from now on.
    fn add(&mut self, id: InterfaceId, address: IpAddr) {
        let interfaces = Arc::make_mut(&mut self.egress.ways.interfaces);
        let Some(own) = interfaces.get_mut(id.index()).filter(|own| !own.has(address)) else { return };
        // Behind its own ones, from which it speaks.
        match address {
            IpAddr::V4(address) => own.v4.push((address, 32)),
            IpAddr::V6(address) => own.v6.push((address, 128)),
        }
        if let Some(route) = local(id, address) {
            // Without room for it, neighbours hear that it is here, and that it is all.
            let _ = self.egress.ways.routes.insert(route);
            self.nexts.make_room(self.egress.ways.routes.groups_v4());
        }
        self.find_services_at(address, true);
    }

    /// The machine does not have `address` any more.
    fn remove(&mut self, id: InterfaceId, address: IpAddr) {
        let interfaces = Arc::make_mut(&mut self.egress.ways.interfaces);
        let Some(own) = interfaces.get_mut(id.index()) else { return };
        own.v4.retain(|(own, _)| IpAddr::V4(*own) != address);
        own.v6.retain(|(own, _)| IpAddr::V6(*own) != address);
        if let Some(route) = local(id, address) {
            self.egress.ways.routes.remove(&route);
        }
        self.find_services_at(address, false);
    }

    fn find_services_at(&mut self, address: IpAddr, is_here: bool) {
        if let Some(balancer) = &mut self.balancer {
            balancer.set_here(address, is_here);
        }
    }

    /// Says to the balancer which services are not here: those at addresses that are shared, and
    /// another machine's.
    pub(super) fn find_services(&mut self) {
        let Some((balancer, instances)) = self.balancer.as_deref_mut().zip(self.shared.instances.as_ref())
        else {
            return;
        };
        for member in instances.members() {
            for address in &member.settings().addresses {
                let own = self.egress.ways.interfaces.get(member.interface().index());
                balancer.set_here(*address, own.is_some_and(|own| own.has(*address)));
            }
        }
    }

    /// Tells all on the link that the machine has `address`.
    fn announce(&mut self, id: InterfaceId, address: IpAddr) {
        let own = self.egress.ways.interfaces.get(id.index());
        let Some((own, mut frame)) = own.zip(self.egress.pool.get()) else { return };
        if neighbour::announce(&mut frame, own, address) {
            self.egress.emit(id, id, frame);
        }
    }

    /// Sends an advertisement, behind however many frames that leave there.
    fn advertise(&mut self, member: usize, priority: u8) {
        let members = self.shared.instances.as_ref().map(Instances::members);
        let Some(member) = members.and_then(|members| members.get(member)) else { return };
        let id = member.interface();
        let own = self.egress.ways.interfaces.get(id.index());
        let Some((mac, source)) = own.and_then(|own| Some((own.mac, speaker(own, member.is_v4())?))) else {
            return;
        };
        let said = member.advertisement(priority);
        let Some(frame) = self.egress.pool.get().or_else(|| self.shared.spare.pop()) else { return };
        if let Some(frame) = said.write(frame, mac, source)
            && let Some(port) = self.egress.ports.get_mut(id.index())
        {
            port.egress.push(frame);
        }
    }
}

/// The address from which an interface speaks to machines that share some with it.
fn speaker(own: &Interface, is_v4: bool) -> Option<IpAddr> {
    if is_v4 {
        return own.v4.first().map(|(own, _)| IpAddr::V4(*own));
    }
    own.v6.iter().map(|(own, _)| *own).find(core::net::Ipv6Addr::is_unicast_link_local).map(IpAddr::V6)
}

/// The route to an address of ours; of the link's there is none.
fn local(id: InterfaceId, address: IpAddr) -> Option<Route> {
    let (bits, is_of_link) = match address {
        IpAddr::V4(_) => (32, false),
        IpAddr::V6(address) => (128, address.is_unicast_link_local()),
    };
    let prefix = Prefix::around(address, bits).ok().filter(|_| !is_of_link)?;
    Some(Route { prefix, kind: Kind::Local(id) })
}
