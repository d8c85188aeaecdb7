//! Tasks that the engine cannot do without.
//!
//! **Invariant.** When one of them panics that is known: no write is taken any more, and whoever
//! runs the engine is told, so that the process ends and is started again.
//!
//! **Deliberately absent.** Going on in the same process: what met the bug is the state that it
//! would go on with. And tasks of one request or one shard: those fail alone.
//!
//! **Crash.** It is one. What was acknowledged is as safe as after any other.

use havre_model::ports::Task;
use tokio::sync::watch;

/// Knows whether one of them has panicked.
pub(crate) struct Vital(watch::Sender<bool>);

impl Default for Vital {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

/// Is dropped with the task.
struct Watched {
    what: &'static str,
    missed: watch::Sender<bool>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(what = self.what, "a task met a bug: nothing is written any more");
            self.missed.send_replace(true);
        }
    }
}

impl Vital {
    /// The task, which is missed if it panics.
    pub(crate) fn watch(
        &self,
        what: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Task {
        let watched = Watched { what, missed: self.0.clone() };
        Box::pin(async move {
            let _watched = watched;
            task.await;
        })
    }

    /// Whether one is missed.
    pub(crate) fn is_missed(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until one is missed.
    pub(crate) async fn missed(&self) {
        // The sender is here: it does not end before.
        let _ = self.0.subscribe().wait_for(|missed| *missed).await;
    }
}
