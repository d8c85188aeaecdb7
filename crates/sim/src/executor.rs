//! Runs tasks one at a time, in an order drawn from the seed, under a clock that only the executor
//! moves.
//!
//! **Invariant.** Nothing but the seed decides which task goes on next: no thread, no real time, no
//! address and no hash. The clock moves by a microsecond a turn, and leaps to the next sleeper when
//! nobody is ready.
//!
//! **Deliberately absent.** I/O, priorities and fairness: a task may wait long while others run, as
//! on a busy machine.
//!
//! **Crash.** [`Executor::kill`] drops a process's tasks where they stand; what they spawn while
//! they are dropped is dropped too.

use crate::rng::Rng;
use havre_model::ports::Task;
use parking_lot::Mutex;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// What a turn takes.
const TURN: Duration = Duration::from_micros(1);

/// Tasks that die together: a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group(u64);

impl Group {
    /// What outlives every process: the sites and the network.
    pub const WORLD: Self = Self(0);
}

/// One task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskId(u64);

/// The executor. Clones share everything.
#[derive(Clone)]
pub struct Executor {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
}

struct State {
    now: Duration,
    turns: u64,
    rng: Rng,
    last_id: u64,
    alive: BTreeSet<Group>,
    tasks: BTreeMap<TaskId, Slot>,
    ready: Vec<TaskId>,
    timers: BTreeMap<(Duration, u64), Waker>,
    panics: Vec<String>,
}

struct Slot {
    group: Group,
    waker: Waker,
    is_ready: bool,
    /// `None` while it is polled.
    task: Option<Task>,
}

struct Alarm {
    task: TaskId,
    shared: Weak<Shared>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.shared.upgrade() {
            shared.state.lock().ready(self.task);
        }
    }
}

impl State {
    fn ready(&mut self, task: TaskId) {
        if let Some(slot) = self.tasks.get_mut(&task)
            && !slot.is_ready
        {
            slot.is_ready = true;
            self.ready.push(task);
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Takes one of the ready tasks out, to be polled.
    fn draw(&mut self) -> Option<(TaskId, Waker, Task)> {
        while !self.ready.is_empty() {
            let at = self.rng.index(self.ready.len());
            let id = self.ready.swap_remove(at);
            let Some(slot) = self.tasks.get_mut(&id) else { continue };
            slot.is_ready = false;
            let waker = slot.waker.clone();
            if let Some(task) = slot.task.take() {
                self.now += TURN;
                self.turns += 1;
                return Some((id, waker, task));
            }
        }
        None
    }
}

impl Executor {
    /// An executor without tasks, at time zero.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        let state = State {
            now: Duration::ZERO,
            turns: 0,
            rng,
            last_id: 0,
            alive: BTreeSet::from([Group::WORLD]),
            tasks: BTreeMap::new(),
            ready: Vec::new(),
            timers: BTreeMap::new(),
            panics: Vec::new(),
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state) }) }
    }

    /// The time since the beginning of the run.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.shared.state.lock().now
    }

    /// Turns so far.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.shared.state.lock().turns
    }

    /// A new process.
    #[must_use]
    pub fn group(&self) -> Group {
        let mut state = self.shared.state.lock();
        let group = Group(state.next_id());
        state.alive.insert(group);
        group
    }

    /// Adds a task to a process; one of a dead process is dropped.
    pub fn spawn(&self, group: Group, task: Task) -> TaskId {
        let mut state = self.shared.state.lock();
        let id = TaskId(state.next_id());
        if state.alive.contains(&group) {
            let alarm = Alarm { task: id, shared: Arc::downgrade(&self.shared) };
            let waker = Waker::from(Arc::new(alarm));
            state.tasks.insert(id, Slot { group, waker, is_ready: false, task: Some(task) });
            state.ready(id);
        } else {
            drop(state);
            drop(task);
        }
        id
    }

    /// Ends a process: its tasks are dropped, in the order in which they were spawned.
    pub fn kill(&self, group: Group) {
        let mut state = self.shared.state.lock();
        state.alive.remove(&group);
        let (dead, alive) =
            std::mem::take(&mut state.tasks).into_iter().partition(|(_, slot)| slot.group == group);
        state.tasks = alive;
        drop(state);
        let dead: BTreeMap<TaskId, Slot> = dead;
        dead.into_values().for_each(drop);
    }

    /// Drops one task.
    pub fn cancel(&self, task: TaskId) {
        let slot = self.shared.state.lock().tasks.remove(&task);
        drop(slot);
    }

    /// Whether the task has not ended.
    #[must_use]
    pub fn is_running(&self, task: TaskId) -> bool {
        self.shared.state.lock().tasks.contains_key(&task)
    }

    /// Ends when the clock has moved on by `duration`.
    #[must_use]
    pub fn sleep(&self, duration: Duration) -> Sleep {
        let at = self.now().saturating_add(duration);
        Sleep { executor: self.clone(), at, timer: None }
    }

    /// What tasks panicked with since the last call.
    #[must_use]
    pub fn take_panics(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state.lock().panics)
    }

    /// Polls one ready task; false when there is none.
    pub fn turn(&self) -> bool {
        let Some((id, waker, mut task)) = self.shared.state.lock().draw() else { return false };
        let mut context = Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut context)));
        let mut state = self.shared.state.lock();
        let mut ended = None;
        match polled {
            Ok(Poll::Pending) => match state.tasks.get_mut(&id) {
                Some(slot) => slot.task = Some(task),
                None => ended = Some((None, task)),
            },
            Ok(Poll::Ready(())) => ended = Some((state.tasks.remove(&id), task)),
            Err(payload) => {
                state.panics.push(words(&*payload));
                ended = Some((state.tasks.remove(&id), task));
            }
        }
        // Dropping a task may wake and spawn others.
        drop(state);
        drop(ended);
        true
    }

    /// Moves the clock to the next sleeper; false when nobody sleeps.
    fn leap(&self) -> bool {
        let mut state = self.shared.state.lock();
        let Some((&(at, _), _)) = state.timers.first_key_value() else { return false };
        state.now = state.now.max(at);
        let now = state.now;
        let later = state.timers.split_off(&(now + Duration::from_nanos(1), 0));
        let due = std::mem::replace(&mut state.timers, later);
        drop(state);
        due.into_values().for_each(Waker::wake);
        true
    }

    fn next_sleeper(&self) -> Option<Duration> {
        self.shared.state.lock().timers.first_key_value().map(|(key, _)| key.0)
    }

    /// Goes on for up to so many turns.
    pub fn run_turns(&self, turns: u64) {
        for _ in 0..turns {
            if !self.turn() && !self.leap() {
                return;
            }
        }
    }

    /// Goes on until `done`, for at most `time` and `turns`; whether it is done.
    pub fn run_until(&self, time: Duration, turns: u64, done: impl Fn() -> bool) -> bool {
        let (end, last) = (self.now() + time, self.turns() + turns);
        while !done() {
            if self.now() >= end || self.turns() >= last {
                return false;
            }
            let leaps = || self.next_sleeper().is_some_and(|at| at <= end) && self.leap();
            if !(self.turn() || leaps()) {
                let mut state = self.shared.state.lock();
                state.now = state.now.max(end);
            }
        }
        true
    }

    /// Goes on for a time.
    pub fn run_for(&self, time: Duration) {
        self.run_until(time, u64::MAX / 2, || false);
    }

    /// Ends every process, so that what the tasks hold is freed.
    pub fn end(&self) {
        let groups: Vec<Group> = self.shared.state.lock().alive.iter().copied().collect();
        groups.into_iter().for_each(|group| self.kill(group));
    }
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

/// See [`Executor::sleep`].
pub struct Sleep {
    executor: Executor,
    at: Duration,
    timer: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let shared = Arc::clone(&self.executor.shared);
        let mut state = shared.state.lock();
        if state.now >= self.at {
            return Poll::Ready(());
        }
        let timer = match self.timer {
            Some(timer) => timer,
            None => (self.at, state.next_id()),
        };
        self.timer = Some(timer);
        state.timers.insert(timer, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            let waker = self.executor.shared.state.lock().timers.remove(&timer);
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests;
