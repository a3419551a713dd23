//! The Internet checksum (RFC 1071) of whole payloads, with as wide instructions as the processor has: where they lie, or
//! on their way to another place.

#[cfg(target_arch = "x86_64")]
use std::arch::is_x86_feature_detected;

use crate::wire::ip;

/// The sum of 16-bit words with end-around carry, of up to 16 MiB; as `ip::ones_complement_sum`.
pub fn sum(octets: &[u8]) -> u16 {
    pass::<false>(octets, &mut [])
}

/// The same of `from`, which is copied to `to`. Panics where they are not equally long.
pub fn copy_and_sum(from: &[u8], to: &mut [u8]) -> u16 {
    assert_eq!(from.len(), to.len(), "what is copied fits its place");
    pass::<true>(from, to)
}

#[inline]
fn pass<const COPY: bool>(from: &[u8], to: &mut [u8]) -> u16 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni") {
        // SAFETY: the processor has these instructions, and with COPY both are equally long.
        return unsafe { x86::by_512_bits::<COPY>(from, to) };
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: as above.
        return unsafe { x86::by_256_bits::<COPY>(from, to) };
    }
    portable::<COPY>(from, to)
}

fn portable<const COPY: bool>(from: &[u8], to: &mut [u8]) -> u16 {
    if COPY {
        to.copy_from_slice(from);
    }
    ip::ones_complement_sum(from)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::portable;
    use crate::wire::ip::fold;

    const WIDE: usize = 64;
    const HALF: usize = 32;
    /// Sums that grow side by side, because each addition takes longer than the next one could begin.
    const LANES: usize = 4;

    /// With COPY, `to` is as long as `from`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub unsafe fn by_512_bits<const COPY: bool>(from: &[u8], to: &mut [u8]) -> u16 {
        // Of each word the first octet, and of each the second.
        let (first, second) = (_mm512_set1_epi32(0x0001_0001), _mm512_set1_epi32(0x0100_0100));
        let (mut firsts, mut seconds) = ([_mm512_setzero_si512(); LANES], [_mm512_setzero_si512(); LANES]);
        let (source, place) = (from.as_ptr(), to.as_mut_ptr());
        let mut at = 0;
        while at + WIDE * LANES <= from.len() {
            for lane in 0..LANES {
                let here = at + WIDE * lane;
                // SAFETY: WIDE octets from `here` on are within `from`.
                let octets = unsafe { _mm512_loadu_si512(source.add(here).cast()) };
                if COPY {
                    // SAFETY: and so within `to`.
                    unsafe { _mm512_storeu_si512(place.add(here).cast(), octets) };
                }
                firsts[lane] = _mm512_dpbusd_epi32(firsts[lane], octets, first);
                seconds[lane] = _mm512_dpbusd_epi32(seconds[lane], octets, second);
            }
            at += WIDE * LANES;
        }
        for lane in 0..LANES {
            let left = (from.len() - at).min(WIDE);
            if left == 0 {
                break;
            }
            let mask = u64::MAX >> (WIDE - left);
            // SAFETY: only the `left` octets that the mask names are read, which are within `from`.
            let octets = unsafe { _mm512_maskz_loadu_epi8(mask, source.add(at).cast()) };
            if COPY {
                // SAFETY: only those are written, within `to`.
                unsafe { _mm512_mask_storeu_epi8(place.add(at).cast(), mask, octets) };
            }
            firsts[lane] = _mm512_dpbusd_epi32(firsts[lane], octets, first);
            seconds[lane] = _mm512_dpbusd_epi32(seconds[lane], octets, second);
            at += left;
        }
        let all = |four: [__m512i; LANES]| {
            let two = (_mm512_add_epi32(four[0], four[1]), _mm512_add_epi32(four[2], four[3]));
            u64::from(_mm512_reduce_add_epi32(_mm512_add_epi32(two.0, two.1)) as u32)
        };
        fold(256 * all(firsts) + all(seconds))
    }

    /// With COPY, `to` is as long as `from`.
    #[target_feature(enable = "avx2")]
    pub unsafe fn by_256_bits<const COPY: bool>(from: &[u8], to: &mut [u8]) -> u16 {
        let lower = _mm256_set1_epi64x(0xFFFF_FFFF);
        let mut sums = [_mm256_setzero_si256(); LANES];
        let (source, place) = (from.as_ptr(), to.as_mut_ptr());
        let mut at = 0;
        while at + 2 * HALF <= from.len() {
            for lane in [0, 2] {
                let here = at + HALF / 2 * lane;
                // SAFETY: HALF octets from `here` on are within `from`.
                let octets = unsafe { _mm256_loadu_si256(source.add(here).cast()) };
                if COPY {
                    // SAFETY: and so within `to`.
                    unsafe { _mm256_storeu_si256(place.add(here).cast(), octets) };
                }
                sums[lane] = _mm256_add_epi64(sums[lane], _mm256_and_si256(octets, lower));
                sums[lane + 1] = _mm256_add_epi64(sums[lane + 1], _mm256_srli_epi64::<32>(octets));
            }
            at += 2 * HALF;
        }
        let all = _mm256_add_epi64(_mm256_add_epi64(sums[0], sums[1]), _mm256_add_epi64(sums[2], sums[3]));
        let mut four = [0u64; 4];
        // SAFETY: there is room for 256 bits.
        unsafe { _mm256_storeu_si256(four.as_mut_ptr().cast(), all) };
        // In the machine's own order, which only turns the octets of the result round (RFC 1071 section 2 B).
        let total = u16::from_be(fold(four.iter().sum()));
        let rest = portable::<COPY>(&from[at..], to.get_mut(at..).unwrap_or_default());
        fold(u64::from(total) + u64::from(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 section 1, word by word.
    fn plainly(octets: &[u8]) -> u16 {
        let words = octets.chunks(2).map(|two| u64::from(two[0]) << 8 | u64::from(*two.get(1).unwrap_or(&0)));
        ip::fold(words.sum())
    }

    fn octets(count: usize) -> Vec<u8> {
        (0..count).map(|at| (at * 167 + at / 251 * 31 + 1) as u8).collect()
    }

    type Pass = unsafe fn(&[u8], &mut [u8]) -> u16;

    /// What this processor has of it, with and without a copy.
    fn passes() -> Vec<(Pass, Pass)> {
        let mut all: Vec<(Pass, Pass)> = vec![(portable::<false>, portable::<true>), (pass::<false>, pass::<true>)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni") {
                all.push((x86::by_512_bits::<false>, x86::by_512_bits::<true>));
            }
            if is_x86_feature_detected!("avx2") {
                all.push((x86::by_256_bits::<false>, x86::by_256_bits::<true>));
            }
        }
        all
    }

    #[test]
    fn every_way_to_add_up_comes_to_the_same_and_copies_all() {
        let from = octets(70_000);
        let lengths = (0..600).chain([1348, 1400, 8999, 9000, 65_535, 65_536]);
        for (begin, length) in lengths.flat_map(|length| [(0, length), (1, length), (63, length)]) {
            let part = &from[begin..begin + length];
            for (look, copy) in passes() {
                let mut to = vec![0xA5; length + 2];
                // SAFETY: only what the processor has is among them, and both are equally long.
                let sums = unsafe { (look(part, &mut []), copy(part, &mut to[1..=length])) };
                assert_eq!(sums, (plainly(part), plainly(part)), "{length} octets from {begin} on");
                assert_eq!((&to[1..=length], to[0], to[length + 1]), (part, 0xA5, 0xA5));
            }
        }
    }

    #[test]
    fn the_largest_sums_fit() {
        for (look, _) in passes() {
            // SAFETY: as above.
            assert_eq!(unsafe { look(&vec![0xFF; 1 << 24], &mut []) }, 0xFFFF);
        }
        assert_eq!(sum(&[]), 0);
    }

    #[test]
    #[should_panic(expected = "fits its place")]
    fn a_copy_has_its_place() {
        copy_and_sum(&[1, 2], &mut [0; 3]);
    }
}
