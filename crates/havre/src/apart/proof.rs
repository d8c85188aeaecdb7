//! Whether the keeper's sites are the storage that the catalog knows: each shows its marker before
//! it is asked for anything else.
//!
//! The gateway has looked for itself; but a keeper in another process may have other mounts, other
//! credentials, another name service. A shard that is missing at the wrong storage would be taken
//! for lost, and made anew there.
//!
//! **Invariant.** A site that has not shown its marker in this session is barred.
//!
//! **Deliberately absent.** Giving a site its marker: the gateway does.
//!
//! **Crash.** Memory only; the next session looks again.

use futures::future;
use havre_model::{SiteId, SiteSet};
use havre_sites::{Fleet, Guarded};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Duration;

/// The pause between two looks at sites that have not shown it.
pub(super) const PAUSE: Duration = Duration::from_secs(2);

/// Which sites have shown their marker.
pub(super) struct Proof(Mutex<Seen>);

struct Seen {
    missing: SiteSet,
    /// Those that showed another, which was said.
    wrong: SiteSet,
}

impl Proof {
    /// Of none of so many sites.
    pub(super) fn new(count: usize) -> Self {
        Self(Mutex::new(Seen { missing: (0..count).collect(), wrong: SiteSet::EMPTY }))
    }

    /// The sites that have not shown it.
    pub(super) fn missing(&self) -> SiteSet {
        self.0.lock().missing
    }

    /// Looks at those, by what the catalog has of each.
    pub(super) async fn look(&self, fleet: &Fleet, markers: &HashMap<SiteId, [u8; 16]>) {
        let missing = self.missing();
        let looks = missing.iter().map(|at| {
            let site = fleet.site(at);
            self.look_at(at, site, markers.get(&site.id()))
        });
        future::join_all(looks).await;
    }

    async fn look_at(&self, at: usize, site: &Guarded, expected: Option<&[u8; 16]>) {
        let found = site.marker_behind_bar().await;
        let (Ok(found), Some(expected)) = (found, expected) else { return };
        let this = SiteSet::EMPTY.with(at);
        let mut seen = self.0.lock();
        if found == Some(*expected) {
            seen.missing = seen.missing.minus(this);
        } else if !seen.wrong.contains(at) {
            seen.wrong = seen.wrong.union(this);
            let site = site.name();
            tracing::error!(site, "the keeper's site is not the storage that the gateway's is");
        }
    }
}
