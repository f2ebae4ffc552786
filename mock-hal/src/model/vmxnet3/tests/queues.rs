//! One queue among others.

use super::*;

#[test]
fn queues_are_known_by_number() {
    let hand = Hand::up(Personality::qemu(), 2);
    hand.post_tx(1, 0, &frame(MAC, 60), 0, 0b11 << 12);
    hand.write(0, bar0::TXPROD + bar0::STRIDE, 1);
    assert_eq!(hand.model().take_sent().len(), 1);
    assert_eq!(hand.get32(TX + 0x1000 + COMPLETIONS + 12), 1 << 31, "in its own completion ring");
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
