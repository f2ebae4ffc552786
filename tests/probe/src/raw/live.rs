//! What a device is shown at activation: `DriverShared`, the table of queues, rings.

use alloc::vec::Vec;

use paravane_hal::Platform;
use paravane_hal::dma::{DeviceDma, DmaError, Quiet};

use super::block::Block;
use super::layout::{queue, shared};
use super::ring::{ENTRIES, RxQueue, TxRing};

/// What a bring-up is to come to. Facts change what it wrote before they activate.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Of the protocol.
    pub(crate) revision: u8,
    pub(crate) tx_queues: u8,
    pub(crate) rx_queues: u8,
    /// Interrupts by messages, all by vector 0.
    pub(crate) interrupts: bool,
    pub(crate) auto_mask: bool,
    /// Receive buffers are posted, and told of.
    pub(crate) fills: bool,
}

/// Memory of one bring-up.
pub(crate) struct Live<P: Platform> {
    pub(crate) plan: Plan,
    pub(crate) shared: Block<P>,
    pub(crate) table: Block<P>,
    pub(crate) tx: Vec<TxRing<P>>,
    pub(crate) rx: Vec<RxQueue<P>>,
    /// For what a command points at.
    pub(crate) scratch: Block<P>,
    /// For what the device receives beside buffers.
    pub(crate) slots: Block<P>,
}

/// Room for more queues than any device takes.
const TABLE_BYTES: usize = 256 * queue::BYTES;

impl<P: Platform> Live<P> {
    pub(crate) fn new(of: &DeviceDma<P>, plan: Plan) -> Result<Self, DmaError> {
        let mut live = Self {
            plan,
            shared: Block::new(of, shared::BYTES)?,
            table: Block::new(of, TABLE_BYTES)?,
            tx: (0..plan.tx_queues).map(|_| TxRing::new(of)).collect::<Result<_, _>>()?,
            rx: (0..plan.rx_queues).map(|_| RxQueue::new(of)).collect::<Result<_, _>>()?,
            scratch: Block::new(of, 4096)?,
            slots: Block::new(of, 4 * 4096)?,
        };
        live.describe();
        Ok(live)
    }

    /// Where in the table the descriptor of a transmit queue is.
    pub(crate) fn tx_desc(&self, queue: usize) -> usize {
        queue.wrapping_mul(queue::BYTES)
    }

    /// The same of a receive queue.
    pub(crate) fn rx_desc(&self, queue: usize) -> usize {
        self.tx_desc(usize::from(self.plan.tx_queues).wrapping_add(queue))
    }

    fn describe(&mut self) {
        let Plan { tx_queues, rx_queues, auto_mask, .. } = self.plan;
        let shared = &self.shared;
        shared.put32(shared::MAGIC, shared::MAGIC_VALUE);
        shared.put32(shared::VERSION, 0x0001_0000);
        shared.put32(shared::GOS, shared::GOS_VALUE);
        shared.put32(shared::REV_SPT, 1);
        shared.put32(shared::UPT_SPT, 1);
        shared.put64(shared::QUEUE_DESC_PA, self.table.address(0));
        let queues = u32::from(tx_queues).wrapping_add(rx_queues.into());
        shared.put32(shared::QUEUE_DESC_LEN, queues.wrapping_mul(queue::LEN));
        shared.put32(shared::MTU, 1500);
        shared.put16(shared::MAX_NUM_RX_SG, 4);
        shared.put8(shared::NUM_TX_QUEUES, tx_queues);
        shared.put8(shared::NUM_RX_QUEUES, rx_queues);
        // One vector, whichever place the device looks in: none may be beyond what it is told of.
        for (conf, ctrl) in
            [(shared::INTR_CONF, shared::INTR_CTRL), (shared::INTR_CONF_EXT, shared::INTR_CTRL_EXT)]
        {
            shared.put(conf, &[auto_mask.into(), 1, 0]);
            shared.put32(ctrl, 1);
        }
        self.set_vlans(u32::MAX);
        for queue in 0..tx_queues.into() {
            self.describe_tx(queue, queue);
        }
        for queue in 0..rx_queues.into() {
            self.describe_rx(queue, queue);
        }
    }

    /// Accepts all VLANs whose bit is set in `word`, the same for each 32 of them.
    pub(crate) fn set_vlans(&self, word: u32) {
        for index in 0..shared::VF_TABLE_WORDS {
            self.shared.put32(shared::VF_TABLE.wrapping_add(index.wrapping_mul(4)), word);
        }
    }

    /// Gives transmit queue `queue` the rings of `of`.
    pub(crate) fn describe_tx(&self, queue: usize, of: usize) {
        let Some(rings) = self.tx.get(of) else { return };
        let at = |field: usize| self.tx_desc(queue).wrapping_add(field);
        self.table.put64(at(queue::RING_BASE_PA), rings.ring.address(0));
        self.table.put32(at(queue::RING_SIZE), ENTRIES);
        self.table.put64(at(queue::COMP_RING_BASE_PA), rings.completions.ring.address(0));
        self.table.put32(at(queue::COMP_RING_SIZE), rings.completions.entries());
    }

    /// Gives receive queue `queue` the rings of `of`.
    pub(crate) fn describe_rx(&self, queue: usize, of: usize) {
        let Some(RxQueue { rings: [first, second], completions, .. }) = self.rx.get(of) else { return };
        let at = |field: usize| self.rx_desc(queue).wrapping_add(field);
        self.table.put64(at(queue::RING_BASE_PA), first.ring.address(0));
        self.table.put32(at(queue::RING_SIZE), ENTRIES);
        self.table.put64(at(queue::RING2_BASE_PA), second.ring.address(0));
        self.table.put32(at(queue::RING2_SIZE), ENTRIES);
        self.table.put64(at(queue::COMP_RING_BASE_PA), completions.ring.address(0));
        self.table.put32(at(queue::COMP_RING_SIZE), completions.entries());
    }

    /// A counter of the queue whose descriptor is at `desc`, as `GET_STATS` left it.
    pub(crate) fn counter(&self, desc: usize, index: usize) -> u64 {
        self.table.get64(desc.wrapping_add(queue::STATS).wrapping_add(index.wrapping_mul(8)))
    }

    /// Gives all of it back.
    pub(crate) fn free(self, quiet: &Quiet<'_>) {
        let Self { shared, table, tx, rx, scratch, slots, .. } = self;
        [shared, table, scratch, slots].into_iter().for_each(|block| block.free(quiet));
        tx.into_iter().for_each(|queue| queue.free(quiet));
        rx.into_iter().for_each(|queue| queue.free(quiet));
    }
}
