//! The one number that routes everything: a key's partition, computed as Kafka's Java client does.

use uuid::Uuid;

/// `toPositive(murmur2(key)) % partitions`, as `BuiltInPartitioner.partitionForKey` of Kafka's Java client
/// (librdkafka: `murmur2_random`). The key of an order is the canonical lower-case text of its id.
///
/// # Panics
/// If `partitions` is not positive.
pub fn partition_for(key: &[u8], partitions: i32) -> i32 {
    assert!(partitions > 0, "a topic has at least one partition");
    (murmur2(key) & 0x7fff_ffff) as i32 % partitions
}

/// [`partition_for`] the canonical text of `id`, without allocating it.
pub fn partition_for_id(id: Uuid, partitions: i32) -> i32 {
    let mut text = Uuid::encode_buffer();
    partition_for(id.hyphenated().encode_lower(&mut text).as_bytes(), partitions)
}

/// `org.apache.kafka.common.utils.Utils.murmur2`: MurmurHash 2 with its fixed seed.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut h = SEED ^ data.len() as u32;
    let (chunks, rest) = data.as_chunks::<4>();
    for chunk in chunks {
        let mut k = u32::from_le_bytes(*chunk);
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    for (at, byte) in rest.iter().enumerate() {
        h ^= u32::from(*byte) << (8 * at);
    }
    if !rest.is_empty() {
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_the_java_clients() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn an_ids_partition_is_its_texts() {
        for _ in 0..100 {
            let id = Uuid::now_v7();
            let partition = partition_for(id.to_string().as_bytes(), 7);
            assert_eq!(partition_for_id(id, 7), partition);
            assert!((0..7).contains(&partition));
        }
    }
}
