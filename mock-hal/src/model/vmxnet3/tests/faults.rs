//! Lies about several queues, answers and interrupts.

use super::*;

fn plan(hand: &Hand, fault: Fault) {
    hand.model().faults = FaultPlan::new([fault]);
}

#[test]
fn a_transmit_completion_can_go_into_another_queues_ring() {
    let hand = Hand::up(Personality::qemu(), 4);
    let elsewhere = Action::Add { field: Field::Queue, value: 2 };
    plan(&hand, Fault::nth(FaultPoint::TxCompletion, 1, elsewhere).of(3));
    for queue in [2, 3, 3] {
        let slot = u32::from(hand.model().faults.hits() > 0);
        hand.post_tx(queue, slot, &frame(MAC, 60), 0, 0b11 << 12);
        hand.write(0, bar0::TXPROD + queue as usize * bar0::STRIDE, slot + 1);
    }
    let said = |queue: u64| hand.get32(TX + queue * STRIDE + COMPLETIONS + 12) >> 31;
    assert_eq!([0, 1, 2, 3].map(said), [0, 1, 1, 1], "3 + 2 is 1 of four");
    assert_eq!(hand.get32(TX + 3 * STRIDE + COMPLETIONS), 1, "the second one is its own");
    let alone = Hand::up(Personality::qemu(), 1);
    plan(&alone, Fault::always(FaultPoint::TxCompletion, elsewhere));
    alone.send(0, &frame(MAC, 60), 0, 0);
    assert_eq!(alone.model().faults.hits(), 0, "there is no other");
}

#[test]
fn a_receive_completion_can_name_another_queue() {
    let hand = Hand::up(Personality::qemu(), 2);
    plan(
        &hand,
        Fault::always(FaultPoint::RxCompletion, Action::Set { field: Field::Queue, value: 77 }).of(1),
    );
    for queue in 0..2 {
        hand.post(RX + queue * STRIDE, 0, 0, queue as u32);
        assert!(hand.model().deliver_to(queue as usize, &frame(MAC, 60)));
    }
    let id = |queue: u64| hand.get32(RX + queue * STRIDE + COMPLETIONS) >> 16 & 0x3ff;
    assert_eq!([id(0), id(1)], [0, 77]);
}

#[test]
fn an_answer_can_be_any() {
    let hand = Hand::up(Personality::esxi(), 1);
    let lie = Action::Set { field: Field::Value, value: 0xdead };
    plan(&hand, Fault::always(FaultPoint::Reply, lie).of(cmd::GET_CONF_INTR));
    assert_eq!(hand.command(cmd::GET_CONF_INTR), 0xdead);
    assert_eq!(hand.command(cmd::GET_LINK), 0x2710_0001);
    plan(&hand, Fault::nth(FaultPoint::Reply, 1, lie));
    assert_eq!(hand.command(cmd::QUIESCE_DEV), 0xdead);
    assert!(!hand.model().is_active(), "it was carried out");
}

#[test]
fn interrupts_can_be_too_many_and_others() {
    let hand = Hand::new(Personality::esxi(), 1);
    hand.put(shared::AUTO_MASK, &[1, 3, 2]);
    hand.put(TABLE + queue_desc::INTR_IDX, &[1]);
    hand.device.config.write16(AT, 0x9c + 2, 1 << 15);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0);
    hand.put32(shared::INTR_CTRL, 0);
    hand.write(0, bar0::IMR + bar0::STRIDE, 0);
    let raised = |action: Action, slot: u32| {
        plan(&hand, Fault::always(FaultPoint::Interrupt, action).of(1));
        hand.send(slot, &frame(MAC, 60), 0, 0);
        std::mem::take(&mut hand.model().interrupts)
    };
    assert_eq!(raised(Action::Duplicate, 0), [1, 1]);
    assert_eq!(raised(Action::Duplicate, 1), [1], "though it is masked");
    assert_eq!(raised(Action::Invent { index: 5 }, 2), [2], "and so is this one");
    assert_eq!(raised(Action::Drop, 3), [0; 0]);
    hand.model().faults.clear();
    hand.write(0, bar0::IMR + bar0::STRIDE, 0);
    assert_eq!(hand.model().interrupts, [1], "what waited comes when it may");
    assert_eq!(hand.violations(), [""; 0]);
}
