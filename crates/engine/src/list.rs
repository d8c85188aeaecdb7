//! Listings, straight from the catalog.
//!
//! **Invariant.** What a listing shows was acknowledged; it is in the order of the keys' UTF-8
//! bytes.
//!
//! **Deliberately absent.** Tokens and encodings (`server`).
//!
//! **Crash.** Nothing is written.

use crate::Engine;
use crate::error::EngineError;
use havre_catalog::{Counts, ListPage, ListQuery};

impl Engine {
    /// A page of a bucket's objects.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn list(&self, query: ListQuery) -> Result<ListPage, EngineError> {
        Ok(self.shared.catalog.list(query).await?)
    }

    /// How much of everything there is.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn counts(&self) -> Result<Counts, EngineError> {
        Ok(self.shared.catalog.counts().await?)
    }
}
