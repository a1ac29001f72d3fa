//! Packs the recorded incident that `truename demo` investigates into one tar archive (POSIX.1-1988 ustar).

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

const CASE: &str = "../../cases/dns-impostor/recording";

fn main() {
    println!("cargo::rerun-if-changed={CASE}");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join("demo.tar");
    let mut archive = Vec::new();
    let root = Path::new(CASE);
    for path in files(root) {
        let bytes = fs::read(&path).unwrap_or_default();
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        add(&mut archive, &name, &bytes);
    }
    archive.resize(archive.len() + 1024, 0);
    if let Err(error) = fs::File::create(&out).and_then(|mut file| file.write_all(&archive)) {
        println!("cargo::error=cannot write {}: {error}", out.display());
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return found };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// One member: header with name (split at a slash where it is longer than 100), then the bytes padded to 512.
fn add(archive: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    let (prefix, name) = match name.len() > 100 {
        true => name
            .match_indices('/')
            .map(|(at, _)| name.split_at(at))
            .find(|(_, rest)| rest.len() <= 101)
            .unwrap_or(("", name)),
        false => ("", name),
    };
    let mut header = [0u8; 512];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.trim_start_matches('/').as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", bytes.len()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(345, prefix.as_bytes());
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive.extend_from_slice(&header);
    archive.extend_from_slice(bytes);
    archive.resize(archive.len().next_multiple_of(512), 0);
}
