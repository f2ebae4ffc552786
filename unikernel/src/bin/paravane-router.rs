//! The image that routes between its NICs, and says over HTTP on the first one how that goes.

#![no_std]
#![no_main]

use paravane_unikernel::app::router::program;

paravane_unikernel::entry!(program::run);
