//! Runs the program on recorded cases in folders of its own.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The recording of a bundled case.
pub(crate) fn recording(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases").join(case).join("recording")
}

/// A command with a key of its own, no colours, and no configuration of the user.
pub(crate) fn truename(work: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_truename"));
    command
        .env_remove("NO_COLOR")
        .env("TRUENAME_KEY", work.join("key"))
        .env("TRUENAME_OPERATOR", "tester")
        .current_dir(work);
    command
}

/// Runs `investigate` with a case folder `case`.
pub(crate) fn investigate(work: &Path, paths: &[&Path], more: &[&str]) -> Output {
    truename(work).arg("investigate").args(paths).args(["--case", "case"]).args(more).output().unwrap()
}

pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(crate) fn findings(work: &Path) -> String {
    fs::read_to_string(work.join("case/derived/findings.jsonl")).unwrap()
}

/// Every file of a recording below `to`, decompressed, with the paths that `keep` lets through.
pub(crate) fn unpack(case: &str, to: &Path, keep: &dyn Fn(&str) -> bool) {
    let root = recording(case);
    let mut open = vec![root.clone()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let label = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            let plain = label.strip_suffix(".zst").unwrap_or(&label).to_owned();
            if keep(&plain) {
                let target = to.join(&plain);
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                fs::write(target, read(&path)).unwrap();
            }
        }
    }
}

/// A file's bytes, decompressed if it is zstd.
pub(crate) fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "zst") {
        zstd::Decoder::new(file).unwrap().read_to_end(&mut bytes).unwrap();
    } else {
        std::io::BufReader::new(file).read_to_end(&mut bytes).unwrap();
    }
    bytes
}
