//! Sites that are left alone although they answer, and sites that are only read. Time is tokio's,
//! paused.

use havre_model::ports::{Clock, Ports, Runtime, Task};
use havre_model::{BlobName, SiteId, Timestamp};
use havre_sites::conformance::{content, extent, permit};
use havre_sites::fault::{Fault, Faults, FaultySite};
use havre_sites::{
    Bar, Barred, Guarded, Health, MemorySite, Operation, Site, SiteErrorKind, SiteLimits, system,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

struct PausedRuntime;

#[expect(clippy::disallowed_methods, reason = "these are the ports")]
impl Runtime for PausedRuntime {
    fn sleep(&self, duration: Duration) -> Task {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, task: Task) {
        tokio::spawn(task);
    }
}

struct Fixture {
    site: Guarded,
    faults: Faults,
    ports: Ports,
    start: Instant,
}

fn fixture() -> Fixture {
    let start = Instant::now();
    let ports = Ports {
        clock: Arc::new(PausedClock(start)),
        entropy: system::ports().entropy,
        runtime: Arc::new(PausedRuntime),
    };
    let faults = Faults::default();
    let inner: Arc<dyn Site> = Arc::new(MemorySite::new(SiteId::from_bytes([1; 8]), "site"));
    let faulty = FaultySite::new(inner, Arc::clone(&ports.runtime), faults.clone());
    let site = Guarded::new(Arc::new(faulty), SiteLimits::default(), ports.clone());
    Fixture { site, faults, ports, start }
}

impl Fixture {
    async fn put(&self, name: &BlobName) -> Result<(), SiteErrorKind> {
        let permit = permit(self.site.id(), name);
        let put = self.site.put(permit, name, content(1, 1000)).await;
        put.map_err(|error| error.kind)
    }

    async fn read(&self, name: &BlobName) -> Result<(), SiteErrorKind> {
        self.site.read(name, 0..1000).await.map(drop).map_err(|error| error.kind)
    }
}

#[tokio::test(start_paused = true)]
async fn a_barred_site_is_not_asked_at_all_until_the_bar_ends() {
    let f = fixture();
    let name = extent(1);
    f.put(&name).await.unwrap();
    let mut writer =
        f.site.create(permit(f.site.id(), &extent(2)), &extent(2), None).await.unwrap();
    let minute = Duration::from_secs(60);
    f.site.bar(Bar::Drill, Some(minute));
    assert_eq!(f.site.health(), Health::Down);
    assert_eq!(f.site.barred(), Some(Barred { bar: Bar::Drill, left: Some(minute) }));
    let (began, asked) = (Instant::now(), f.site.counters().attempts[Operation::Read as usize]);
    assert_eq!(f.read(&name).await, Err(SiteErrorKind::Unreachable));
    assert_eq!(f.put(&extent(3)).await, Err(SiteErrorKind::Unreachable));
    assert!(writer.write(content(1, 10)).await.unwrap_err().is_unreachable(), "a stream ends too");
    assert!(f.site.marker_behind_bar().await.is_err(), "a drill cuts everything off");
    assert_eq!(f.site.counters().attempts[Operation::Read as usize], asked + 1, "no retry");
    assert!(began.elapsed() < Duration::from_millis(1));
    PausedRuntime.sleep(minute).await;
    assert!(f.read(&name).await.is_ok(), "it ends by itself");
    f.site.bar(Bar::Drill, None);
    assert!(f.site.lift(Bar::Drill) && f.site.barred().is_none());
    assert!(f.read(&name).await.is_ok());
    assert_eq!(f.site.health(), Health::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_site_that_is_barred_as_another_storage_is_asked_for_its_marker_only() {
    let f = fixture();
    f.site.set_marker([1; 16]).await.unwrap();
    f.site.bar(Bar::OtherStorage, None);
    assert!(f.site.marker().await.unwrap_err().is_unreachable());
    assert_eq!(f.site.marker_behind_bar().await.unwrap(), Some([1; 16]));
    f.faults.set(Fault::Hang);
    assert!(f.site.marker_behind_bar().await.unwrap_err().is_unreachable());
    assert!(f.start.elapsed() <= SiteLimits::default().deadline);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_hear_again_that_shards_may_go_there_puts_none_there() {
    let f = fixture();
    let permit = |name| permit(f.site.id(), name);
    let second = Duration::from_secs(1);
    f.site.take_shards_until(Some(f.ports.clock.elapsed() + second));
    let (begun, whole, late) = (extent(1), extent(2), extent(3));
    let mut writer = f.site.create(permit(&begun), &begun, None).await.unwrap();
    writer.write(content(1, 10)).await.unwrap();
    f.site.put(permit(&whole), &whole, content(2, 10)).await.unwrap();
    PausedRuntime.sleep(second).await;
    let refused = [
        f.site.put(permit(&late), &late, content(3, 10)).await,
        f.site.create(permit(&late), &late, None).await.map(drop),
        writer.finish().await,
    ];
    for refused in refused {
        assert_eq!(refused.unwrap_err().kind, SiteErrorKind::Refused);
    }
    assert!(f.read(&begun).await.is_err(), "what had begun does not end either");
    assert!(f.site.read(&whole, 0..10).await.is_ok() && f.site.delete(&whole).await.is_ok());
    f.site.take_shards_until(None);
    f.site.put(permit(&late), &late, content(3, 10)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shard_of_which_bytes_were_sent_ends_at_an_excluded_site_and_no_other_begins() {
    let f = fixture();
    let permit = |name| permit(f.site.id(), name);
    let (begun, opened, late) = (extent(1), extent(2), extent(3));
    let mut writer = f.site.create(permit(&begun), &begun, None).await.unwrap();
    let mut idle = f.site.create(permit(&opened), &opened, None).await.unwrap();
    writer.write(content(1, 10)).await.unwrap();
    f.site.refuse_shards(true);
    let refused = [
        f.site.put(permit(&late), &late, content(3, 10)).await,
        f.site.create(permit(&late), &late, None).await.map(drop),
        idle.write(content(2, 10)).await,
    ];
    for refused in refused {
        assert_eq!(refused.unwrap_err().kind, SiteErrorKind::Refused);
    }
    writer.write(content(1, 10)).await.unwrap();
    writer.finish().await.unwrap();
    assert!(f.site.read(&begun, 0..20).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_site_for_a_rehearsal_is_read_and_not_changed() {
    let f = fixture();
    let name = extent(1);
    f.put(&name).await.unwrap();
    f.site.set_marker([1; 16]).await.unwrap();
    let site = f.site.read_only(&f.ports);
    assert_eq!(site.read(&name, 0..1000).await.unwrap().len(), 1000);
    assert_eq!(site.list("e/", None, 10).await.unwrap().entries.len(), 1);
    assert_eq!(site.marker().await.unwrap(), Some([1; 16]));
    let other = extent(2);
    let refused = [
        site.put(permit(site.id(), &other), &other, content(1, 10)).await,
        site.create(permit(site.id(), &other), &other, None).await.map(drop),
        site.delete(&name).await,
        site.set_marker([2; 16]).await,
        site.sweep().await.map(drop),
    ];
    for refused in refused {
        assert_eq!(refused.unwrap_err().kind, SiteErrorKind::Refused);
    }
    assert!(f.read(&name).await.is_ok() && f.read(&other).await.is_err());
}
