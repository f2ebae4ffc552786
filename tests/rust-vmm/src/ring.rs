//! One queue of a device, walked by `virtio-queue`.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io::{Read as _, Write as _};

use vm_memory::{Bytes as _, GuestAddress};

use virtio_queue::{DescriptorChain, Queue, QueueOwnedT as _, QueueT as _};

use crate::machine::{Broken, Memory};

/// The most entries of a queue.
pub const MAX_ENTRIES: u16 = 256;

/// VIRTQ_DESC_F_INDIRECT.
const INDIRECT: u16 = 4;

/// A queue: asleep until its doorbell rings.
pub struct Ring {
    /// rust-vmm's.
    pub queue: Queue,
    /// Whether the driver was interrupted since it last acknowledged that.
    pub interrupt: bool,
    /// Chains taken, ever.
    pub taken: u64,
    /// How many of those were in tables of descriptors,
    pub in_tables: u64,
    /// and whether that was agreed.
    pub may_have_tables: bool,
    memory: Memory,
    awake: bool,
    /// Heads of the chains that the device has.
    held: BTreeSet<u16>,
}

fn broken(what: &str) -> impl FnOnce(virtio_queue::Error) -> Broken {
    move |error| format!("{what}: {error}")
}

impl Ring {
    /// A queue of nothing.
    ///
    /// # Panics
    ///
    /// If `virtio-queue` has no queues of [`MAX_ENTRIES`].
    #[must_use]
    #[expect(clippy::expect_used, reason = "a power of two")]
    pub fn new(memory: Memory) -> Self {
        let queue = Queue::new(MAX_ENTRIES).expect("a queue of a power of two");
        Self {
            queue,
            interrupt: false,
            taken: 0,
            in_tables: 0,
            may_have_tables: false,
            memory,
            awake: false,
            held: BTreeSet::new(),
        }
    }

    /// The doorbell rang.
    pub fn wake(&mut self) -> Result<(), Broken> {
        self.awake = true;
        self.queue.disable_notification(&*self.memory).map_err(broken("cannot wake"))
    }

    /// Takes the next chain. Without one the device goes to sleep, but not before it has asked to
    /// be told and looked once more.
    pub fn take(&mut self) -> Result<Option<Chain>, Broken> {
        while self.awake {
            let next = self.queue.iter(self.memory.clone()).map_err(broken("available ring"))?.next();
            if let Some(chain) = next {
                self.taken += 1;
                if !self.held.insert(chain.head_index()) {
                    return Err(format!("chain {} is available twice", chain.head_index()));
                }
                if self.is_in_table(chain.head_index())? {
                    self.in_tables += 1;
                    if !self.may_have_tables {
                        return Err(format!("chain {} is in a table", chain.head_index()));
                    }
                }
                return Chain::new(chain, self.memory.clone()).map(Some);
            }
            self.awake = self.queue.enable_notification(&*self.memory).map_err(broken("cannot sleep"))?;
        }
        Ok(None)
    }

    /// Whether the descriptor numbered `head` leads to a table: `virtio-queue` follows it without a
    /// word.
    fn is_in_table(&self, head: u16) -> Result<bool, Broken> {
        let flags_at = GuestAddress(self.queue.desc_table() + 16 * u64::from(head) + 12);
        let flags: u16 = self.memory.read_obj(flags_at).map_err(|error| format!("chain {head}: {error}"))?;
        Ok(flags & INDIRECT != 0)
    }

    /// Gives a chain back into which `written_bytes` were written.
    pub fn give(&mut self, chain: &Chain, written_bytes: usize) -> Result<(), Broken> {
        let head = chain.chain.head_index();
        if !self.held.remove(&head) {
            return Err(format!("chain {head} is given back twice, by this device"));
        }
        let written_bytes = u32::try_from(written_bytes).map_err(|_| "written more than fits".to_owned())?;
        self.queue.add_used(&*self.memory, head, written_bytes).map_err(broken("used ring"))
    }

    /// Interrupts, if the driver wants to hear of what was given back since the last call.
    pub fn signal(&mut self) -> Result<(), Broken> {
        self.interrupt |= self.queue.needs_notification(&*self.memory).map_err(broken("used event"))?;
        Ok(())
    }
}

/// A chain that the device has.
#[derive(Clone)]
pub struct Chain {
    chain: DescriptorChain<Memory>,
    memory: Memory,
    /// What the driver wrote.
    pub readable: Vec<u8>,
    /// How long the buffers are that the device may write.
    pub writable_bytes: usize,
    /// How many of those there are.
    pub writable: usize,
}

impl Chain {
    /// Reads a chain and holds it to the rules: it ends, all of it is memory, and what the device
    /// may write comes behind what it reads.
    ///
    /// Spec: VIRTIO 1.2, 2.7.4.2 "Driver Requirements: Message Framing".
    fn new(chain: DescriptorChain<Memory>, memory: Memory) -> Result<Self, Broken> {
        let head = chain.head_index();
        let links: Vec<_> = chain.clone().collect();
        let said = |what: &str, error: &dyn Debug| format!("chain {head}: {what}: {error:?}: {links:?}");
        // The walk ends at the first link that is none.
        if links.last().is_none_or(|last| last.has_next()) {
            return Err(said("does not end", &links.len()));
        }
        if !links.is_sorted_by_key(|link| link.is_write_only()) {
            return Err(said("readable behind writable", &links.len()));
        }
        if let Some(empty) = links.iter().find(|link| link.len() == 0) {
            return Err(said("an empty buffer", empty));
        }
        let mut readable = Vec::new();
        let mut reader = chain.clone().reader(&memory).map_err(|error| said("unreadable", &error))?;
        reader.read_to_end(&mut readable).map_err(|error| said("unreadable", &error))?;
        let writer = chain.clone().writer(&memory).map_err(|error| said("unwritable", &error))?;
        let writable_bytes = writer.available_bytes();
        let writable = links.iter().filter(|link| link.is_write_only()).count();
        Ok(Self { chain, readable, writable_bytes, writable, memory })
    }

    /// Writes `bytes`, `skip_bytes` from the start of what may be written.
    pub fn write(&self, skip_bytes: usize, bytes: &[u8]) -> Result<(), Broken> {
        let said =
            |error: &dyn Debug| format!("{} bytes do not fit behind {skip_bytes}: {error:?}", bytes.len());
        let mut writer = self.chain.clone().writer(&self.memory).map_err(|error| said(&error))?;
        let mut rest = writer.split_at(skip_bytes).map_err(|error| said(&error))?;
        rest.write_all(bytes).map_err(|error| said(&error))
    }
}
