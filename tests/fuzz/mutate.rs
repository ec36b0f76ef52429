//! Mutations that an attacker might apply to a valid request.

use rand::{Rng, seq::IndexedRandom as _};

/// The maximum size of an input, in bytes.
const LONGEST: usize = 512 * 1024;

/// An input made from those in the pool and from tokens of the format.
pub fn mutated(random: &mut impl Rng, pool: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
    let mut input = pool.choose(random).cloned().unwrap_or_default();
    for _ in 0..random.random_range(1..8) {
        let at = random.random_range(0..=input.len());
        match random.random_range(0..8) {
            0 if at < input.len() => input[at] = random.random(),
            1 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            2 => splice(&mut input, at, &[random.random()]),
            3 => {
                let word: &[u8] = words.choose(random).copied().unwrap_or(b"x");
                splice(&mut input, at, word);
            }
            // Many repetitions, which is how most inputs that exhaust memory or the stack look.
            4 => {
                let word: &[u8] = words.choose(random).copied().unwrap_or(b"x");
                let repeated = word.repeat(1 << random.random_range(0..14));
                splice(&mut input, at, &repeated);
            }
            5 if at < input.len() => {
                let end = random.random_range(at..=input.len());
                input.drain(at..end);
            }
            6 if at < input.len() => {
                let end = random.random_range(at..=input.len());
                let piece = input[at..end].repeat(random.random_range(1..16));
                splice(&mut input, end, &piece);
            }
            7 => {
                let other = pool.choose(random).cloned().unwrap_or_default();
                let from = random.random_range(0..=other.len());
                splice(&mut input, at, &other[from..]);
            }
            _ => {}
        }
        input.truncate(LONGEST);
    }
    input
}

fn splice(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}
