//! A load balancer between the same links: clients beyond the gateway, servers on the private link.

mod begin;
mod errors;
mod fragments;
mod many;
mod own;
mod refused;
mod servers;
mod straight;
mod support;
