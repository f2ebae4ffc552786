//! Segments of connections that are spliced.

use paravane_hal::time::Instant;

use super::Path;
use crate::balance::{Balancer, Came, Decision, Spliced};
use crate::drops::Reason;
use crate::flow::{Hit, Key, Segment};

impl Path {
    /// Takes a segment of no flow, for a service whose connections are spliced: a SYN is answered
    /// where it came from, and whoever answers that gets a server.
    #[cold]
    pub(super) fn ask(
        &mut self,
        mut came: Came,
        number: u16,
        key: &Key,
        segment: Option<&Segment>,
        now: Instant,
    ) {
        let Self { egress, balancer, .. } = self;
        let (Some(balancer), Some(segment)) = (balancer, segment) else {
            return egress.drop(came.from, came.frame, Reason::Length);
        };
        let is_syn = segment.is_syn();
        let taken = if is_syn {
            let may_ask = balancer.may_ask(number, key, &egress.ways.routes, now);
            may_ask
                .map_err(Decision::not)
                .and_then(|()| balancer.answer_syn(number, &mut came, key, segment, now))
        } else {
            balancer.take_cookie(number, &came, key, &egress.ways.routes, now)
        };
        match taken {
            Ok(()) if is_syn => egress.emit(came.from, came.from, came.frame),
            // What data it has comes again, once there is a server.
            Ok(()) => drop(came.frame),
            Err(Decision::Refuse(reason)) => self.refuse(came, key, reason, now),
            Err(Decision::Drop(reason)) => egress.drop(came.from, came.frame, reason),
            Err(_) => egress.drop(came.from, came.frame, Reason::NoFlow),
        }
        self.send_spliced(now);
    }

    /// Takes a segment of a flow that is spliced.
    pub(super) fn splice(
        &mut self,
        came: Came,
        hit: Hit,
        key: &Key,
        segment: Option<&Segment>,
        now: Instant,
    ) {
        let Some((mut came, way)) = self.fitting(came, hit, now) else { return };
        let Some(balancer) = &mut self.balancer else { return };
        match balancer.spliced(hit, &mut came, segment, now) {
            Spliced::Goes => self.go_by(came, hit, way, now),
            Spliced::Taken => drop(came.frame),
            Spliced::Begins(number) => return self.ask(came, number, key, segment, now),
            Spliced::Drop(reason) => self.egress.drop(came.from, came.frame, reason),
        }
        self.send_spliced(now);
    }

    /// Sends what connections that are spliced have to be sent by us.
    pub(super) fn send_spliced(&mut self, now: Instant) {
        // Ends: see there.
        while let Some(frame) = self.next_of_splices(now) {
            self.send(frame, now);
        }
    }

    fn next_of_splices(&mut self, now: Instant) -> Option<paravane_net::Frame> {
        let Self { egress, balancer, .. } = self;
        balancer
            .as_deref_mut()
            .and_then(|balancer: &mut Balancer| balancer.take_frame(&egress.ways.routes, now))
    }
}
