// SPDX-License-Identifier: BSD-2-Clause
//! Which addresses a server takes messages from: `192.0.2.0/24`, `2001:db8::1`.

use std::net::IpAddr;
use std::str::FromStr;

/// Addresses with the same leading bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

/// Why a word is no set of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address or ADDRESS/BITS, such as 192.0.2.0/24 or 2001:db8::1")]
pub struct NoCidr;

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Cidr {
    /// Whether it has an address. One of IPv4 that is written as one of IPv6
    /// is one of IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (ours, other) =
            (self.address.to_canonical(), address.to_canonical());
        let low = u32::from(width(ours).saturating_sub(self.bits));
        let high = |n: u128| n.checked_shr(low).unwrap_or(0);
        width(ours) == width(other) && high(number(ours)) == high(number(other))
    }
}

impl FromStr for Cidr {
    type Err = NoCidr;

    fn from_str(word: &str) -> Result<Self, NoCidr> {
        let (address, bits) = match word.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (word, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NoCidr)?;
        let bits = match bits {
            Some(bits) if bits.starts_with('+') => return Err(NoCidr),
            Some(bits) => bits.parse().map_err(|_| NoCidr)?,
            None => width(address),
        };
        match bits <= width(address) {
            true => Ok(Self { address, bits }),
            false => Err(NoCidr),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leading_bits_decide() {
        for (set, address, has) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.0", false),
            ("0.0.0.0/0", "255.0.0.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("192.0.2.0/24", "::ffff:192.0.2.9", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "::1", true),
            ("::/0", "127.0.0.1", false),
        ] {
            let set: Cidr = set.parse().unwrap();
            assert_eq!(set.contains(address.parse().unwrap()), has, "{set:?}");
        }
    }

    #[test]
    fn what_is_no_set_of_addresses_is_refused() {
        for bad in [
            "",
            "host",
            "192.0.2.0/33",
            "::/129",
            "1.2.3/8",
            "1.2.3.4/",
            "1.2.3.4/+8",
            "/8",
            "1.2.3.4/8/8",
        ] {
            assert_eq!(bad.parse::<Cidr>(), Err(NoCidr), "{bad}");
        }
    }
}
