//! What the box says, for a collector on `admin`'s network.
//!
//! | Part | Holds |
//! |---|---|
//! | [`message`] | one message as a datagram |
//! | [`calendar`] | seconds since 1970 as date and time |
//! | [`kept`] | what was said and not sent yet: bounded, with the lost counted and the repeated limited |

pub mod calendar;
pub mod kept;
pub mod message;
