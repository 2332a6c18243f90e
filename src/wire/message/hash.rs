//! Java's string hash, which a consume queue keeps for a tag and an index file for a key.

/// Returns Java's `String.hashCode`: over UTF-16 units, wrapping.
pub fn java_string_hash(text: &str) -> i32 {
    java_string_hash_from(0, text)
}

/// Continues a Java string hash over more text, as if both were one string.
#[inline]
pub fn java_string_hash_from(hash: i32, text: &str) -> i32 {
    const POWERS: [i32; 9] = powers_of_31();
    if !text.is_ascii() {
        return text
            .encode_utf16()
            .fold(hash, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    }
    // Eight characters at a time break the chain of dependent multiplications.
    let mut hash = hash;
    let (chunks, rest) = text.as_bytes().as_chunks::<8>();
    for chunk in chunks {
        let mut sum = hash.wrapping_mul(POWERS[8]);
        for (at, &byte) in chunk.iter().enumerate() {
            sum = sum.wrapping_add(i32::from(byte).wrapping_mul(POWERS[7 - at]));
        }
        hash = sum;
    }
    rest.iter().fold(hash, |hash, &byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)))
}

const fn powers_of_31() -> [i32; 9] {
    let mut powers = [1_i32; 9];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1].wrapping_mul(31);
        at += 1;
    }
    powers
}

/// Returns the number a consume queue keeps for a tag: its Java hash, 0 for none.
pub fn tags_code(tags: &str) -> i64 {
    i64::from(java_string_hash(tags))
}
