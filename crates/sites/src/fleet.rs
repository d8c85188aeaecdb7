//! All configured sites, in the order of the configuration.
//!
//! **Invariant.** Positions are those of `policy::Facts` and of `SiteSet`.
//!
//! **Deliberately absent.** Placement: `policy` decides, with [`Fleet::placing`] as a wish.
//!
//! **Crash.** Positions live as long as the process; what is stored names sites by their ids.

use crate::{Guarded, Operation};
use havre_model::{BlobId, SiteId, SiteSet, limits::SITES_MAX};
use havre_policy::spread::{SHARE_MAX, spread};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// The sites of a configuration, by position.
#[derive(Clone)]
pub struct Fleet {
    sites: Vec<Guarded>,
    positions: HashMap<SiteId, usize>,
    closed: Arc<Mutex<SiteSet>>,
    /// By position.
    shares: Arc<Mutex<Vec<Share>>>,
}

/// How much of what is stored a site should get, against the others, up to
/// [`SHARE_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Of what is stored next.
    pub next: u8,
    /// Of everything, in the end.
    pub whole: u8,
}

/// Octaves of latency that halve what a site gets of new blobs.
const OCTAVES_PER_HALF: u32 = 3;

impl Fleet {
    /// The fleet of these sites, in the configuration's order.
    ///
    /// # Panics
    /// When two sites have one id or there are more than `SITES_MAX`: the configuration was to
    /// refuse that.
    #[must_use]
    pub fn new(sites: Vec<Guarded>) -> Self {
        assert!(sites.len() <= SITES_MAX, "a configuration has at most {SITES_MAX} sites");
        let positions: HashMap<_, _> =
            sites.iter().enumerate().map(|(position, site)| (site.id(), position)).collect();
        assert_eq!(positions.len(), sites.len(), "every site has a name of its own");
        let equal = vec![Share { next: SHARE_MAX, whole: SHARE_MAX }; sites.len()];
        Self { sites, positions, closed: Arc::default(), shares: Arc::new(Mutex::new(equal)) }
    }

    /// The site at `position`.
    ///
    /// # Panics
    /// When there is none: positions come from the same configuration.
    #[must_use]
    pub fn site(&self, position: usize) -> &Guarded {
        &self.sites[position]
    }

    /// The site with this id and its position; `None` for one that is configured no longer.
    #[must_use]
    pub fn by_id(&self, id: SiteId) -> Option<(usize, &Guarded)> {
        let position = *self.positions.get(&id)?;
        Some((position, &self.sites[position]))
    }

    /// Sites there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sites.len()
    }

    /// Whether there is no site.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }

    /// The sites by position.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Guarded> {
        self.sites.iter()
    }

    /// Sites that take no new shards: excluded ones. They are read where nothing else will do.
    #[must_use]
    pub fn closed(&self) -> SiteSet {
        *self.closed.lock()
    }

    /// Closes these sites to new placements and opens all others. What was placed before still
    /// arrives, until the sites themselves refuse it ([`Guarded::refuse_shards`]).
    pub fn close(&self, sites: SiteSet) {
        *self.closed.lock() = sites;
    }

    /// Sets what each site should get, by position; all are equal at first.
    ///
    /// # Panics
    /// When there are not as many shares as sites.
    pub fn share_out(&self, shares: Vec<Share>) {
        assert_eq!(shares.len(), self.sites.len(), "each site has a share");
        *self.shares.lock() = shares;
    }

    /// All positions, in the order in which this blob's shards should be stored there: the open
    /// sites, of them the healthy ones, and then by chance, such that each gets its share, and
    /// slow ones less than that.
    #[must_use]
    pub fn placing(&self, blob: BlobId) -> Vec<usize> {
        // Each is looked at once: latency and health change meanwhile.
        let octave = |site: &Guarded| site.p95(Operation::Write).as_micros().max(1).ilog2();
        let octaves: Vec<_> = self.sites.iter().map(octave).collect();
        let fastest = octaves.iter().copied().min().unwrap_or_default();
        let shares = self.shares.lock().clone();
        let share = |((site, octave), share): ((&Guarded, u32), Share)| {
            let halved = (octave - fastest) / OCTAVES_PER_HALF;
            let least = share.next.min(1);
            (site.id(), share.next.checked_shr(halved).unwrap_or_default().max(least))
        };
        let sites: Vec<_> = self.sites.iter().zip(octaves).zip(shares).map(share).collect();
        let mut order = spread(blob, &sites);
        let closed = self.closed();
        order.sort_by_cached_key(|at| {
            (closed.contains(*at), self.sites[*at].health_of(Operation::Write))
        });
        order
    }

    /// All positions, in the order in which this blob's shards should be stored there in the end:
    /// by chance, such that each site gets its share of everything.
    #[must_use]
    pub fn settling(&self, blob: BlobId) -> Vec<usize> {
        let shares = self.shares.lock().clone();
        let share = |(site, share): (&Guarded, Share)| (site.id(), share.whole);
        let sites: Vec<_> = self.sites.iter().zip(shares).map(share).collect();
        spread(blob, &sites)
    }

    /// All positions, best for reading first.
    #[must_use]
    pub fn ranking(&self) -> Vec<usize> {
        self.ranking_for(Operation::Read)
    }

    /// All positions, best for `operation` first: the open ones, of them the healthy ones, then by
    /// p95. Latencies within a factor of two are equal, so that noise does not herd all load to
    /// one site.
    #[must_use]
    pub fn ranking_for(&self, operation: Operation) -> Vec<usize> {
        let mut positions: Vec<_> = (0..self.sites.len()).collect();
        let closed = self.closed();
        positions.sort_by_cached_key(|position| {
            let site = &self.sites[*position];
            let octave = site.p95(operation).as_micros().max(1).ilog2();
            (closed.contains(*position), site.health_of(operation), octave, *position)
        });
        positions
    }
}
