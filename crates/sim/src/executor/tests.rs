//! Small programs whose order shows.

use super::*;

/// The order in which ten tasks note themselves, three times each.
fn order(seed: u64) -> Vec<u64> {
    let executor = Executor::new(Rng::new(seed));
    let noted = Arc::new(Mutex::new(Vec::new()));
    for task in 0..10 {
        let (noted, sleeper) = (Arc::clone(&noted), executor.clone());
        let body = async move {
            for round in 0..3 {
                sleeper.sleep(Duration::from_micros(round * 5)).await;
                noted.lock().push(task);
            }
        };
        executor.spawn(Group::WORLD, Box::pin(body));
    }
    executor.run_for(Duration::from_secs(1));
    noted.lock().clone()
}

#[test]
fn a_seed_gives_one_order_and_seeds_differ() {
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
    assert_eq!(order(1).len(), 30);
}

#[test]
fn the_clock_leaps_over_idle_time_and_stops_at_the_end_of_a_run() {
    let executor = Executor::new(Rng::new(1));
    let sleep = executor.sleep(Duration::from_secs(3600));
    executor.spawn(Group::WORLD, Box::pin(sleep));
    executor.run_for(Duration::from_secs(10));
    assert_eq!(executor.now(), Duration::from_secs(10));
    executor.run_turns(10);
    assert!(executor.now() >= Duration::from_secs(3600));
}

/// Spawns a task into its process when it is dropped.
struct Heir(Executor, Group, Arc<Mutex<u32>>);

impl Drop for Heir {
    fn drop(&mut self) {
        let noted = Arc::clone(&self.2);
        self.0.spawn(self.1, Box::pin(async move { *noted.lock() += 1 }));
    }
}

#[test]
fn a_killed_process_leaves_no_heirs_and_others_live_on() {
    let executor = Executor::new(Rng::new(1));
    let noted = Arc::new(Mutex::new(0));
    let (dying, living) = (executor.group(), executor.group());
    for group in [dying, living] {
        let (heir, sleeper) = (Heir(executor.clone(), group, Arc::clone(&noted)), executor.clone());
        let body = async move {
            sleeper.sleep(Duration::from_secs(1)).await;
            drop(heir);
        };
        executor.spawn(group, Box::pin(body));
    }
    executor.run_turns(2);
    executor.kill(dying);
    executor.run_for(Duration::from_secs(2));
    assert_eq!(*noted.lock(), 1);
}

#[test]
fn a_panic_ends_its_task_and_is_told() {
    let executor = Executor::new(Rng::new(1));
    let task = executor.spawn(Group::WORLD, Box::pin(async { panic!("as told") }));
    executor.run_turns(1);
    assert!(!executor.is_running(task));
    assert_eq!(executor.take_panics(), ["as told"]);
}
