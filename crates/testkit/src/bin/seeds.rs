//! Writes the seeds of the fuzz targets into a folder, one file each; `cargo xtask fuzz` begins with them.

#![allow(clippy::print_stderr, reason = "a development command prints")]

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(dir) = std::env::args().nth(1) else {
        eprintln!("usage: seeds DIR");
        return ExitCode::from(2);
    };
    match write(Path::new(&dir)) {
        Ok(count) => {
            eprintln!("fuzz: {count} seeds in {dir}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("fuzz: seeds in {dir}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(dir: &Path) -> io::Result<usize> {
    fs::create_dir_all(dir)?;
    let seeds = truename_testkit::fuzzing::seeds::seeds()?;
    for (index, seed) in seeds.iter().enumerate() {
        fs::write(dir.join(format!("{index:04}")), seed)?;
    }
    Ok(seeds.len())
}
