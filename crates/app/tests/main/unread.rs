//! What is offered and cannot be read is in the log, in the coverage and in the exit code, in every output.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;
use std::sync::Arc;
use truename_evidence::{Case, ItemBegin, Limits, NewPiece, Options, SigningKeyFile};
use truename_model::Nanos;

use crate::support::{investigate, text, truename};

const LINE: &str = "2026-11-25T03:00:01.000000000Z stdout F [INFO] 10.244.0.9:4000 - 7 \"A IN a.example. udp 40 false 512\" NOERROR qr,aa,rd 60 0.0001s\n";

fn run(work: &Path, arguments: &[&str]) -> Output {
    truename(work).args(arguments).output().unwrap()
}

fn outcome(work: &Path) -> Value {
    serde_json::from_slice(&fs::read(work.join("case/derived/outcome.json")).unwrap()).unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A member of a tar: header, content, padding.
fn member(name: &str, kind: u8, target: &str, content: &[u8]) -> Vec<u8> {
    let mut block = vec![0u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[156] = kind;
    block[157..157 + target.len()].copy_from_slice(target.as_bytes());
    block[257..263].copy_from_slice(b"ustar\0");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block.extend_from_slice(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

/// The case names each of `gaps` in the custody log, the summary, the page and the outcome.
fn check_named(work: &Path, gaps: &[&str]) {
    let custody = text(&run(work, &["custody", "log", "case"]));
    let summary = text(&run(work, &["report", "case"]));
    let page = fs::read_to_string(work.join("case/derived/report.html")).unwrap();
    let told = outcome(work)["coverage"]["gaps"].clone();
    for gap in gaps {
        assert_eq!(custody.matches(gap).count(), 1, "{gap}: {custody}");
        assert!(summary.contains(&format!("lost: {gap}")), "{gap}: {summary}");
        assert!(page.contains(gap), "{gap}");
        assert!(
            told.as_array().unwrap().iter().any(|told| told.as_str().unwrap().contains(gap)),
            "{gap}: {told}"
        );
    }
    assert!(summary.contains(&format!(" {} losses,", gaps.len())), "{summary}");
    assert!(run(work, &["verify", "case"]).status.success());
}

#[test]
fn links_sockets_and_folders_too_deep_are_gaps() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("in");
    let deep = (0..40).fold(folder.clone(), |path, _| path.join("d"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("deep.log"), LINE).unwrap();
    fs::write(folder.join("a.log"), LINE).unwrap();
    std::os::unix::fs::symlink("/nowhere/b.log", folder.join("b.log")).unwrap();
    let _socket = UnixListener::bind(folder.join("s")).unwrap();
    let gaps = [
        "in/b.log: a link to /nowhere/b.log, never followed",
        "in/s: neither a file nor a folder",
        &format!("in{}: more than 32 folders deep", "/d".repeat(33)),
    ];
    // The second run finds the same and says it no second time.
    for _ in 0..2 {
        let output = investigate(work.path(), &[Path::new("in")], &[]);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output));
        check_named(work.path(), &gaps);
    }
}

#[test]
fn a_folder_that_may_not_be_read_is_a_gap() {
    use std::os::unix::fs::PermissionsExt as _;
    let work = tempfile::tempdir().unwrap();
    let closed = work.path().join("in/closed");
    fs::create_dir_all(&closed).unwrap();
    fs::write(work.path().join("in/a.log"), LINE).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(&closed).is_ok() {
        println!("skipped: a folder that may not be read (root may read everything)");
        return;
    }
    let output = investigate(work.path(), &[Path::new("in")], &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    check_named(work.path(), &["in/closed: Permission denied"]);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_folder_of_links_alone_names_them() {
    let work = tempfile::tempdir().unwrap();
    fs::create_dir(work.path().join("in")).unwrap();
    std::os::unix::fs::symlink("../x.log", work.path().join("in/x.log")).unwrap();
    let output = investigate(work.path(), &[Path::new("in")], &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    check_named(work.path(), &["in/x.log: a link to ../x.log, never followed"]);
}

#[test]
fn members_of_a_tar_that_are_no_files_are_gaps() {
    let work = tempfile::tempdir().unwrap();
    let mut tar = member("a.log", b'0', "", LINE.as_bytes());
    tar.extend(member("hard", b'1', "a.log", b""));
    tar.extend(member("soft", b'2', "/etc/passwd", b""));
    tar.extend(member("device", b'3', "", b""));
    tar.extend([0; 1024]);
    fs::write(work.path().join("x.tgz"), gz(&tar)).unwrap();
    let output = investigate(work.path(), &[Path::new("x.tgz")], &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let gaps = [
        "x.tgz!gz: the member hard of a tar is a hard link to a.log;",
        "x.tgz!gz: the member soft of a tar is a link to /etc/passwd;",
        "x.tgz!gz: the member device of a tar is a device;",
    ];
    check_named(work.path(), &gaps);
}

#[test]
fn damaged_containers_are_partial_even_where_nothing_came_out() {
    let work = tempfile::tempdir().unwrap();
    fs::create_dir(work.path().join("in")).unwrap();
    fs::write(work.path().join("in/a.log"), LINE).unwrap();
    let whole = gz(LINE.repeat(200).as_bytes());
    fs::write(work.path().join("in/head.gz"), &whole[..12]).unwrap();
    let output = investigate(work.path(), &[Path::new("in")], &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    check_named(work.path(), &["in/head.gz!gz: the input ends in the middle of something, after 0 octets"]);

    // What came out is an item, which tells its loss itself.
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("half.gz"), &whole[..whole.len() / 2]).unwrap();
    let output = investigate(other.path(), &[Path::new("half.gz")], &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains(" 1 losses,"), "{}", text(&output));
}

#[test]
fn a_pipe_is_read_once_and_a_device_never() {
    let work = tempfile::tempdir().unwrap();
    let mut child = truename(work.path())
        .args(["investigate", "/dev/stdin", "--case", "case"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(LINE.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("1 records (1 read"), "{}", text(&output));

    let other = tempfile::tempdir().unwrap();
    let output = investigate(other.path(), &[Path::new("/dev/zero")], &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    check_named(other.path(), &["/dev/zero: neither a file nor a folder"]);
}

#[test]
fn what_changed_after_an_interrupted_run_is_a_gap() {
    let work = tempfile::tempdir().unwrap();
    let key = Arc::new(SigningKeyFile::load_or_create(&work.path().join("key")).unwrap());
    let options = Options { now: Box::new(|| Nanos(1)), tool: String::new(), limits: Limits::default() };
    let mut case = Case::open_or_create(&work.path().join("case"), key, options).unwrap();
    let begin =
        ItemBegin { path: "a.log".into(), size: 9, format: "CoreDNS log".into(), ..ItemBegin::default() };
    let item = case.begin_item(begin).unwrap();
    let piece = NewPiece { ordinal: 0, offset: 0, more: false, secret: false, bytes: LINE.as_bytes() };
    case.append(item, piece).unwrap();
    case.commit().unwrap();
    drop(case);
    fs::write(work.path().join("a.log"), LINE.repeat(2)).unwrap();
    let output = investigate(work.path(), &[Path::new("a.log")], &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(
        text(&output).contains("a.log: its content changed after an interrupted run"),
        "{}",
        text(&output)
    );
    let summary = text(&run(work.path(), &["report", "case"]));
    assert!(summary.contains("lost: its taking was interrupted"), "{summary}");
    assert!(summary.contains("lost: a.log: its content changed after an interrupted run"), "{summary}");
}

#[test]
fn what_is_not_recognised_is_kept_and_told_with_the_next_step() {
    let work = tempfile::tempdir().unwrap();
    fs::create_dir(work.path().join("in")).unwrap();
    fs::write(work.path().join("in/a.log"), LINE).unwrap();
    fs::write(work.path().join("in/notes"), "gateway had a strange route\n").unwrap();
    fs::write(work.path().join("in/x.zip"), b"PK\x03\x04.....").unwrap();
    let output = investigate(work.path(), &[Path::new("in")], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let shown = text(&output);
    assert!(shown.contains("not read: in/notes: text of no known kind; if it holds a log"), "{shown}");
    assert!(
        shown.contains("not read: in/x.zip: a zip archive; unpack it and give what is inside"),
        "{shown}"
    );
    let reader = truename_evidence::Reader::open(&work.path().join("case")).unwrap();
    let item = reader.items().iter().find(|item| item.begin.path == "in/notes").unwrap();
    let piece = reader.records(item.id).unwrap().next().unwrap().unwrap().bytes.to_vec();
    assert_eq!(piece, b"gateway had a strange route\n");
    assert!(run(work.path(), &["verify", "case"]).status.success());
}

#[test]
fn logs_of_several_pods_in_one_file_are_told_as_such() {
    let work = tempfile::tempdir().unwrap();
    let line = |pod: &str, n: u32| {
        format!(
            "{pod} coredns 2026-11-25T03:00:0{n}.000000001Z [INFO] 10.244.0.9:400{n} - 7 \"A IN a.example. udp 40 false 512\" \
             NOERROR qr,aa,rd 60 0.0001s\n"
        )
    };
    let lines: String = (0..8).map(|n| line(if n % 2 == 0 { "coredns-a" } else { "coredns-b" }, n)).collect();
    fs::write(work.path().join("stern.txt"), lines).unwrap();
    let output = investigate(work.path(), &[Path::new("stern.txt")], &[]);
    assert!(text(&output).contains("8 records (8 read, 0 undecodable)"), "{}", text(&output));
    let sources = outcome(work.path())["coverage"]["sources"].to_string();
    assert!(sources.contains("kubectl --timestamps in stern"), "{sources}");
    // None of the two is the file's: each line is read as its own server's.
    assert!(!sources.contains("coredns-a"), "{sources}");
    let notes = outcome(work.path())["coverage"]["notes"].to_string();
    assert!(notes.contains("stern.txt: holds the records of 2 servers (coredns-a, coredns-b)"), "{notes}");
}
