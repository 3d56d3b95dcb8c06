//! UUIDs of version 7 (RFC 9562, section 5.7) from a given time. No clock: the time is the caller's.

use uuid::{Builder, Uuid};

/// The greatest time that fits, in Unix milliseconds: 48 bits.
const LAST_MS: i64 = (1 << 48) - 1;

/// A new id whose time is `ms` (Unix milliseconds, 0 to 2^48 − 1; beyond, the nearest).
pub fn mint(ms: i64) -> Uuid {
    let random = Uuid::new_v4().into_bytes();
    // Without the bytes that hold the version and the variant.
    let mut bits = [0; 10];
    bits[..6].copy_from_slice(&random[..6]);
    bits[6..].copy_from_slice(&random[9..13]);
    Builder::from_unix_timestamp_millis(clamp(ms), &bits).into_uuid()
}

/// The time in an id of version 7, in Unix milliseconds; `None` for any other version or variant.
pub fn timestamp_ms(id: Uuid) -> Option<i64> {
    let is_v7 = id.get_version_num() == 7 && id.get_variant() == uuid::Variant::RFC4122;
    is_v7.then(|| i64::try_from(id.as_u128() >> 80).unwrap_or(LAST_MS))
}

/// The least value that an id of time `ms` or later can have: a bound for range partitions and scans, no id
/// itself.
pub fn lower_bound(ms: i64) -> Uuid {
    Uuid::from_u128(u128::from(clamp(ms)) << 80)
}

fn clamp(ms: i64) -> u64 {
    ms.clamp(0, LAST_MS).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_keeps_its_time_and_stands_between_its_bounds(ms in 0..LAST_MS) {
            let id = mint(ms);
            prop_assert_eq!(id.get_version_num(), 7);
            prop_assert_eq!(timestamp_ms(id), Some(ms));
            prop_assert!(lower_bound(ms) < id && id < lower_bound(ms + 1));
        }
    }

    #[test]
    fn other_versions_have_no_time() {
        assert_eq!(timestamp_ms(Uuid::new_v4()), None);
        assert_eq!(timestamp_ms(Uuid::nil()), None);
        assert_eq!(timestamp_ms(lower_bound(5)), None);
    }

    #[test]
    fn ids_of_one_millisecond_differ() {
        assert_ne!(mint(1), mint(1));
    }
}
