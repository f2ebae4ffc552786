//! A load balancer between the same links: clients beyond the gateway, servers on the private link.

mod begin;
mod bytes;
mod closing;
pub mod errors;
mod fragments;
mod halves;
mod many;
mod own;
mod refused;
mod servers;
mod splice;
mod straight;
pub mod support;
