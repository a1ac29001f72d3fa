//! The committed recordings, and messages of other projects where they are at hand, through every body: as they are, cut
//! short at many places, with octets changed. The changes are those of a fixed xorshift, so that a failure comes again.

use std::fs;
use std::time::{Duration, Instant};

use super::seeds::{root, seeds};
use super::{TARGETS, list};

/// Time for all seeds of one body; what is left over is counted and told.
const BUDGET: Duration = Duration::from_millis(1_500);

struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below.max(1) as u64).unwrap()
    }
}

fn alter(seed: &[u8], random: &mut Xorshift) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    if random.next(2) == 0 {
        bytes.truncate(random.next(seed.len() + 1));
    }
    for _ in 0..random.next(6) {
        let len = bytes.len();
        if let Some(octet) = bytes.get_mut(random.next(len)) {
            *octet = u8::try_from(random.next(256)).unwrap();
        }
    }
    bytes
}

#[test]
fn seeds_pass_through_every_body() {
    let seeds = seeds().unwrap();
    assert!(seeds.len() > 20, "the committed recordings are there");
    for (name, body) in TARGETS {
        let (began, mut random, mut runs) = (Instant::now(), Xorshift(0x9e37_79b9_7f4a_7c15), 0_u32);
        body(b"");
        while began.elapsed() < BUDGET {
            let seed = &seeds[random.next(seeds.len())];
            body(&alter(seed, &mut random));
            runs += 1;
        }
        println!("{name}: {runs} altered seeds");
        assert!(runs > 0, "{name}");
    }
}

#[test]
fn every_body_has_its_target_and_every_target_its_body() {
    let mut files = Vec::new();
    list(&root().join("fuzz/fuzz_targets"), &mut files);
    let mut found: Vec<String> =
        files.iter().map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    found.sort();
    assert_eq!(found, TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for name in found {
        assert!(
            manifest.contains(&format!("\"fuzz_targets/{name}.rs\"")),
            "{name} is not in fuzz/Cargo.toml"
        );
    }
}
