//! The kernel of `docs/embedding.md`: smoltcp over every NIC there is. The page shows these lines.

use std::error::Error;

use paravane_hal::Platform;
use paravane_hal::irq::{Armed, MsiMessage};
use paravane_hal::time::Instant;
use paravane_net::{Control, Events, FrameLayout, FramePool};
use paravane_net_smoltcp::Phy;
use paravane_nic::{Config, InterruptPlan, IrqMode, Kind, Nic, NicRx, NicTx, Queues};
use paravane_pci::{ConfigAccess, Found, Function, PciAddress, enumerate};
use smoltcp::iface::{Interface, SocketSet};
use smoltcp::wire::EthernetAddress;

/// A NIC, and where it is.
pub struct FoundNic {
    address: PciAddress,
    bridges: Vec<PciAddress>,
}

/// Every NIC that there is a driver for.
pub fn find_nics(config: &impl ConfigAccess) -> Vec<FoundNic> {
    let mut nics = Vec::new();
    enumerate(config, &mut |found| match found {
        Found::Function(found) if Kind::of(&found.ids).is_some() => {
            nics.push(FoundNic { address: found.address, bridges: found.path.to_vec() });
        }
        Found::Function(_) => {}
        Found::Skipped(skip) => println!("pci: {skip}"),
    });
    nics
}

/// A NIC with a TCP/IP stack on it.
pub struct Port<P: Platform, C: ConfigAccess> {
    nic: Nic<P, C>,
    /// `None` once it is out of order.
    phy: Option<Phy<NicRx<P>, NicTx<P>>>,
    pub interface: Interface,
    pub sockets: SocketSet<'static>,
    pub link_is_up: bool,
}

impl<P, C> Port<P, C>
where
    P: Platform + 'static,
    C: ConfigAccess + Send + 'static,
{
    /// Takes a NIC from its place on the bus to where it carries frames.
    pub fn open(
        found: &FoundNic,
        config: C,
        platform: P,
        mut free_vector: impl FnMut() -> Option<MsiMessage>,
        open_line: impl FnOnce(u8) -> bool,
    ) -> Result<Self, Box<dyn Error>> {
        let function = Function::claim(config, found.address)?;
        function.enable_path(&found.bridges)?;
        let mut nic = Nic::open(function, platform.clone())?;

        let (plan, _) = InterruptPlan::decide(IrqMode::Auto, nic.vectors(), &mut free_vector, |_| true);

        let config = Config::default();
        let pool = FramePool::new(platform.clone(), FrameLayout::new(config.frames()))?;
        let Queues { rx, tx } = nic.start(config, pool.clone(), plan)?;
        // Only now: a line may be shared with devices that nobody serves. The first turn lowers it.
        if nic.line().is_some_and(|line| !open_line(line)) {
            println!("{nic:?}: its line leads nowhere, so it is polled");
        }

        let info = nic.info().ok_or("it was just started")?;
        let mut phy = Phy::new(&info, rx, tx, pool);
        let mac = EthernetAddress(info.mac.0);
        let mut stack = smoltcp::iface::Config::new(mac.into());
        stack.random_seed = platform.now().as_nanos(); // better, if you have it
        let interface = Interface::new(stack, &mut phy, stack_time(platform.now()));
        let sockets = SocketSet::new(Vec::new());
        let link_is_up = nic.control().is_some_and(|control| control.link().is_up());
        Ok(Self { nic, phy: Some(phy), interface, sockets, link_is_up })
    }

    /// Moves frames and connections on. Returns whether anything moved.
    pub fn turn(&mut self, now: Instant) -> bool {
        let (Some(phy), Some(control)) = (&mut self.phy, self.nic.control()) else { return false };
        control.acknowledge(); // when a line or a shared message rang: was it this NIC?
        let events = control.poll();
        if events.is_ok_and(|events| events.contains(Events::LINK)) {
            self.link_is_up = control.link().is_up();
        }
        let received = phy.service() > 0;
        let polled = self.interface.poll(stack_time(now), &mut phy.batch(), &mut self.sockets);
        let fault = events.err().or(phy.fault());
        if let Some(fault) = fault {
            println!("{:?}: {fault}", self.nic);
            self.restart();
        }
        received || polled != smoltcp::iface::PollResult::None
    }

    /// Asks for interrupts. Returns whether something slipped in, so that there is no sleep now.
    pub fn arm(&mut self) -> bool {
        let (Some(phy), Some(control)) = (&mut self.phy, self.nic.control()) else { return false };
        let armed = phy.arm().and_then(|queues| Ok((queues, control.arm()?)));
        // A fault is something to do as well: the next turn finds it.
        armed != Ok((Armed::Idle, Armed::Idle))
    }

    /// Stops the NIC and starts it as it was. Interface, sockets and connections live on.
    pub fn restart(&mut self) {
        let Some(phy) = self.phy.take() else { return };
        let (rx, tx, pool) = phy.into_parts();
        match self.nic.restart(Queues { rx, tx }) {
            Ok(Queues { rx, tx }) => {
                self.phy = self.nic.info().map(|info| Phy::new(&info, rx, tx, pool));
                self.link_is_up = self.nic.control().is_some_and(|control| control.link().is_up());
            }
            // With the queues in it if the device did not stop, to be tried again; dropped, they
            // are leaked.
            Err(failed) => println!("{:?}: out of order: {failed}", self.nic),
        }
    }
}

/// The same time for smoltcp.
pub fn stack_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_nanos() / 1000).unwrap_or(i64::MAX))
}
