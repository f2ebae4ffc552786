//! Receiving.

mod single;

pub use single::RxQueue;
pub(crate) use single::RxRing;
