//! Who asked each lookup, as of the time it was asked, remembered per address and stretch of the history (design, I4).
//!
//! Enters: lookups; leaves: attributions. Deliberately absent: how owners are known (the `cluster` crate).

use std::net::IpAddr;

use truename_model::time::MILLI;
use truename_model::{Attribution, ClockBasis, Interval, ObservedAt, Transaction, UnknownOwner};

use crate::knowledge::Knowledge;

/// Slots of the memo: a pod address has one, a flood of addresses only pushes others out.
const SLOTS: usize = 1 << 15;

/// Skew admitted between the clock of a capture or tap and the API server's, nanoseconds.
pub const SKEW: i64 = 50 * MILLI;
/// How late a log line's time may be: the runtime stamps it when it reads it.
pub const LINE_LAG: i64 = 250 * MILLI;

/// Attribution with its memo.
pub struct Attributor {
    memo: Vec<Option<(IpAddr, Interval, Attribution)>>,
    evictions: u64,
}

impl Default for Attributor {
    fn default() -> Self {
        Self { memo: vec![None; SLOTS], evictions: 0 }
    }
}

impl Attributor {
    /// Who made the lookup.
    pub fn of(&mut self, transaction: &Transaction, knowledge: &dyn Knowledge) -> Attribution {
        let Some(ip) = transaction.client_ip() else { return Attribution::Unknown(UnknownOwner::NoClient) };
        let Some(at) = transaction.asked.interval() else {
            return Attribution::Unknown(UnknownOwner::NoTime);
        };
        self.owner(ip, widened(at, transaction.asked), knowledge)
    }

    fn owner(&mut self, ip: IpAddr, at: Interval, knowledge: &dyn Knowledge) -> Attribution {
        let slot = &mut self.memo[slot_of(ip)];
        if let Some((known, stretch, attribution)) = slot
            && *known == ip
            && stretch.lo <= at.lo
            && at.hi <= stretch.hi
        {
            return attribution.clone();
        }
        let (attribution, stretch) = knowledge.owners(ip, at);
        if let Some(stretch) = stretch {
            self.evictions += u64::from(slot.as_ref().is_some_and(|(known, _, _)| *known != ip));
            *slot = Some((ip, stretch, attribution.clone()));
        }
        attribution
    }

    /// How many addresses pushed another one out.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }
}

/// The interval in which the owner must have held the address: skew, and for log lines their lag.
fn widened(at: Interval, asked: ObservedAt) -> Interval {
    let skewed = at.widened(SKEW);
    match asked {
        ObservedAt::Known(_, ClockBasis::Packet | ClockBasis::Dnstap) => skewed,
        _ => Interval { lo: skewed.lo.plus(-LINE_LAG), hi: skewed.hi },
    }
}

fn slot_of(ip: IpAddr) -> usize {
    let bits = match ip {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            (bits >> 64) as u64 ^ bits as u64
        }
    };
    (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 49) as usize & (SLOTS - 1)
}
