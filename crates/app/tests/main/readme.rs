//! The README shows what the demo really prints. `UPDATE=1` writes it there.

use std::fs;
use std::path::Path;

use crate::support::{text, truename};

const BEGIN: &str = "<!-- demo:begin -->\n";
const END: &str = "<!-- demo:end -->";

#[test]
fn the_readme_shows_the_demo() {
    let work = tempfile::tempdir().unwrap();
    let output = truename(work.path()).arg("demo").output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let printed = String::from_utf8(output.stdout).unwrap();
    // The receipt names a fresh key; everything else is the same on every machine.
    let stable: Vec<&str> = printed
        .lines()
        .skip_while(|line| !line.starts_with("  lookups"))
        .take_while(|line| !line.starts_with("receipt"))
        .collect();
    assert!(stable.iter().any(|line| line.contains("dns-helper")), "the attacker pod is named");
    let shown = format!(
        "{BEGIN}```\n$ truename demo\n…\n{}\nreceipt  truename-receipt-v1 …\n```\n",
        stable.join("\n")
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (head, rest) = readme.split_once(BEGIN).unwrap();
    let (_, tail) = rest.split_once(END).unwrap();
    let expected = format!("{head}{shown}{END}{tail}");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), expected, "run `cargo xtask golden` and read the diff");
}
