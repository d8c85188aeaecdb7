//! Exclusions: parties and sites that hold no shards any more.
//!
//! **Invariant.** Once [`Engine::exclude`] has returned, no new shard goes to a site that answers
//! to the excluded, in this process or a later one: the exclusion stands in the packs, and the
//! sites are closed before anything is written after a start. One that no policy could live with
//! is refused, and nothing changes.
//!
//! **Deliberately absent.** Moving what the sites hold (`keeper`), and who answers to whom
//! (`policy`).
//!
//! **Crash.** An exclusion whose record is durable holds after the next start; one that was not
//! reported may hold or not.

use crate::Engine;
use crate::error::PutError;
use crate::shared::Shared;
use havre_catalog::{CatalogError, ExclusionRow};
use havre_model::record::{Excluded, ExclusionRecord, Record};
use havre_model::{SiteSet, Timestamp};
use havre_seal::RecordScope;
use std::time::Duration;

/// How long writes that were placed before still go to a site that was closed: a pack takes
/// moments, and to refuse its shards would fail the writes in it.
const PLACED_WAIT: Duration = Duration::from_secs(2);

/// Why an exclusion cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExcludeError {
    /// Nobody of this name is declared.
    #[error("{0} is no party and no site of the configuration")]
    Unknown(String),
    /// It is excluded already, or not excluded.
    #[error("{0}")]
    Unchanged(String),
    /// A policy would have nowhere to write.
    #[error(
        "without {}, policy {policy} cannot place its objects within its guarantee; add sites \
         first, or change the policy", sites.join(", ")
    )]
    NoPlacement {
        /// The policy.
        policy: String,
        /// The sites that would be closed.
        sites: Vec<String>,
    },
    /// The record could not be made durable.
    #[error(transparent)]
    Put(#[from] PutError),
}

impl From<CatalogError> for ExcludeError {
    fn from(error: CatalogError) -> Self {
        Self::Put(error.into())
    }
}

impl Shared {
    /// Closes the sites of all that is excluded, by the catalog and the facts of today.
    pub(crate) async fn close_excluded(&self) -> Result<(), CatalogError> {
        let closed = self.sites_of(&self.catalog.exclusions().await?);
        self.fleet.close(closed);
        self.bar(closed);
        Ok(())
    }

    fn sites_of(&self, exclusions: &[ExclusionRow]) -> SiteSet {
        let mut closed = SiteSet::EMPTY;
        for row in exclusions {
            match (self.reach)(&row.record.subject) {
                Some(sites) => closed = closed.union(sites),
                // A party that reaches no site needs no care; nor does a site that is gone.
                None => tracing::info!("an exclusion reaches no site of the configuration"),
            }
        }
        closed
    }

    /// The last gate: the sites themselves take no more.
    fn bar(&self, closed: SiteSet) {
        for (position, site) in self.fleet.iter().enumerate() {
            site.refuse_shards(closed.contains(position));
        }
    }
}

impl Engine {
    /// Who is excluded now.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn exclusions(&self) -> Result<Vec<ExclusionRow>, CatalogError> {
        self.shared.catalog.exclusions().await
    }

    /// The sites that an exclusion would close.
    #[must_use]
    pub fn sites_of(&self, subject: &Excluded) -> Option<SiteSet> {
        (self.shared.reach)(subject)
    }

    /// Excludes a party or a site: from the return on, no new shard goes to its sites. A shard
    /// whose writing had begun may still end there, and is moved with the others.
    ///
    /// # Errors
    /// See [`ExcludeError`]; nothing has changed then, unless the record's fate is open
    /// ([`PutError::Unavailable`]): exclude again.
    pub async fn exclude(
        &self,
        subject: Excluded,
        reason: String,
        deadline: Option<Timestamp>,
    ) -> Result<SiteSet, ExcludeError> {
        let shared = &self.shared;
        let _turn = shared.excluding.lock().await;
        let sites = (shared.reach)(&subject).filter(|sites| !sites.is_empty());
        let sites = sites.ok_or_else(|| ExcludeError::Unknown(subject.to_string()))?;
        let before = shared.catalog.exclusions().await?;
        if before.iter().any(|row| row.record.subject == subject) {
            return Err(ExcludeError::Unchanged(format!("{subject} is excluded already")));
        }
        let open = shared.fleet.closed();
        let closed = open.union(sites);
        for placement in &shared.placements {
            if !placement.policy.can_place_without(closed) {
                let policy = placement.policy.name().to_owned();
                return Err(ExcludeError::NoPlacement { policy, sites: shared.names(closed) });
            }
        }
        // Closed first, so that the record itself goes elsewhere.
        shared.fleet.close(closed);
        let decided = shared.ports.clock.now();
        let record = ExclusionRecord { subject, in_force: true, reason, decided, deadline };
        if let Err(error) = self.write_exclusion(record).await {
            shared.close_excluded().await?;
            return Err(error.into());
        }
        shared.ports.runtime.sleep(PLACED_WAIT).await;
        shared.bar(closed);
        Ok(sites)
    }

    /// Admits again who was excluded.
    ///
    /// # Errors
    /// See [`ExcludeError`].
    pub async fn admit(&self, subject: Excluded, reason: String) -> Result<(), ExcludeError> {
        let shared = &self.shared;
        let _turn = shared.excluding.lock().await;
        let before = shared.catalog.exclusions().await?;
        if !before.iter().any(|row| row.record.subject == subject) {
            return Err(ExcludeError::Unchanged(format!("{subject} is not excluded")));
        }
        let decided = shared.ports.clock.now();
        let (in_force, deadline) = (false, None);
        let record = ExclusionRecord { subject, in_force, reason, decided, deadline };
        self.write_exclusion(record).await?;
        shared.close_excluded().await?;
        Ok(())
    }

    async fn write_exclusion(&self, record: ExclusionRecord) -> Result<(), PutError> {
        let record = Record::Exclusion(record);
        let entry = self.prepare(RecordScope::System, record, b"", Vec::new()).await?;
        self.commit_setting(entry).await
    }
}
