//! Which balancer a router sends a connection to.

/// How a router spreads connections over balancers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Each balancer has a stretch of all hashes, and all stretches are as long. What Linux does
    /// with the next hops of a route.
    ///
    /// Spec: RFC 2992, 2 "Hash-Threshold".
    Threshold,
    /// By the rest of the hash divided by the number of balancers.
    Modulo,
    /// By buckets, of which only those change hands that have to. What Linux does with a resilient
    /// next-hop group.
    Resilient,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Threshold, Self::Modulo, Self::Resilient];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Threshold => "threshold",
            Self::Modulo => "modulo",
            Self::Resilient => "resilient",
        }
    }
}

/// So many buckets a resilient group has.
const BUCKETS: usize = 1 << 14;

/// What a router does, for a time.
#[derive(Clone, Debug)]
pub(crate) struct Ecmp {
    kind: Kind,
    /// Balancers that are there; of a resilient group, the balancer of each bucket.
    balancers: Vec<u16>,
}

impl Ecmp {
    /// Over all balancers.
    pub(crate) fn new(kind: Kind, all: u16) -> Self {
        let balancers = match kind {
            Kind::Resilient => (0..all).cycle().take(BUCKETS).collect(),
            Kind::Threshold | Kind::Modulo => (0..all).collect(),
        };
        Self { kind, balancers }
    }

    /// The same, once those balancers are there and no others.
    pub(crate) fn then(&self, there: &[u16]) -> Self {
        let mut balancers = there.to_vec();
        if self.kind == Kind::Resilient {
            balancers = moved(&self.balancers, there);
        }
        Self { kind: self.kind, balancers }
    }

    /// The balancer of a connection with that hash.
    pub(crate) fn of(&self, hash: u32) -> u16 {
        let count = self.balancers.len() as u64;
        let hash = u64::from(hash);
        let place = match self.kind {
            Kind::Threshold | Kind::Resilient => (hash * count) >> 32,
            Kind::Modulo => hash % count.max(1),
        };
        self.balancers.get(place as usize).copied().unwrap_or(0)
    }
}

/// The buckets once those are there: each balancer has its share, and keeps what it had of that.
fn moved(buckets: &[u16], there: &[u16]) -> Vec<u16> {
    let (each, more) = (buckets.len() / there.len().max(1), buckets.len() % there.len().max(1));
    let most = there.iter().map(|balancer| usize::from(*balancer) + 1).max().unwrap_or(0);
    let mut left = vec![0; most];
    for (number, balancer) in there.iter().enumerate() {
        left[usize::from(*balancer)] = each + usize::from(number < more);
    }
    let keeps = |bucket: &u16, left: &mut Vec<usize>| {
        let share = left.get_mut(usize::from(*bucket))?;
        *share = share.checked_sub(1)?;
        Some(*bucket)
    };
    let kept: Vec<_> = buckets.iter().map(|bucket| keeps(bucket, &mut left)).collect();
    let mut takers = there.iter().flat_map(|balancer| {
        std::iter::repeat_n(*balancer, left.get(usize::from(*balancer)).copied().unwrap_or(0))
    });
    kept.into_iter().map(|kept| kept.or_else(|| takers.next()).unwrap_or(0)).collect()
}
