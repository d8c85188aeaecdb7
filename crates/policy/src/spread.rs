//! How much of what is stored each site should get, and the order of sites that brings it about
//! blob by blob.
//!
//! **Invariant.** Of many blobs, each site comes first as often as its share says; a site that is
//! added or left out changes the order of the others for no blob. Equal input gives equal order, on
//! every machine.
//!
//! **Deliberately absent.** The guarantee: the order is a wish ([`crate::PlacementPolicy::place`]).
//! Health and latency: the caller knows them.
//!
//! **Crash.** Pure.

use alloc::vec::Vec;
use havre_model::{BlobId, SiteId};

/// The share of a site that should get the most.
pub const SHARE_MAX: u8 = 64;
/// What a site that costs much more than the cheapest gets of its share, at least: one part of so
/// many.
const DEAREST: u128 = 16;

/// What is known of a site's room and price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes that may be stored there; `None` where nobody said.
    pub capacity: Option<u64>,
    /// Bytes of shards that are stored there.
    pub used: u64,
    /// What a stored GB costs a month, in millionths of whatever currency; `None` where nobody
    /// said.
    pub price_micros: Option<u64>,
}

/// What a share goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The room that is left: where the next blob should go.
    Free,
    /// All the room there is: where all blobs should be in the end.
    Capacity,
}

/// The share of each site, 0 for one that is full, up to [`SHARE_MAX`]: in proportion to its room
/// (a site of which nobody said how much has as much as the others on average), and to how much
/// less than others it costs.
#[must_use]
pub fn shares(sites: &[Room], by: Measure) -> Vec<u8> {
    let room = |site: &Room| {
        site.capacity.map(|capacity| match by {
            Measure::Free => capacity.saturating_sub(site.used),
            Measure::Capacity => capacity,
        })
    };
    let known: Vec<u128> = sites.iter().filter_map(room).map(u128::from).collect();
    let average = match known.len() as u128 {
        0 => 1,
        count => (known.iter().sum::<u128>() / count).max(1),
    };
    let cheapest =
        sites.iter().filter_map(|site| site.price_micros).min().map_or(1, |it| it.max(1));
    let weight = |site: &Room| {
        let room = room(site).map_or(average, u128::from);
        let price = site.price_micros.map_or(cheapest, |price| price.max(1));
        // In sixteenths of a 1024th, so that a small difference shows.
        let cheap = (DEAREST * 1024 * u128::from(cheapest) / u128::from(price)).max(1024);
        room.saturating_mul(cheap)
    };
    let weights: Vec<u128> = sites.iter().map(weight).collect();
    let most = weights.iter().copied().max().unwrap_or_default().max(1);
    let share = |weight: &u128| {
        let share = weight.saturating_mul(u128::from(SHARE_MAX)).div_ceil(most);
        u8::try_from(share).unwrap_or(SHARE_MAX)
    };
    weights.iter().map(share).collect()
}

/// The positions of these sites, with the share of each, in the order of this blob's wishes.
/// Weighted rendezvous hashing: each site draws as many numbers as its share says, and its greatest
/// counts (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998).
#[must_use]
pub fn spread(blob: BlobId, sites: &[(SiteId, u8)]) -> Vec<usize> {
    let [low, high] = halves(blob);
    let draw = |(id, share): &(SiteId, u8)| {
        let seed = mix(low ^ mix(high ^ u64::from_le_bytes(*id.as_bytes())));
        (0..*share).map(|number| mix(seed.wrapping_add(u64::from(number)))).max()
    };
    let mut order: Vec<(Option<u64>, usize)> =
        sites.iter().enumerate().map(|(position, site)| (draw(site), position)).collect();
    order.sort_by_key(|(drawn, position)| (core::cmp::Reverse(*drawn), *position));
    order.into_iter().map(|(_, position)| position).collect()
}

fn halves(blob: BlobId) -> [u64; 2] {
    let (low, high) = blob.as_bytes().split_at(8);
    [low, high].map(|half| half.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014): every bit of the result depends on every bit of the input.
const fn mix(seed: u64) -> u64 {
    let seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOBS: u32 = 20_000;

    fn blob(number: u32) -> BlobId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        BlobId::from_bytes(bytes)
    }

    fn sites(shares: &[u8]) -> Vec<(SiteId, u8)> {
        let site = |(at, share): (usize, &u8)| {
            (SiteId::from_bytes([u8::try_from(at).expect("few"); 8]), *share)
        };
        shares.iter().enumerate().map(site).collect()
    }

    #[test]
    fn each_site_comes_first_as_often_as_its_share_says() {
        let sites = sites(&[64, 32, 16, 0, 16]);
        let mut first = [0_u32; 5];
        for number in 0..BLOBS {
            let order = spread(blob(number), &sites);
            assert_eq!(order[4], 3, "a site without a share comes last");
            first[order[0]] += 1;
        }
        for (count, of_128) in first.iter().zip([64, 32, 16, 0, 16]) {
            let expected = BLOBS * of_128 / 128;
            assert!(count.abs_diff(expected) <= BLOBS / 50, "{first:?}");
        }
    }

    #[test]
    fn a_new_site_changes_the_order_of_the_others_for_no_blob() {
        let (few, more) = (sites(&[64; 6]), sites(&[64; 8]));
        for number in 0..1000 {
            let order = spread(blob(number), &few);
            let mut without = spread(blob(number), &more);
            without.retain(|position| *position < 6);
            assert_eq!(order, without);
        }
    }

    #[test]
    fn shares_follow_room_and_price() {
        let room = |capacity, used, price_micros| Room { capacity, used, price_micros };
        let nothing = [Room::default(); 3];
        assert_eq!(shares(&nothing, Measure::Free), [64, 64, 64]);
        let sites =
            [room(Some(100), 0, None), room(Some(100), 50, None), room(Some(100), 100, None)];
        assert_eq!(shares(&sites, Measure::Free), [64, 32, 0]);
        assert_eq!(shares(&sites, Measure::Capacity), [64, 64, 64]);
        let unknown = [room(Some(300), 0, None), room(None, 7, None), room(Some(100), 0, None)];
        assert_eq!(shares(&unknown, Measure::Free), [64, 43, 22]);
        let prices =
            [room(None, 0, Some(10)), room(None, 0, Some(20)), room(None, 0, Some(10_000))];
        assert_eq!(shares(&prices, Measure::Free), [64, 32, 4]);
        let free_of_charge = [room(None, 0, Some(0)), room(None, 0, Some(20_000))];
        assert_eq!(shares(&free_of_charge, Measure::Free), [64, 4]);
        let huge = [room(Some(u64::MAX), 0, Some(u64::MAX)), room(Some(u64::MAX), 0, Some(1))];
        assert_eq!(shares(&huge, Measure::Free), [4, 64]);
        assert_eq!(shares(&[], Measure::Free), []);
        assert_eq!(shares(&[room(Some(5), 9, None)], Measure::Free), [0]);
    }
}
