//! All configured sites, in the order of the configuration.
//!
//! **Invariant.** Positions are those of `policy::Facts` and of `SiteSet`.
//!
//! **Deliberately absent.** Placement: `policy` decides, with [`Fleet::ranking`] as a wish.
//!
//! **Crash.** Positions live as long as the process; what is stored names sites by their ids.

use crate::{Guarded, Operation};
use havre_model::{SiteId, SiteSet, limits::SITES_MAX};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// The sites of a configuration, by position.
#[derive(Clone)]
pub struct Fleet {
    sites: Vec<Guarded>,
    positions: HashMap<SiteId, usize>,
    closed: Arc<Mutex<SiteSet>>,
}

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
        Self { sites, positions, closed: Arc::default() }
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
