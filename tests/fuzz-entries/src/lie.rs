//! A lie out of bytes: where in its work the device tells it, how late, and what it is.

use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};

use crate::input::Input;

/// Where network devices lie.
pub(crate) const NET_POINTS: [FaultPoint; 11] = [
    FaultPoint::RegisterRead,
    FaultPoint::RegisterWrite,
    FaultPoint::Doorbell,
    FaultPoint::Command,
    FaultPoint::Features,
    FaultPoint::TxCompletion,
    FaultPoint::RxCompletion,
    FaultPoint::Frame,
    FaultPoint::Interrupt,
    FaultPoint::Tick,
    // Last: seeds choose by number.
    FaultPoint::Reply,
];

/// Where disks lie.
pub(crate) const BLK_POINTS: [FaultPoint; 7] = [
    FaultPoint::RegisterRead,
    FaultPoint::RegisterWrite,
    FaultPoint::Doorbell,
    FaultPoint::Features,
    FaultPoint::RequestCompletion,
    FaultPoint::Interrupt,
    FaultPoint::Tick,
];

const FIELDS: [Field; 7] = [
    // First: most points have no other, and zeros choose it.
    Field::Value,
    Field::Index,
    Field::Length,
    Field::Flags,
    Field::Generation,
    Field::Queue,
    Field::Kind,
];

/// The next lie, at one of `points`. It is told once, within the next 16 visits of its point.
pub(crate) fn lie<const N: usize>(points: [FaultPoint; N], input: &mut Input<'_>) -> Fault {
    let point = input.pick(points);
    let nth = 1 + u64::from(input.byte() % 16);
    let kind = input.byte() % 13;
    let field = input.pick(FIELDS);
    let value = input.word();
    let action = match kind {
        0 | 1 => Action::Set { field, value },
        2 => Action::Add { field, value },
        3 => Action::Flip { field, bits: value },
        4 => Action::Drop,
        5 => Action::Delay { ticks: value % 8 },
        6 => Action::Duplicate,
        7 => Action::Reorder,
        8 => Action::Invent { index: value },
        9 => Action::StopQueue { code: value },
        10 => Action::DemandReset,
        11 => Action::Refuse,
        _ => Action::AllOnes,
    };
    Fault::nth(point, nth, action)
}
