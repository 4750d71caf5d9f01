//! Base64 as lenient decoders read it: what is in no alphabet is skipped, and padding may stand anywhere.

use super::MAX_NAME;

/// The two characters in which alphabets differ (RFC 4648 §4).
pub(super) const STANDARD: [u8; 2] = *b"+/";
/// The same for URLs (RFC 4648 §5).
pub(super) const FOR_URLS: [u8; 2] = *b"-_";

/// What an `=` is in Base64 that goes on after it.
#[derive(Clone, Copy)]
pub(super) enum Padding {
    /// Nothing.
    Skipped,
    /// Six zero bits.
    Zero,
    /// The end of one text, after which another begins.
    Ends,
}

/// What stands before the first byte `end`, one byte more than a name may have at most.
pub(super) fn decode(text: &[u8], alphabets: &[[u8; 2]], padding: Padding, end: u8) -> Vec<u8> {
    let mut name = Vec::new();
    let (mut bits, mut count) = (0_u32, 0_u8);
    for byte in text {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'=' => match padding {
                Padding::Skipped => continue,
                Padding::Zero => 0,
                Padding::Ends => {
                    (bits, count) = (0, 0);
                    continue;
                }
            },
            other if alphabets.iter().any(|[plus, _]| plus == other) => 62,
            other if alphabets.iter().any(|[_, slash]| slash == other) => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            let [.., next] = (bits >> count).to_be_bytes();
            bits &= (1 << count) - 1;
            if next == end || name.len() > MAX_NAME {
                break;
            }
            name.push(next);
        }
    }
    name
}
