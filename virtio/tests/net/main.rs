//! The network driver against mock-hal's model of its device.
//!
//! | Part | Asks |
//! |---|---|
//! | `big` | does a device that writes a frame to one buffer have room for the longest? |
//! | `bring_up` | is every step of the specification taken, in order, and every failure named? |
//! | `commands` | does it do what it is told, and what if it does not? |
//! | `data` | do frames arrive whole, both ways, and is everybody told who wants to be? |
//! | `faults` | what does it make of each kind of fault? |
//! | `hashes` | does it say how frames were hashed, and is nothing else the worse for it? |
//! | `hostile` | what if the device lies? |
//! | `in_order` | is a device served that uses buffers in order, and reports several at once? |
//! | `large` | do packets that the device put together arrive, and leave as they came? |
//! | `lifecycle` | does everything come back at stop, and nothing before? |
//! | `loads` | is each word of a ring looked at once? |
//! | `pairs` | are all queues served, wherever frames go? |
//! | `platform` | is a narrow platform enough, and a poor one survived? |
//! | `recover` | does it come back as it was, whole or a queue at a time? |

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "one binary")]

mod big;
mod bounds;
mod bring_up;
mod commands;
mod data;
mod faults;
mod hashes;
mod hostile;
mod in_order;
mod large;
mod lifecycle;
mod loads;
mod pairs;
mod platform;
mod recover;
mod support;
