//! Why a site is left alone although it may answer.
//!
//! **Invariant.** A bar ends when it is lifted or by its deadline, whichever comes first; each kind
//! stands and falls by itself.
//!
//! **Deliberately absent.** Clocks, and who bars when: the caller says what time it is.
//!
//! **Crash.** A new process begins without bars.

use std::time::Duration;

/// Why a site is barred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bar {
    /// It shows another marker than it has: a wrong disk, or a lie.
    OtherStorage,
    /// A drill: as if the parties behind it refused us.
    Drill,
}

impl Bar {
    /// Kinds there are.
    const COUNT: usize = 2;
    const ALL: [Self; Self::COUNT] = [Self::OtherStorage, Self::Drill];

    /// In words, for logs and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OtherStorage => "it is not the storage that it was",
            Self::Drill => "a drill cuts it off",
        }
    }
}

impl std::fmt::Display for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A bar that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barred {
    /// Why.
    pub bar: Bar,
    /// How much longer at most; `None` until it is lifted.
    pub left: Option<Duration>,
}

/// The bars of one site, by kind: `Some` with the time that it ends at, if at any.
#[derive(Debug, Default)]
pub(super) struct Bars([Option<Option<Duration>>; Bar::COUNT]);

impl Bars {
    /// Puts a bar up, in place of one of its kind.
    pub(super) fn put_up(&mut self, bar: Bar, until: Option<Duration>) {
        self.0[bar as usize] = Some(until);
    }

    /// Takes it down; whether it stood.
    pub(super) fn lift(&mut self, bar: Bar) -> bool {
        self.0[bar as usize].take().is_some()
    }

    /// The first that stands at this time.
    pub(super) fn first(&self, now: Duration) -> Option<Barred> {
        Bar::ALL.into_iter().find_map(|bar| self.standing(bar, now))
    }

    /// The bar of this kind, while it stands.
    pub(super) fn standing(&self, bar: Bar, now: Duration) -> Option<Barred> {
        match self.0[bar as usize]? {
            Some(until) if until <= now => None,
            Some(until) => Some(Barred { bar, left: Some(until.saturating_sub(now)) }),
            None => Some(Barred { bar, left: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_secs(100);

    #[test]
    fn each_bar_stands_until_it_is_lifted_or_over() {
        let mut bars = Bars::default();
        assert_eq!(bars.first(T), None);
        bars.put_up(Bar::Drill, Some(T * 2));
        assert_eq!(bars.first(T), Some(Barred { bar: Bar::Drill, left: Some(T) }));
        bars.put_up(Bar::OtherStorage, None);
        assert_eq!(bars.first(T), Some(Barred { bar: Bar::OtherStorage, left: None }));
        assert!(bars.lift(Bar::OtherStorage) && !bars.lift(Bar::OtherStorage));
        assert!(bars.standing(Bar::Drill, T * 2 - Duration::from_nanos(1)).is_some());
        assert_eq!(bars.first(T * 2), None);
    }
}
