//! A bounded map that forgets what was not asked for lately.
//!
//! **Invariant.** At most `2 * generation_max` entries: when the young generation is full the old
//! one is dropped.
//!
//! **Deliberately absent.** Exact recency and loading: callers load and insert.
//!
//! **Crash.** Memory only.

use parking_lot::Mutex;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

pub(crate) struct Cache<K, V> {
    generations: Mutex<Generations<K, V>>,
    generation_max: usize,
}

struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    pub(crate) fn new(entries_max: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { generations: Mutex::new(generations), generation_max: entries_max.div_ceil(2) }
    }

    pub(crate) fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let mut generations = self.generations.lock();
        if let Some(value) = generations.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = generations.old.remove_entry(key)?;
        self.promote(&mut generations, key, value.clone());
        Some(value)
    }

    pub(crate) fn insert(&self, key: K, value: V) {
        let mut generations = self.generations.lock();
        generations.old.remove(&key);
        self.promote(&mut generations, key, value);
    }

    pub(crate) fn remove<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let mut generations = self.generations.lock();
        generations.young.remove(key);
        generations.old.remove(key);
    }

    fn promote(&self, generations: &mut Generations<K, V>, key: K, value: V) {
        if generations.young.len() >= self.generation_max && !generations.young.contains_key(&key) {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_holds_more_than_its_bound_and_keeps_what_is_asked_for() {
        let cache = Cache::new(8);
        for number in 0..100 {
            cache.insert(number, number);
            assert_eq!(cache.peek(&0), Some(0), "asked for each time");
        }
        let generations = cache.generations.lock();
        assert!(generations.young.len() + generations.old.len() <= 8);
    }
}
