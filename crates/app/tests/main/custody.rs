//! What the options promise of the case: whose it is, what is kept, what each layer was, who else may write.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use truename_evidence::{Case, Item, Limits, Options, Reader, SigningKeyFile};
use truename_model::Nanos;

use crate::support::{investigate, text};

const LINE: &str = "2026-11-25T03:00:01.000000000Z stdout F [INFO] 10.244.0.9:4000 - 7 \"A IN a.example. udp 40 false 512\" NOERROR qr,aa,rd 60 0.0001s\n";

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|octet| format!("{octet:02x}")).collect()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn items(work: &Path) -> Vec<Item> {
    Reader::open(&work.join("case")).unwrap().items().to_vec()
}

#[test]
fn custody_names_the_operator_and_the_digest_of_every_layer() {
    let work = tempfile::tempdir().unwrap();
    let packed = gz(LINE.as_bytes());
    fs::write(work.path().join("a.gz"), &packed).unwrap();
    investigate(work.path(), &[Path::new("a.gz")], &[]);
    let [item] = &items(work.path())[..] else { panic!("one item") };
    assert_eq!(item.begin.operator, "tester");
    assert!(!item.begin.tool.is_empty());
    let layers: Vec<_> = item
        .begin
        .layers
        .iter()
        .map(|layer| (layer.layer.as_str(), layer.size, layer.sha256.to_string()))
        .collect();
    let of = |name, bytes: &[u8]| (name, bytes.len() as u64, hex(bytes));
    assert_eq!(layers, [of("", &packed), of("gz", LINE.as_bytes())]);
    assert_eq!(item.begin.sha256.to_string(), hex(LINE.as_bytes()));
}

#[test]
fn originals_are_copied_only_when_asked_for() {
    for (options, kept) in [(&["--copy-originals"][..], true), (&[], false)] {
        let work = tempfile::tempdir().unwrap();
        let packed = gz(LINE.as_bytes());
        fs::write(work.path().join("a.gz"), &packed).unwrap();
        investigate(work.path(), &[Path::new("a.gz")], options);
        assert_eq!(items(work.path())[0].begin.original_kept, kept);
        let copy = fs::read(work.path().join("case/evidence/originals").join(hex(&packed))).ok();
        assert_eq!(copy, kept.then_some(packed));
    }
}

/// A capture of raw IPv4: one UDP packet to port 443 that is no DNS.
fn capture() -> Vec<u8> {
    let udp = [&[0x9c, 0x40, 1, 0xbb, 0, 16, 0, 0][..], b"whatever"].concat();
    let ip = [&[0x45, 0, 0, 36, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 9, 10, 0, 0, 8][..], &udp].concat();
    let mut out = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101].map(u32::to_le_bytes).concat();
    out.extend([1_764_000_000, 0, ip.len() as u32, ip.len() as u32].map(u32::to_le_bytes).concat());
    out.extend(ip);
    out
}

#[test]
fn packets_that_are_not_dns_are_kept_only_with_keep_all() {
    for (options, lost) in [(&["--keep-all"][..], 0), (&[], 1)] {
        let work = tempfile::tempdir().unwrap();
        fs::write(work.path().join("a.pcap"), capture()).unwrap();
        investigate(work.path(), &[Path::new("a.pcap")], options);
        let end = items(work.path())[0].end.clone().unwrap();
        let dropped: u64 =
            end.losses.iter().filter(|loss| loss.cause == "not-dns").map(|loss| loss.records).sum();
        assert_eq!((dropped, end.offered - end.stored), (lost, lost), "{options:?}: {end:?}");
    }
}

#[test]
fn a_second_writer_is_refused_while_the_first_holds_the_case() {
    let work = tempfile::tempdir().unwrap();
    fs::write(work.path().join("a.log"), LINE).unwrap();
    let key = Arc::new(SigningKeyFile::load_or_create(&work.path().join("key")).unwrap());
    let options = Options { now: Box::new(|| Nanos(1)), tool: String::new(), limits: Limits::default() };
    let first = Case::open_or_create(&work.path().join("case"), key, options).unwrap();
    let output = investigate(work.path(), &[Path::new("a.log")], &[]);
    assert!(!output.status.success(), "{}", text(&output));
    assert!(text(&output).contains(&format!("pid {}", std::process::id())), "{}", text(&output));
    drop(first);
    let output = investigate(work.path(), &[Path::new("a.log")], &[]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_terminal_gets_colours_unless_no_color_is_set() {
    let work = tempfile::tempdir().unwrap();
    fs::write(work.path().join("a.log"), LINE).unwrap();
    investigate(work.path(), &[Path::new("a.log")], &[]);
    // util-linux's `script` gives the program a terminal.
    let shown = |no_color: Option<&str>| {
        let mut command = Command::new("script");
        let program = format!("{} report case", env!("CARGO_BIN_EXE_truename"));
        command.args(["-qec", &program, "/dev/null"]).current_dir(work.path()).env_remove("NO_COLOR");
        no_color.map(|value| command.env("NO_COLOR", value));
        command.output().ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Some(coloured) = shown(None) else {
        println!("skipped: colours on a terminal (no `script`)");
        return;
    };
    assert!(coloured.contains("Coverage") && coloured.contains("\x1b["), "{coloured:?}");
    assert!(shown(Some("")).unwrap().contains("\x1b["), "an empty NO_COLOR is none");
    let plain = shown(Some("1")).unwrap();
    assert!(plain.contains("Coverage") && !plain.contains("\x1b["), "{plain:?}");
}
