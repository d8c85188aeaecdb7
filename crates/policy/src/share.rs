//! Fractions of capital and votes, in fixed point, and what an owner has to hold to be obeyed.
//!
//! **Invariant.** A [`Share`] is at most the whole and exact to a billionth: 24 % is 24 % and not a
//! little more, on every machine. What is multiplied along a chain is exact to 1e-18 and rounded
//! down.
//!
//! **Deliberately absent.** Who holds what (`graph`), and what a regulation means beyond these
//! figures: `docs/exposure.md` quotes them.
//!
//! **Crash.** Values only.

use core::fmt;

/// What a whole is in units of a [`Share`].
const BILLION: u32 = 1_000_000_000;

/// A fraction of capital or votes: 0 to 1, in billionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// All of it.
    pub const WHOLE: Self = Self(BILLION);

    /// `percent` hundredths; more than 100 are the whole.
    #[must_use]
    pub const fn percent(percent: u32) -> Self {
        if percent >= 100 { Self::WHOLE } else { Self(percent * (BILLION / 100)) }
    }

    /// So many billionths; `None` when they are more than the whole.
    #[must_use]
    pub const fn billionths(billionths: u32) -> Option<Self> {
        if billionths > BILLION { None } else { Some(Self(billionths)) }
    }

    /// The share nearest to a fraction as a configuration file has it; `None` when it is not from 0
    /// to 1.
    #[must_use]
    pub fn from_fraction(fraction: f64) -> Option<Self> {
        if !(0.0..=1.0).contains(&fraction) {
            return None;
        }
        // Half a unit up, then cut off: the nearest, without a float's own rounding in no_std.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0.5 to a billion and a half"
        )]
        let nearest = (fraction * f64::from(BILLION) + 0.5) as u32;
        Some(Self(nearest.min(BILLION)))
    }

    /// Billionths of the whole.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// For a configuration or a table: 0 to 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(BILLION)
    }

    /// What is left of the whole.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(BILLION - self.0)
    }

    /// Both together, at most the whole.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        let sum = self.0 + other.0;
        if sum > BILLION { Self::WHOLE } else { Self(sum) }
    }
}

impl fmt::Display for Share {
    /// In percent, with one decimal or as many as it needs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_percent = BILLION / 100;
        let (percent, mut rest) = (self.0 / per_percent, self.0 % per_percent);
        let mut digits = 7;
        while digits > 1 && rest % 10 == 0 {
            rest /= 10;
            digits -= 1;
        }
        write!(f, "{percent}.{rest:0digits$} %")
    }
}

/// A part of a part: shares multiplied along a chain and added up, in units of 1e-18.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stake(u64);

impl Stake {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const WHOLE: Self = Self(1_000_000_000_000_000_000);

    /// `share` of what this stands for.
    pub(crate) fn times(self, share: Share) -> Self {
        let product = u128::from(self.0) * u128::from(share.0) / u128::from(BILLION);
        Self(u64::try_from(product).expect("a part of a whole is at most the whole"))
    }

    /// Both together, at most the whole: presumed shares may come to more.
    pub(crate) fn and(self, other: Self) -> Self {
        Self((self.0 + other.0).min(Self::WHOLE.0))
    }

    /// Rounded down to a billionth.
    pub(crate) fn share(self) -> Share {
        let billionths = self.0 / u64::from(BILLION);
        Share(u32::try_from(billionths).expect("at most a billion"))
    }
}

impl From<Share> for Stake {
    fn from(share: Share) -> Self {
        Self(u64::from(share.0) * u64::from(BILLION))
    }
}

/// From which share on an owner is obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// This share is enough.
    AtLeast(Share),
    /// More than this share is needed.
    Over(Share),
}

impl Bound {
    /// Rounding along cycles may lose this much; a bound that is missed by less is reached.
    const ROUNDING: u64 = 1_000_000;

    /// The share that it speaks of.
    #[must_use]
    pub const fn share(self) -> Share {
        match self {
            Self::AtLeast(share) | Self::Over(share) => share,
        }
    }

    pub(crate) fn is_reached(self, stake: Stake) -> bool {
        match self {
            // A share of nothing obliges nobody, whatever the bound says.
            _ if stake == Stake::NONE => false,
            Self::AtLeast(share) => stake.0 + Self::ROUNDING >= Stake::from(share).0,
            Self::Over(share) => stake > Stake::from(share),
        }
    }

    /// Whether everything that reaches `self` reaches `other` as well.
    pub(crate) fn implies(self, other: Self) -> bool {
        match (self, other) {
            (Self::AtLeast(mine), Self::Over(its)) => mine > its,
            (mine, its) => mine.share() >= its.share(),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(share) => write!(f, "{share} or more"),
            Self::Over(share) => write!(f, "more than {share}"),
        }
    }
}

/// What a holding in a company that holds a holding counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chains {
    /// A company that answers to a party counts wholly for it further down, any other not at all:
    /// half of a half is control.
    Whole,
    /// Shares multiply along a chain and add up over all chains; only a company of which a party
    /// has the majority counts wholly.
    Multiply,
}

/// When an entity answers to a party that holds shares of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlRule {
    name: &'static str,
    alone: Bound,
    together: Bound,
    chains: Chains,
    outside_eu: bool,
}

impl ControlRule {
    /// Half of the capital or of the votes, directly or indirectly, individually or in the
    /// aggregate, entity by entity: 28 CFR 202.211(a), read as OFAC's 50 percent rule is.
    pub const MAJORITY: Self = Self {
        name: "majority",
        alone: Bound::AtLeast(Share::percent(50)),
        together: Bound::AtLeast(Share::percent(50)),
        chains: Chains::Whole,
        outside_eu: false,
    };

    /// Over 24 % of the capital or of the votes alone or over 39 % together, directly or
    /// indirectly: SecNumCloud 3.2, section 19.6. Owners outside the European Union are taken for
    /// one party, [`crate::OUTSIDE_EU`], beside their own.
    pub const SECNUMCLOUD: Self = Self {
        name: "secnumcloud",
        alone: Bound::Over(Share::percent(24)),
        together: Bound::Over(Share::percent(39)),
        chains: Chains::Multiply,
        outside_eu: true,
    };

    /// A rule of one's own; `None` when owners who reach `together` between them would not have to
    /// reach `alone`: it would take less to hold jointly than to hold.
    #[must_use]
    pub fn own(alone: Share, together: Share, chains: Chains) -> Option<Self> {
        let (alone, together) = (Bound::AtLeast(alone), Bound::AtLeast(together));
        together.implies(alone).then_some(Self {
            name: "threshold",
            alone,
            together,
            chains,
            outside_eu: false,
        })
    }

    /// Its name in the configuration; `threshold` for a rule of one's own.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What one owner has to hold, directly or indirectly.
    #[must_use]
    pub const fn alone(&self) -> Bound {
        self.alone
    }

    /// What the owners that answer to one jurisdiction, to one alliance or to the members of a
    /// coalition have to hold together.
    #[must_use]
    pub const fn together(&self) -> Bound {
        self.together
    }

    /// What indirect holdings count for.
    #[must_use]
    pub const fn chains(&self) -> Chains {
        self.chains
    }

    /// Whether states outside the European Union are presumed to act together.
    pub(crate) const fn joins_outside_eu(&self) -> bool {
        self.outside_eu
    }
}

impl fmt::Display for ControlRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chains = match self.chains {
            Chains::Whole => "control passes whole along chains",
            Chains::Multiply => "shares multiply along chains",
        };
        write!(
            f,
            "{}: {} alone, {} together, of capital or votes; {chains}",
            self.name, self.alone, self.together
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    #[test]
    fn shares_are_exact_where_floats_are_not() {
        let of = |fraction| Share::from_fraction(fraction).expect("a fraction");
        assert_eq!(of(0.24), Share::percent(24));
        assert_eq!(of(0.1).and(of(0.2)), of(0.3));
        assert_eq!(of(1.0), Share::WHOLE);
        assert_eq!(Share::percent(24).rest(), Share::percent(76));
        for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Share::from_fraction(bad), None, "{bad}");
        }
        let product = Stake::from(Share::percent(60)).times(Share::percent(40));
        assert_eq!(product, Stake::from(Share::percent(24)));
        assert!(!Bound::Over(Share::percent(24)).is_reached(product));
        assert!(Bound::AtLeast(Share::percent(24)).is_reached(product));
    }

    #[test]
    fn a_share_of_nothing_reaches_no_bound() {
        assert!(!Bound::AtLeast(Share::NONE).is_reached(Stake::NONE));
        assert!(Bound::AtLeast(Share::NONE).is_reached(Stake::from(Share::percent(1))));
    }

    #[test]
    fn shares_are_shown_in_percent() {
        assert_eq!(Share::percent(40).to_string(), "40.0 %");
        assert_eq!(Share::from_fraction(0.3333).expect("a fraction").to_string(), "33.33 %");
        assert_eq!(Share::from_fraction(0.005).expect("a fraction").to_string(), "0.5 %");
        assert_eq!(Share::WHOLE.to_string(), "100.0 %");
    }

    #[test]
    fn it_may_not_take_less_to_hold_jointly_than_to_hold() {
        let (low, high) = (Share::percent(25), Share::percent(50));
        assert!(ControlRule::own(low, high, Chains::Whole).is_some());
        assert!(ControlRule::own(low, low, Chains::Whole).is_some());
        assert_eq!(ControlRule::own(high, low, Chains::Whole), None);
    }
}
