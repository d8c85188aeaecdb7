//! A whole import: walks the source's listing beside the destination's, and has workers bring over
//! what is missing.
//!
//! **Invariant.** As many objects are worked on as there are workers, and as many wait; a page of
//! either listing is in memory, and a hash of each page's token, by which a listing that goes round
//! is known.
//!
//! **Deliberately absent.** What is shown meanwhile: the caller looks at the [`Tally`].
//!
//! **Crash.** The next run begins the listing anew; what is there costs a line of it.

use super::bucket::{Ask, Bucket, Entry, Page, Place, RequestError};
use super::copy::{Copier, CopyError, OpenUpload, Outcome, Rules};
use super::journal::{Journal, JournalError};
use super::pace::Pace;
use super::sign::{Credential, Dialect, Signer};
use super::tally::{End, FAILURES_MAX, Report, Tally};
use super::wire::Wire;
use super::xml::Element;
use havre_model::ports::Ports;
use http::Method;
use sha2::{Digest as _, Sha256};
use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, watch};

/// Objects that are worked on at once, at most: as many large uploads as the gateway takes.
pub const WORKERS_MAX: usize = 48;

/// One side of an import.
#[derive(Clone)]
pub struct Side {
    /// Where the bucket is.
    pub place: Place,
    /// In what words it is asked.
    pub dialect: Dialect,
    /// As whom.
    pub credential: Credential,
    /// The region that signatures name.
    pub region: String,
    /// Certificate authorities (PEM) to trust instead of the system's.
    pub authorities: Option<PathBuf>,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: what would be is counted.
    Plan,
    /// Objects are copied.
    Copy {
        /// Make the destination's bucket, if there is none.
        create: bool,
        /// List the source beforehand as well, so that an end can be foretold.
        survey: bool,
    },
}

/// What is to be brought from where to where.
pub struct Import {
    /// The source.
    pub source: Side,
    /// The gateway.
    pub destination: Side,
    /// Which keys: those that begin so.
    pub prefix: String,
    /// The journal.
    pub journal: PathBuf,
    /// How.
    pub rules: Rules,
    /// Whether.
    pub mode: Mode,
    /// Objects at once, from 1 to [`WORKERS_MAX`].
    pub workers: usize,
    /// Bytes a second that are read at the source, at most.
    pub bytes_per_second: Option<u64>,
}

/// Why an import could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The source does not answer as it should.
    #[error("the source: {0}")]
    Source(RequestError),
    /// The gateway does not.
    #[error("the gateway: {0}")]
    Destination(RequestError),
    /// There is no client to be had.
    #[error("connect: {0}")]
    Connect(String),
    /// The journal cannot be had.
    #[error("the journal {}: {error}", .path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// Why.
        error: JournalError,
    },
}

/// Why workers end before there is nothing left.
type Stop = watch::Receiver<Option<End>>;

/// An object on its way to a worker.
struct Job {
    source: Entry,
    found: Option<Entry>,
}

impl Import {
    /// What is from where to where, so that notes about another import mean nothing to this one.
    /// The prefix is not in it: an import by prefixes is one.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for side in [&self.source, &self.destination] {
            let Place { endpoint, bucket, .. } = &side.place;
            // The gateway's address may change, and a credential stands for its tenant.
            let own = side.credential.access_key.clone();
            let is_source = std::ptr::eq(side, &self.source);
            let whose = if is_source { endpoint.to_string() } else { own };
            for word in [&whose, bucket] {
                hash.update((word.len() as u64).to_le_bytes());
                hash.update(word);
            }
        }
        hash.finalize().into()
    }

    fn copier(&self, ports: &Ports) -> Result<Copier, ImportError> {
        let bucket = |side: &Side| {
            let Side { place, dialect, credential, region, authorities } = side.clone();
            let wire = Wire::new(&place.endpoint, authorities.as_deref(), ports.clone());
            let wire = wire.map_err(ImportError::Connect)?;
            let signer = Signer::new(dialect, credential, &region);
            Ok(Bucket::new(place, wire, signer, ports.clone()))
        };
        let journal = match self.mode {
            Mode::Plan => Journal::look(&self.journal, self.id()),
            Mode::Copy { .. } => Journal::open(&self.journal, self.id()),
        };
        let journal =
            journal.map_err(|error| ImportError::Journal { path: self.journal.clone(), error })?;
        let pace = Pace::new(self.bytes_per_second, ports.clone());
        let sides = (bucket(&self.source)?, bucket(&self.destination)?);
        Ok(Copier::new(sides, journal, pace, self.rules))
    }
}

/// Brings a bucket over, until it is done or `stop` ends.
///
/// # Errors
/// When it cannot go on. That single objects failed is in the report.
pub async fn run(
    import: &Import,
    tally: &Arc<Tally>,
    ports: &Ports,
    stop: impl Future<Output = ()>,
) -> Result<Report, ImportError> {
    let copier = Arc::new(import.copier(ports)?);
    if let Mode::Copy { create, survey } = import.mode {
        prepare(&copier, import, create, tally).await?;
        if survey {
            let (copier, tally) = (Arc::clone(&copier), Arc::clone(tally));
            let prefix = import.prefix.clone();
            ports.runtime.spawn(Box::pin(async move {
                // Without it no end is foretold, and nothing else is missed.
                let _ = count(&copier.source, &prefix, &tally).await;
            }));
        }
    }
    let (end, ends) = watch::channel(None);
    let end = Arc::new(end);
    let (jobs, taken) = mpsc::channel(import.workers);
    let taken = Arc::new(Mutex::new(taken));
    let (alive, mut gone) = mpsc::channel::<()>(1);
    for _ in 0..import.workers.clamp(1, WORKERS_MAX) {
        let worker = Worker {
            copier: Arc::clone(&copier),
            tally: Arc::clone(tally),
            taken: Arc::clone(&taken),
            end: Arc::clone(&end),
            ends: ends.clone(),
            plan: import.mode == Mode::Plan,
        };
        let alive = alive.clone();
        ports.runtime.spawn(Box::pin(async move {
            worker.work().await;
            drop(alive);
        }));
    }
    drop(alive);
    let mut stopped = ends.clone();
    let listed = tokio::select! {
        listed = walk(&copier, &import.prefix, jobs, tally) => listed,
        () = stop => {
            end.send_replace(Some(End::Stopped));
            Ok(())
        }
        () = told_to_end(&mut stopped) => Ok(()),
    };
    if listed.is_err() {
        end.send_replace(Some(End::Stopped));
    }
    // What is on its way is ended first, uploads too.
    let _ = gone.recv().await;
    listed?;
    let how = ends.borrow().unwrap_or(End::Finished);
    tally.with(|report| report.end = how);
    Ok(tally.report())
}

/// Makes the bucket where that is wanted, and ends what an interrupted run left open.
async fn prepare(
    copier: &Copier,
    import: &Import,
    create: bool,
    tally: &Tally,
) -> Result<(), ImportError> {
    let first = copier.destination.list("\u{10ffff}", None).await;
    match first {
        Err(error) if create && error.code() == "NoSuchBucket" => {
            let ask = Ask { method: Method::PUT, ..Ask::default() };
            copier.destination.ask(&ask).await.map_err(ImportError::Destination)?;
        }
        first => drop(first.map_err(ImportError::Destination)?),
    }
    if copier.journal.lock().is_empty() {
        return Ok(());
    }
    let open = uploads(copier, &import.prefix).await.map_err(ImportError::Destination)?;
    for upload in open {
        copier.abort(&OpenUpload::new(Some(upload))).await;
        tally.with(|report| report.uploads_ended += 1);
    }
    Ok(())
}

/// The uploads at the destination that an import began.
async fn uploads(copier: &Copier, prefix: &str) -> Result<Vec<(String, String)>, RequestError> {
    let mut found = Vec::new();
    let mut marker = (String::new(), String::new());
    loop {
        let mut query = vec![("uploads", ""), ("encoding-type", "url"), ("prefix", prefix)];
        if !marker.0.is_empty() {
            query.extend([("key-marker", &*marker.0), ("upload-id-marker", &*marker.1)]);
        }
        let answer = copier.destination.ask(&Ask { query: &query, ..Ask::default() }).await?;
        let odd = RequestError::Odd("it is no list of uploads");
        let list = Element::parse(&answer.body).ok_or(odd)?;
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
        };
        for upload in list.all("Upload") {
            let pair = upload.text("Key").zip(upload.text("UploadId"));
            found.extend(
                pair.filter(|(_, id)| copier.journal.lock().began(id))
                    .map(|(key, id)| (decode(key), id.to_owned())),
            );
        }
        if list.text("IsTruncated") != Some("true") {
            return Ok(found);
        }
        let next = list.text("NextKeyMarker").zip(list.text("NextUploadIdMarker"));
        let next = next.map(|(key, id)| (decode(key), id.to_owned()));
        match next.filter(|next| *next > marker) {
            Some(next) => marker = next,
            None => return Err(RequestError::Odd("the list of uploads goes round in a circle")),
        }
    }
}

/// Pages of a listing, one after another.
struct Pages<'a> {
    bucket: &'a Bucket,
    prefix: &'a str,
    next: Option<String>,
    seen: HashSet<u64>,
    ended: bool,
}

impl<'a> Pages<'a> {
    fn new(bucket: &'a Bucket, prefix: &'a str) -> Self {
        Self { bucket, prefix, next: None, seen: HashSet::new(), ended: false }
    }

    async fn next(&mut self) -> Result<Option<Page>, RequestError> {
        if self.ended {
            return Ok(None);
        }
        let mut page = self.bucket.list(self.prefix, self.next.as_deref()).await?;
        self.next = page.next.take();
        self.ended = self.next.is_none();
        if let Some(token) = &self.next {
            let digest: [u8; 32] = Sha256::digest(token).into();
            let short = u64::from_le_bytes(digest[..8].try_into().expect("a digest is longer"));
            if !self.seen.insert(short) {
                return Err(RequestError::Odd("the listing goes round in a circle"));
            }
        }
        Ok(Some(page))
    }
}

/// Counts what the source has.
async fn count(source: &Bucket, prefix: &str, tally: &Tally) -> Result<(), RequestError> {
    let mut pages = Pages::new(source, prefix);
    let (mut objects, mut bytes) = (0, 0);
    while let Some(page) = pages.next().await? {
        objects += (page.entries.len() + page.odd_keys.len()) as u64;
        bytes += page.entries.iter().map(|entry| entry.size).sum::<u64>();
    }
    tally.expect(objects, bytes);
    Ok(())
}

/// The destination's listing, walked beside the source's.
struct Cursor<'a> {
    pages: Pages<'a>,
    page: VecDeque<Entry>,
    /// The last key that was asked for.
    last: Option<String>,
}

impl Cursor<'_> {
    /// The object of this key, if there is one.
    async fn find(&mut self, key: &str) -> Result<Option<Entry>, RequestError> {
        if self.last.as_deref().is_some_and(|last| last >= key) {
            // The source does not list in S3's order: then each is asked for by itself.
            return Ok(self.pages.bucket.look(key, None).await?.map(|(entry, _)| entry));
        }
        self.last = Some(key.to_owned());
        loop {
            while let Some(entry) = self.page.front() {
                if &*entry.key > key {
                    return Ok(None);
                }
                let entry = self.page.pop_front();
                if entry.as_ref().is_some_and(|entry| entry.key == key) {
                    return Ok(entry);
                }
            }
            match self.pages.next().await? {
                Some(page) => self.page = page.entries.into(),
                None => return Ok(None),
            }
        }
    }
}

/// Hands every object of the source to the workers.
async fn walk(
    copier: &Copier,
    prefix: &str,
    jobs: mpsc::Sender<Job>,
    tally: &Tally,
) -> Result<(), ImportError> {
    let mut source = Pages::new(&copier.source, prefix);
    let pages = Pages::new(&copier.destination, prefix);
    let mut cursor = Cursor { pages, page: VecDeque::new(), last: None };
    while let Some(page) = source.next().await.map_err(ImportError::Source)? {
        for key in page.odd_keys {
            tally.fail(&key, "its name is not UTF-8, which S3's names are".to_owned());
        }
        for entry in page.entries {
            let found = match cursor.find(&entry.key).await {
                // With a plan, a bucket that is to be made is empty.
                Err(error) if error.code() == "NoSuchBucket" => {
                    cursor.pages.ended = true;
                    None
                }
                found => found.map_err(ImportError::Destination)?,
            };
            if jobs.send(Job { source: entry, found }).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn told_to_end(ends: &mut Stop) {
    // The sender lives as long as the workers do.
    drop(ends.wait_for(Option::is_some).await);
}

/// Brings objects over until there are none left, or it is told to end.
struct Worker {
    copier: Arc<Copier>,
    tally: Arc<Tally>,
    taken: Arc<Mutex<mpsc::Receiver<Job>>>,
    end: Arc<watch::Sender<Option<End>>>,
    ends: Stop,
    plan: bool,
}

impl Worker {
    async fn work(mut self) {
        let open = OpenUpload::default();
        loop {
            let job = tokio::select! {
                biased;
                () = told_to_end(&mut self.ends) => return,
                job = async { self.taken.lock().await.recv().await } => job,
            };
            let Some(Job { source, found }) = job else { return };
            let (copier, plan) = (&self.copier, self.plan);
            let bring = async {
                match plan {
                    true => copier.foretell(source.clone(), found.as_ref()).await,
                    false => copier.bring(source.clone(), found.as_ref(), &open).await,
                }
            };
            let outcome = tokio::select! {
                outcome = bring => outcome,
                () = told_to_end(&mut self.ends) => {
                    copier.abort(&open).await;
                    return;
                }
            };
            if self.count(&source, outcome) {
                self.end.send_replace(Some(End::GaveUp));
            }
        }
    }

    /// Counts what became of an object; whether too many failed.
    fn count(&self, source: &Entry, outcome: Result<Outcome, CopyError>) -> bool {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return self.tally.fail(&source.key, error.to_string()),
        };
        self.tally.with(|report| match outcome {
            Outcome::Copied(left_behind) => {
                report.copied += 1;
                report.copied_bytes += source.size;
                report.left_behind.add(left_behind);
            }
            Outcome::Unchanged => {
                report.unchanged += 1;
                report.unchanged_bytes += source.size;
            }
            Outcome::Kept => {
                report.kept += 1;
                if report.kept_keys.len() < FAILURES_MAX {
                    report.kept_keys.push(source.key.clone());
                }
            }
            Outcome::Gone => {
                report.gone += 1;
                if report.gone_keys.len() < FAILURES_MAX {
                    report.gone_keys.push(source.key.clone());
                }
            }
        });
        false
    }
}
