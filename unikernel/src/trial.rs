//! A NIC of the machine, for whoever puts one through tests: the driver suite, and the questions of
//! a device report.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::time::Duration;

use log::info;
use paravane_hal::Failed;
use paravane_hal::irq::MsiMessage;
use paravane_net::{
    Burst, Config, FrameLayout, FramePool, MacAddr, RxFilter, RxQueue as _, Settings, TxQueue as _,
};
use paravane_nic::{InterruptPlan, Nic, Queues};
use paravane_pci::{Function, PciAddress};
use paravane_suite::{Environment, peer};

use crate::bus::pci::{self, Bus};
use crate::bus::{FoundNic, Place};
use crate::interrupts::VectorId;
use crate::platform::{Machine, Platform};

/// The longest sleep while a message is waited for.
const NAP: Duration = Duration::from_millis(1);
/// How many vectors a driver under test has a use for.
const VECTORS: usize = 3;

/// The NIC under test.
pub struct TestNic<'m> {
    machine: &'m Machine,
    bus: Bus,
    index: usize,
    mac: MacAddr,
    vectors: Vec<(VectorId, MsiMessage)>,
    /// Who answers, where that is in this machine.
    peer: Option<Peer>,
    /// What its lines on the console begin with.
    pub prefix: String,
    /// Whether somebody pulls the cable when a line of the console asks for it.
    pub has_cable_hand: bool,
}

impl<'m> TestNic<'m> {
    /// `nic`, the one of number `index`, which was made with the address `mac`; and where it is.
    /// Nobody drives it yet.
    ///
    /// # Errors
    ///
    /// It is in memory, which no test reaches, or cannot be claimed.
    pub fn new(
        machine: &'m Machine,
        index: usize,
        nic: &FoundNic,
        mac: MacAddr,
        peer: Option<Peer>,
    ) -> Result<(Self, PciAddress), Box<dyn Error>> {
        let function = claim(nic)?;
        let address = function.address();
        let bus = function.release();
        let vectors = (0..VECTORS).map_while(|_| machine.interrupts.allocate_vector().ok()).collect();
        let prefix = alloc::format!("suite: NIC {index}: ");
        Ok((Self { machine, bus, index, mac, vectors, peer, prefix, has_cable_hand: true }, address))
    }
}

/// The function of `nic`, to which bridges are open.
///
/// # Errors
///
/// It is in memory, which no test reaches, or cannot be claimed.
pub fn claim(nic: &FoundNic) -> Result<Function<Bus>, Box<dyn Error>> {
    match &nic.place {
        Place::Pci { bus, address, path, .. } => pci::claim(bus, *address, path),
        place @ Place::Mmio(_) => Err(alloc::format!("no driver reaches {place} yet").into()),
    }
}

impl Drop for TestNic<'_> {
    fn drop(&mut self) {
        self.vectors.iter().for_each(|(id, _)| self.machine.interrupts.free_vector(*id));
    }
}

impl Environment for TestNic<'_> {
    type Platform = Platform;
    type Config = Bus;

    fn platform(&self) -> Platform {
        self.machine.platform
    }
    fn config(&self) -> Bus {
        self.bus
    }
    fn mac(&self) -> MacAddr {
        self.mac
    }
    fn dma_bytes_in_use(&self) -> usize {
        self.machine.platform.dma.dma_bytes_in_use()
    }
    fn set_link(&mut self, up: bool) {
        info!("suite: NIC {} wants link {}", self.index, if up { "up" } else { "down" });
    }
    fn tells_of_link(&self) -> bool {
        self.has_cable_hand
    }
    fn turn(&mut self) {
        if let Some(peer) = &mut self.peer {
            peer.turn();
        }
    }
    fn messages(&self) -> Vec<MsiMessage> {
        self.vectors.iter().map(|(_, message)| *message).collect()
    }
    fn rang(&mut self) -> bool {
        self.machine.interrupts.idle(Some(NAP));
        self.machine.interrupts.take_pending().messages != 0
    }
    fn report(&mut self, line: fmt::Arguments<'_>) {
        info!("{}{line}", self.prefix);
    }
}

/// Another NIC on the same network, which answers test frames. It runs until the machine ends.
pub struct Peer {
    queues: Queues<Platform>,
    pool: FramePool,
    /// Keeps the device running.
    _nic: Nic<Platform, Bus>,
}

/// Frames of the pool: both rings of a NIC, and answers on their way.
const PEER_FRAMES: u32 = 1024;
const FRAME_BYTES: u16 = 2048;

impl Peer {
    /// Starts `nic`.
    ///
    /// # Errors
    ///
    /// It is in memory, or no driver gets it to run.
    pub fn start(machine: &Machine, nic: &FoundNic) -> Result<Self, Box<dyn Error>> {
        let layout = FrameLayout::new(PEER_FRAMES).with_buffer_bytes(FRAME_BYTES);
        let pool = FramePool::new(machine.platform, layout)?;
        let mut nic = Nic::open(claim(nic)?, machine.platform).map_err(Failed::into_error)?;
        // Test frames are to nobody who is there.
        let config = Config::default().with_settings(Settings::default().with_filter(RxFilter::all()));
        let queues = nic.start(config, pool.clone(), InterruptPlan::POLLING)?;
        Ok(Self { queues, pool, _nic: nic })
    }

    /// Answers what has come.
    fn turn(&mut self) {
        let Self { queues: Queues { rx, tx }, pool, .. } = self;
        let _ = tx.reclaim();
        let mut burst = Burst::new();
        // One that is broken answers nothing more, which the tests notice.
        let _ = rx.receive(&mut burst);
        let mut answers = Burst::new();
        while let Some(frame) = burst.pop() {
            let mut bytes = [0; FRAME_BYTES as usize];
            let answer = frame.copy_out(&mut bytes).and_then(|len| peer::answer(bytes.get(..len)?));
            let fresh = answer.and_then(|answer| {
                let mut fresh = pool.take(1).pop()?;
                fresh.append(&answer).then_some(fresh)
            });
            answers.extend(fresh);
        }
        let _ = tx.transmit(&mut answers);
        // Whoever asked waits for them.
        tx.flush();
    }
}

/// The address that `word` spells, two hexadecimal digits a byte and colons between them.
#[must_use]
pub fn mac_word(word: &str) -> Option<MacAddr> {
    let mut digits = word.split(':').map(|byte| u8::from_str_radix(byte, 16).ok());
    let mut bytes = [0; 6];
    for place in &mut bytes {
        *place = digits.next()??;
    }
    digits.next().is_none().then_some(MacAddr(bytes))
}
