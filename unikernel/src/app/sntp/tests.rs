use proptest::prelude::*;

use super::*;

const NUMBER: u64 = 0x0123_4567_89ab_cdef;

fn at(seconds: u64) -> Instant {
    Instant::default().saturating_add(Duration::from_secs(seconds))
}

/// An answer that is good, and says that it is the first second of 2026.
fn answer() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    (bytes[0], bytes[1]) = (4 << 3 | 4, 2);
    bytes[24..32].copy_from_slice(&NUMBER.to_be_bytes());
    // A quarter of a second between question and answer.
    let seconds: u64 = 1_767_225_600 + 2_208_988_800;
    bytes[32..40].copy_from_slice(&(seconds << 32).to_be_bytes());
    bytes[40..48].copy_from_slice(&(seconds << 32 | 1 << 30).to_be_bytes());
    bytes
}

#[test]
fn a_question_says_nothing_but_its_number() {
    let mut client = Client::new(at(1));
    assert!(client.ask(Instant::default(), NUMBER).is_none(), "it is too early");
    let question = client.ask(at(1), NUMBER).unwrap();
    assert_eq!(
        (question[0], &question[1..40], &question[40..]),
        (0x23, &[0; 39][..], &NUMBER.to_be_bytes()[..])
    );
    assert!(client.ask(at(2), NUMBER).is_none(), "one at a time");
}

#[test]
fn the_time_is_that_of_the_server_and_half_of_the_way() {
    let mut client = Client::new(at(0));
    let _ = client.ask(at(10), NUMBER);
    let now = at(10).saturating_add(Duration::from_millis(450));
    assert!(client.receive(&answer(), now));
    // It left a quarter into the second, and was 0.1 s on its way.
    let unix_us = 1_767_225_600_000_000 + 250_000 + 100_000;
    assert_eq!(client.offset_us(), Some(unix_us - 10_450_000));
    assert_eq!((client.good(), client.trouble()), (1, None));
    assert_eq!(client.due(), Some(now.saturating_add(Duration::from_secs(1024))));
    assert!(!client.receive(&answer(), now), "nothing was asked");
}

#[test]
fn an_answer_to_another_question_is_none() {
    let mut client = Client::new(at(0));
    let _ = client.ask(at(0), NUMBER);
    for (byte, value) in [(0, 4 << 3 | 3), (0, 2 << 3 | 4), (0, 5 << 3 | 4), (24, 2), (31, 0)] {
        let mut other = answer();
        other[byte] = value;
        assert_eq!(Answer::read(&other, NUMBER), Err(Unusable::NotOurs), "byte {byte}: {value:#x}");
        assert!(!client.receive(&other, at(1)));
    }
    assert!(!client.receive(&answer()[..47], at(1)) && client.trouble().is_none());
    assert!(client.receive(&answer(), at(1)), "the right one is still waited for");
}

#[test]
fn a_server_that_does_not_know_the_time_is_asked_again_later() {
    for (byte, value) in [(0, 3 << 6 | 4 << 3 | 4), (1, 16), (1, 0), (5, 1), (9, 1), (4, 0x80), (8, 0x80)] {
        let mut bad = answer();
        bad[byte] = value;
        let mut client = Client::new(at(0));
        let _ = client.ask(at(0), NUMBER);
        assert!(!client.receive(&bad, at(1)), "byte {byte}: {value:#x}");
        assert_eq!(client.trouble(), Some(Trouble::Unusable(Unusable::NotSynchronised)), "byte {byte}");
        assert_eq!((client.due(), client.offset_us()), (Some(at(17)), None));
    }
    let mut never = answer();
    never[40..].fill(0);
    assert_eq!(Answer::read(&never, NUMBER), Err(Unusable::NotSynchronised));
}

#[test]
fn pauses_grow_while_nobody_answers() {
    let mut client = Client::new(at(0));
    let mut now = 0;
    for pause in [16, 32, 64, 128, 256, 512, 1024, 1024] {
        assert!(client.ask(at(now), NUMBER).is_some(), "{now}");
        assert_eq!(client.due(), Some(at(now + 4)));
        assert!(client.ask(at(now + 4), NUMBER).is_none());
        assert_eq!((client.due(), client.trouble()), (Some(at(now + 4 + pause)), Some(Trouble::Silence)));
        now += 4 + pause;
    }
    let _ = client.ask(at(now), NUMBER);
    assert!(client.receive(&answer(), at(now + 1)));
    let _ = client.ask(at(now + 1025), NUMBER);
    assert!(client.ask(at(now + 1029), NUMBER).is_none());
    assert_eq!(client.due(), Some(at(now + 1029 + 16)), "after a good one, pauses begin anew");
}

#[test]
fn a_server_that_wants_less_is_asked_less() {
    let kiss = |code: &[u8; 4]| {
        let mut bytes = answer();
        bytes[1] = 0;
        bytes[12..16].copy_from_slice(code);
        let mut client = Client::new(at(0));
        let _ = client.ask(at(0), NUMBER);
        assert!(!client.receive(&bytes, at(1)));
        client.due()
    };
    assert_eq!(kiss(b"RATE"), Some(at(1025)));
    assert_eq!((kiss(b"DENY"), kiss(b"RSTR")), (None, None));
    assert_eq!(kiss(b"INIT"), Some(at(17)));
    // From who has not seen the question it means nothing.
    let mut client = Client::new(at(0));
    let _ = client.ask(at(0), NUMBER);
    let mut forged = answer();
    (forged[1], forged[24]) = (0, 9);
    forged[12..16].copy_from_slice(b"DENY");
    assert!(!client.receive(&forged, at(1)));
    assert_eq!(client.due(), Some(at(4)));
}

#[test]
fn times_that_cannot_be_are_refused() {
    let mut client = Client::new(at(0));
    let _ = client.ask(at(0), NUMBER);
    // It says to have held the question for longer than it was away.
    assert!(!client.receive(&answer(), at(0).saturating_add(Duration::from_millis(249))));
    assert_eq!(client.trouble(), Some(Trouble::Unusable(Unusable::Times)));
    let mut backwards = answer();
    backwards[32..40].copy_from_slice(&u64::MAX.to_be_bytes());
    assert_eq!(Answer::read(&backwards, NUMBER).unwrap().unix_us(1_000_000), None);
}

#[test]
fn after_2036_seconds_begin_anew() {
    let mut later = answer();
    // 2^32 s after 1900 began, on 7 February 2036 at 06:28:16, and half a second.
    later[32..40].copy_from_slice(&(u64::MAX << 32).to_be_bytes());
    later[40..48].copy_from_slice(&(1_u64 << 31).to_be_bytes());
    let unix_us = Answer::read(&later, NUMBER).unwrap().unix_us(1_500_000);
    assert_eq!(unix_us, Some(2_085_978_496_500_000));
}

proptest! {
    #[test]
    fn no_bytes_confuse_it(bytes in proptest::collection::vec(any::<u8>(), 0..80), number in any::<u64>(), millis in 0_u64..10_000) {
        let mut client = Client::new(at(0));
        let _ = client.ask(at(0), number);
        let now = at(0).saturating_add(Duration::from_millis(millis));
        let before = client.due();
        if client.receive(&bytes, now) {
            prop_assert_eq!(&bytes[24..32], &number.to_be_bytes()[..]);
        }
        prop_assert!(before.is_some());
    }
}
