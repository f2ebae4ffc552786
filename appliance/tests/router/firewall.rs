//! A firewall's rules on the path.

mod agree;
mod begin;
mod fragments;
mod messages;
mod opening;
mod own;
mod services;
mod storm;
pub mod support;
