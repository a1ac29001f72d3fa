//! Blocks of addresses. Enters: CIDR text and addresses; leaves: yes or no. The families never mix.

use std::net::IpAddr;

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    prefix: u32,
}

impl Cidr {
    /// Reads `address/length`; bits beyond the length are allowed and have no meaning.
    ///
    /// # Errors
    /// The text, if it is no block.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is no block of addresses");
        let (base, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let base: IpAddr = base.parse().map_err(|_| wrong())?;
        let prefix: u32 = prefix.parse().map_err(|_| wrong())?;
        let width = if base.is_ipv4() { 32 } else { 128 };
        if prefix > width { Err(wrong()) } else { Ok(Self { base, prefix }) }
    }

    /// True if the address lies in the block.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let differ = match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => u128::from(base.to_bits() ^ address.to_bits()) << 96,
            (IpAddr::V6(base), IpAddr::V6(address)) => base.to_bits() ^ address.to_bits(),
            _ => return false,
        };
        differ.leading_zeros() >= self.prefix
    }

    /// True if the other block lies in this one.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.prefix >= self.prefix && self.contains(other.base)
    }
}
