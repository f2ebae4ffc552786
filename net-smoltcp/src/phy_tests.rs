use super::*;
use core::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use paravane_net::{ChecksumRequest, MacAddr, RxCounters, TxCounters};
