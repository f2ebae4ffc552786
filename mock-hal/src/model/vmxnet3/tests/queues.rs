//! One queue among others.

use super::*;

#[test]
fn queues_are_known_by_number() {
    let hand = Hand::up(Personality::qemu(), 2);
    hand.post_tx(1, 0, &frame(MAC, 60), 0, 0b11 << 12);
    hand.write(0, bar0::TXPROD + bar0::STRIDE, 1);
    assert_eq!(hand.model().take_sent().len(), 1);
    assert_eq!(hand.get32(TX + STRIDE + COMPLETIONS + 12), 1 << 31, "in its own completion ring");
    assert_eq!(hand.get32(TX + COMPLETIONS + 12), 0);
    hand.write(0, bar0::RXPROD + bar0::STRIDE, 1);
    assert_eq!(hand.violations(), [""; 0]);
    hand.write(0, bar0::TXPROD + 2 * bar0::STRIDE, 1);
    assert_eq!(hand.violations(), ["BAR0 register 0x610, which does not exist, written"]);
}

#[test]
fn numbers_of_queues_have_a_limit() {
    for (queues, is_legal) in [(0, false), (1, true), (3, false), (4, true), (8, true), (16, false)] {
        let hand = Hand::new(Personality::qemu(), queues.min(4));
        hand.put(shared::NUM_TX_QUEUES, &[queues]);
        hand.put(shared::NUM_RX_QUEUES, &[1]);
        hand.command(cmd::ACTIVATE_DEV);
        let said = hand.violations();
        assert_eq!(!said.contains(&"at activation: numTxQueues".to_owned()), is_legal, "{queues}: {said:?}");
    }
}

#[test]
fn only_the_queue_that_stopped_stands_still() {
    let hand = Hand::up(Personality::qemu(), 1);
    hand.post_rx(0, 0);
    hand.model().stop_queue(QueueId::Rx(0), stop::SMALL_BUF);
    assert!(!hand.model().deliver(&frame(MAC, 60)));
    hand.send(0, &frame(MAC, 60), 0, 0);
    assert_eq!(hand.model().take_sent().len(), 1);
    assert_eq!(hand.get32(shared::ECR), ecr::RQERR);
    hand.write(1, bar1::ECR, ecr::RQERR);
    assert_eq!(hand.get32(shared::ECR), 0);
}

#[test]
fn each_queue_has_its_own_rings_doorbell_vector_status_and_counters() {
    const QUEUES: u8 = 32;
    let hand = Hand::revised(Personality::esxi(), 6, QUEUES);
    let [auto_mask, intr_ctrl] = interrupt_conf(QUEUES);
    hand.put(auto_mask, &[1, 65, 64]);
    let queues = || 0..u64::from(QUEUES);
    let tx_desc = |queue: u64| TABLE + queue * queue_desc::BYTES;
    let rx_desc = |queue: u64| tx_desc(queue + u64::from(QUEUES));
    for queue in 0..QUEUES {
        hand.put(tx_desc(queue.into()) + queue_desc::INTR_IDX, &[queue]);
        hand.put(rx_desc(queue.into()) + queue_desc::INTR_IDX, &[QUEUES + queue]);
    }
    hand.device.config.write16(AT, 0x9c + 2, 1 << 15);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0, "{:?}", hand.model().violations);
    for command in [cmd::UPDATE_RX_MODE, cmd::UPDATE_VLAN_FILTERS] {
        hand.command(command);
    }
    hand.put32(intr_ctrl, 0);
    (0..65).for_each(|vector| hand.write(0, bar0::IMR + vector * bar0::STRIDE, 0));
    for queue in queues() {
        let doorbell = |register: usize| register + queue as usize * bar0::STRIDE;
        hand.post_tx(queue as u32, 0, &frame(MAC, 60 + queue as usize), 0, 0b11 << 12);
        hand.write(0, doorbell(bar0::TXPROD), 1);
        let sent = hand.model().take_sent();
        assert_eq!((sent[0].queue, sent[0].bytes.len()), (queue as usize, 60 + queue as usize));
        assert_eq!(hand.get32(TX + queue * STRIDE + COMPLETIONS + 12), 1 << 31);

        let buffers = 1000 + 2 * queue as u32;
        hand.post(RX + queue * STRIDE, 0, 0, buffers);
        hand.write(0, doorbell(bar0::RXPROD), 1);
        hand.post(RX + queue * STRIDE + RING2, 1 << 14, 0, buffers + 1);
        hand.write(0, doorbell(bar0::RXPROD2), 1);
        assert!(hand.model().deliver_to(queue as usize, &frame(MAC, 300)));
        let word0 = |slot: u64| hand.get32(RX + queue * STRIDE + COMPLETIONS + slot * 16);
        let ids = [0, 1].map(|slot| word0(slot) >> 16 & 0x3ff);
        assert_eq!(ids, [queue as u32, queue as u32 + 32]);
    }
    let vectors: Vec<_> = (0..QUEUES).flat_map(|queue| [queue, QUEUES + queue]).collect();
    assert_eq!(hand.model().interrupts, vectors);
    hand.command(cmd::GET_STATS);
    for queue in queues() {
        let bytes = |desc: u64| hand.get32(desc + queue_desc::STATS + 8 * (at::UCAST as u64 + 1));
        assert_eq!((bytes(tx_desc(queue)), bytes(rx_desc(queue))), (60 + queue as u32, 300));
    }
    hand.model().stop_queue(QueueId::Tx(31), stop::NOEOP);
    hand.model().stop_queue(QueueId::Rx(7), stop::SMALL_BUF);
    hand.command(cmd::GET_QUEUE_STATUS);
    let stopped =
        |desc: u64| (hand.get::<1>(desc + queue_desc::STOPPED), hand.get32(desc + queue_desc::ERROR));
    for queue in queues() {
        assert_eq!(stopped(tx_desc(queue)), if queue == 31 { ([1], stop::NOEOP) } else { ([0], 0) });
        assert_eq!(stopped(rx_desc(queue)), if queue == 7 { ([1], stop::SMALL_BUF) } else { ([0], 0) });
    }
    assert_eq!(hand.model().interrupts.last(), Some(&64), "events have their own");
    assert_eq!(hand.violations(), [""; 0]);
    assert_eq!(hand.platform.memory().violations(), [""; 0]);
}

#[test]
fn what_a_revision_takes_is_what_it_says() {
    let refused = |personality, revision, tx, rx| {
        let hand = Hand::revised(personality, revision, 8);
        hand.put(shared::NUM_TX_QUEUES, &[tx, rx]);
        hand.command(cmd::ACTIVATE_DEV);
        let said = hand.violations();
        ["numTxQueues", "numRxQueues"].map(|what| said.contains(&format!("at activation: {what}")))
    };
    let esxi = Personality::esxi();
    assert_eq!(refused(esxi, 5, 8, 16), [false, false]);
    assert_eq!(refused(esxi, 5, 16, 32), [true, true]);
    assert_eq!(refused(esxi, 5, 6, 6), [true, true], "powers of two");
    assert_eq!(refused(esxi, 6, 6, 31), [false, false]);
    assert_eq!(refused(esxi, 6, 33, 33), [true, true]);
    assert_eq!(refused(esxi.with_queues(2, 4), 1, 2, 4), [false, false]);
    assert_eq!(refused(esxi.with_queues(2, 4), 1, 4, 8), [true, true]);
    let hand = Hand::revised(esxi.with_queues(2, 4), 6, 1);
    assert_eq!(hand.command(cmd::GET_MAX_QUEUES_CONF), 0x0402);
}

#[test]
fn more_vectors_are_for_more_queues() {
    for (queues, vectors, is_legal) in [(8, 25, true), (8, 26, false), (16, 65, true), (16, 66, false)] {
        let hand = Hand::revised(Personality::esxi(), 6, queues);
        hand.put(interrupt_conf(queues)[0], &[1, vectors]);
        assert_eq!(hand.command(cmd::ACTIVATE_DEV) == 0, is_legal, "{queues} {vectors}");
    }
    for (personality, vectors) in
        [(Personality::qemu(), 25), (Personality::esxi(), 65), (Personality::esxi().up_to(5), 25)]
    {
        let hand = Hand::new(personality, 1);
        assert_eq!(hand.device.config.read16(AT, 0x9c + 2) & 0x7ff, vectors - 1);
    }
}

#[test]
fn a_completion_can_be_put_into_any_queue() {
    let hand = Hand::up(Personality::qemu(), 2);
    hand.model().complete_tx_in(1, 5);
    hand.model().complete_rx_in(1, [7 | 1 << 16, 0, 0, 0]);
    assert_eq!(hand.get32(TX + STRIDE + COMPLETIONS), 5);
    assert_eq!(hand.get32(RX + STRIDE + COMPLETIONS), 7 | 1 << 16);
    hand.post(RX + STRIDE, 0, 0, 40);
    hand.post(RX + STRIDE, 0, 1, 41);
    hand.model().skip_in(1, 0, 1);
    hand.model().return_unused_in(1);
    assert_eq!(hand.get32(RX + STRIDE + COMPLETIONS + 16), 1 | 1 << 16 | 0b11 << 14);
}

#[test]
fn a_fault_stops_the_queue_that_it_is_about() {
    let hand = Hand::up(Personality::qemu(), 2);
    let stop = |point| Fault::nth(point, 1, Action::StopQueue { code: stop::NOEOP });
    hand.model().faults = FaultPlan::new([stop(FaultPoint::Doorbell)]);
    hand.write(0, bar0::TXPROD + bar0::STRIDE, 0);
    hand.command(cmd::GET_QUEUE_STATUS);
    let stopped = |desc: u64| hand.get::<1>(TABLE + desc * queue_desc::BYTES + queue_desc::STOPPED)[0];
    assert_eq!([0, 1, 2, 3].map(stopped), [0, 1, 0, 0]);
    hand.model().faults = FaultPlan::new([stop(FaultPoint::RxCompletion)]);
    hand.model().complete_rx_in(1, [0; 4]);
    hand.command(cmd::GET_QUEUE_STATUS);
    assert_eq!([0, 1, 2, 3].map(stopped), [0, 1, 0, 1]);
}

#[test]
fn a_device_with_several_queues_makes_completions_up_in_each() {
    let hand = Hand::up(Personality::qemu(), 2);
    for index in [0, 1, 1 << 13, 1 << 13 | 1].map(|queue| queue | 3 << 1) {
        let invent = Action::Invent { index };
        hand.model().faults = FaultPlan::new([Fault::nth(FaultPoint::Tick, 1, invent)]);
        hand.model().tick();
    }
    for queue in 0..2 {
        assert_eq!(hand.get32(TX + queue * STRIDE + COMPLETIONS) & 0xfff, 3);
        assert_eq!(hand.get32(RX + queue * STRIDE + COMPLETIONS) & 0x3ff_0fff, 3 | (queue as u32) << 16);
    }
}
