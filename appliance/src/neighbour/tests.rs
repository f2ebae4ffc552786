//! One box with an interface, and the link beyond it: frames from there are made, and those to
//! there read, by smoltcp.

mod heard;
mod limits;
mod said;
mod states;
mod storm;
mod support;
mod wire;
