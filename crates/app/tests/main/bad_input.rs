//! Bad input by name: what the user sees says what, where and the next step, and nothing is lost in silence.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::support::{findings, investigate, read, recording, text, truename, unpack};

const NAME: &str = "pods/kube-system_coredns-a_0c9e2b1a-1111-2222/coredns/0.log";

fn put(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn line(name: &str) -> String {
    format!(
        "2026-11-25T03:00:01.000000000Z stdout F [INFO] 10.244.0.9:4000 - 7 \"A IN {name} udp 40 false 512\" NOERROR qr,aa,rd 60 0.0001s\n"
    )
}

#[test]
fn an_empty_folder_is_said_and_makes_no_case() {
    let work = tempfile::tempdir().unwrap();
    fs::create_dir(work.path().join("empty")).unwrap();
    let output = investigate(work.path(), &[Path::new("empty")], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains("empty: no files in it; name files or folders that hold evidence"),
        "{}",
        text(&output)
    );
    assert!(!work.path().join("case").exists());
}

#[test]
fn a_missing_path_and_a_wrong_statement_say_the_next_step() {
    let work = tempfile::tempdir().unwrap();
    let output = investigate(work.path(), &[Path::new("nowhere")], &[]);
    assert!(text(&output).contains("read nowhere: No such file"), "{}", text(&output));
    let output = investigate(work.path(), &[work.path()], &["--origin", "*:zone=1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("unknown key zone; write GLOB:cluster="), "{}", text(&output));
}

#[test]
fn a_truncated_gz_gives_what_could_be_read_and_says_the_rest_is_lost() {
    let work = tempfile::tempdir().unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for n in 0..20_000 {
        encoder.write_all(line(&format!("host{n}.example.")).as_bytes()).unwrap();
    }
    let whole = encoder.finish().unwrap();
    put(work.path(), "in/coredns.log.gz", &whole[..whole.len() / 2]);
    let output = investigate(work.path(), &[Path::new("in")], &[]);
    let shown = text(&output);
    assert!(shown.contains("lost:") && shown.contains("ends in the middle"), "{shown}");
    assert!(!shown.contains("lookups 0 "), "{shown}");
    let custody = truename(work.path()).args(["custody", "log", "case"]).output().unwrap();
    assert!(text(&custody).contains("ends in the middle"), "{}", text(&custody));
}

#[test]
fn a_line_of_two_gigabytes_passes_in_bounded_memory() {
    let work = tempfile::tempdir().unwrap();
    put(work.path(), "in/coredns.log", line("a.example.").as_bytes());
    // A sparse tail: two gigabytes of NUL without an end of line.
    fs::OpenOptions::new()
        .write(true)
        .open(work.path().join("in/coredns.log"))
        .unwrap()
        .set_len(2 << 30)
        .unwrap();
    let program = env!("CARGO_BIN_EXE_truename");
    let script = format!("ulimit -v 1500000; exec {program} investigate in --case case");
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .env("TRUENAME_KEY", work.path().join("key"))
        .current_dir(work.path())
        .output()
        .unwrap();
    let shown = text(&output);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("longer than") && shown.contains("was not decoded"), "{shown}");
    assert!(shown.contains("lookups 1 "), "{shown}");
}

/// Lookups as a `log` line of this format prints them: `who={remote} asked={name} got={rcode}`.
fn in_a_format_of_its_own(lines: usize) -> String {
    (0..lines).fold(String::new(), |mut out, n| {
        out.push_str(&format!(
            "2026-11-25T03:00:02.{n:09}Z stdout F [INFO] who=10.244.0.9 asked=b{n}.example. got=NOERROR\n"
        ));
        out
    })
}

#[test]
fn a_log_in_an_unknown_dialect_is_said_with_what_would_help() {
    let work = tempfile::tempdir().unwrap();
    let about_itself = "2026-11-25T03:00:03.000000000Z stdout F [INFO] Reloading complete\n";
    let log = line("a.example.") + &in_a_format_of_its_own(5) + about_itself;
    put(work.path(), "in/coredns.log", log.as_bytes());
    let shown = text(&investigate(work.path(), &[Path::new("in")], &[]));
    assert!(shown.contains("7 records (2 read, 5 undecodable)") && shown.contains("lookups 1 "), "{shown}");
    let said = "5 lines of in/coredns.log match no known log format; add the Corefile (its `log` line) to the folder";
    assert!(shown.contains(said), "{shown}");
    assert!(
        fs::read_to_string(work.path().join("case/derived/report.html")).unwrap().contains("5 lines of in")
    );
    // The next step is the right one.
    let corefile = ".:53 {\n    log . \"who={remote} asked={name} got={rcode}\"\n    whoami\n}\n";
    put(work.path(), "more/Corefile", corefile.as_bytes());
    let shown = text(&investigate(work.path(), &[Path::new("more")], &[]));
    assert!(shown.contains("7 records (7 read, 0 undecodable)") && shown.contains("lookups 6 "), "{shown}");
    assert!(!shown.contains("match no known"), "{shown}");
}

#[test]
fn runs_in_one_second_without_a_case_make_one_folder_each() {
    let work = tempfile::tempdir().unwrap();
    put(work.path(), "in/coredns.log", line("a.example.").as_bytes());
    // The key is made before, as at any but the first use.
    investigate(work.path(), &[Path::new("in")], &[]);
    let runs: Vec<_> =
        (0..4).map(|_| truename(work.path()).args(["investigate", "in"]).output().unwrap()).collect();
    let mut folders = std::collections::BTreeSet::new();
    for output in &runs {
        let shown = text(output);
        assert!(output.status.success() && shown.contains("1 items taken, 0 known already"), "{shown}");
        folders.insert(shown.lines().find_map(|line| line.strip_prefix("case     ")).unwrap().to_owned());
    }
    assert_eq!(folders.len(), 4, "{folders:?}");
}

#[test]
fn a_case_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let work = tempfile::tempdir().unwrap();
    put(work.path(), "in/coredns.log", line("a.example.").as_bytes());
    investigate(work.path(), &[Path::new("in")], &["--copy-originals"]);
    let mut open = vec![work.path().join("case")];
    let mut seen = 0;
    while let Some(dir) = open.pop() {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700, "{}", dir.display());
        for path in fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else {
                // What is derived lies behind a folder that nobody else enters.
                assert!(dir.ends_with("derived") || mode(&path) == 0o600, "{}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 8, "{seen}");
}

#[test]
fn help_says_what_the_program_is_for() {
    let work = tempfile::tempdir().unwrap();
    let output = truename(work.path()).arg("--help").output().unwrap();
    assert!(text(&output).starts_with("DNS forensics for Kubernetes"), "{}", text(&output));
}

#[test]
fn objects_newer_than_the_queries_attribute_nothing_exactly() {
    let work = tempfile::tempdir().unwrap();
    unpack("benign-day", &work.path().join("in"), &|path| path == "objects/end.json");
    // Two days before the objects were listed.
    let mut log = String::new();
    for n in 0..40 {
        log.push_str(&format!("2026-11-23T03:00:01.{n:09}Z stdout F [INFO] 10.244.0.12:{} - 7 \"A IN api.shop.svc.cluster.local. udp 40 false 512\" NOERROR qr,aa,rd 60 0.0001s\n", 4000 + n));
    }
    put(work.path(), &format!("in/{NAME}"), log.as_bytes());
    let output = investigate(work.path(), &[Path::new("in")], &[]);
    let shown = text(&output);
    assert!(shown.contains("lookups 40 ") && shown.contains("exact 0 (0.0 %)"), "{shown}");
}

#[test]
fn a_clock_an_hour_off_is_found_shown_and_applied() {
    let work = tempfile::tempdir().unwrap();
    unpack("forged-upstream", &work.path().join("in"), &|_| true);
    let logs = work.path().join("in/logs");
    let mut open = vec![logs];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else {
                let text = String::from_utf8(read(&entry.path())).unwrap();
                fs::write(entry.path(), later_by_an_hour(&text)).unwrap();
            }
        }
    }
    let output = investigate(work.path(), &[Path::new("in")], &[]);
    let shown = text(&output);
    assert!(shown.contains("clock offset -3600"), "{shown}");
    let straight = tempfile::tempdir().unwrap();
    let output = investigate(straight.path(), &[&recording("forged-upstream")], &[]);
    let share = |text: &str| text.lines().find(|line| line.contains("attributed:")).unwrap().to_owned();
    assert_eq!(share(&shown), share(&text(&output)), "the same lookups, attributed as without the offset");
}

/// Moves every line time (`2026-11-25Thh:`) one hour on.
fn later_by_an_hour(text: &str) -> String {
    text.lines().fold(String::new(), |mut out, line| {
        let hour: u32 = line[11..13].parse().unwrap();
        assert!(hour < 23, "the recording ends before midnight");
        out.push_str(&format!("{}{:02}{}\n", &line[..11], hour + 1, &line[13..]));
        out
    })
}

#[test]
fn two_clusters_with_the_same_ranges_are_never_mixed() {
    let apart: Vec<String> = ["externalname-drift", "search-capture"]
        .iter()
        .flat_map(|case| {
            let work = tempfile::tempdir().unwrap();
            investigate(work.path(), &[&recording(case)], &[]);
            findings(work.path()).lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let work = tempfile::tempdir().unwrap();
    unpack("externalname-drift", &work.path().join("in/east"), &|_| true);
    unpack("search-capture", &work.path().join("in/west"), &|_| true);
    let output = investigate(work.path(), &[Path::new("in")], &[]);
    assert!(text(&output).contains("2 clusters in the evidence"), "{}", text(&output));
    let mut together: Vec<String> = findings(work.path()).lines().map(str::to_owned).collect();
    let mut apart = apart;
    together.sort();
    apart.sort();
    assert_eq!(together, apart);
}

/// The taps of one cluster with the objects of another that uses the same ranges: every address would find an owner.
#[test]
fn a_tap_of_a_server_that_the_objects_do_not_have_is_read_without_them() {
    let work = tempfile::tempdir().unwrap();
    unpack("search-capture", &work.path().join("in"), &|path| path.starts_with("watch/"));
    unpack("search-capture", &work.path().join("taps"), &|path| path.starts_with("dnstap/"));
    for tap in fs::read_dir(work.path().join("taps/dnstap")).unwrap().flatten() {
        let name = tap.file_name().into_string().unwrap();
        let pod = name.split('.').next().unwrap();
        // As long as the real one, so that the frames stay whole.
        let other = format!("{}zzzzz", &pod[..pod.len() - 5]);
        let bytes = replaced(&read(&tap.path()), pod.as_bytes(), other.as_bytes());
        put(work.path(), &format!("in/{name}"), &bytes);
    }
    let shown = text(&investigate(work.path(), &[Path::new("in")], &[]));
    assert!(shown.contains("the objects know no such server: another cluster"), "{shown}");
    assert!(shown.contains("exact 0 (0.0 %)") && !shown.contains("contradicted"), "{shown}");
    // The operator knows better.
    let stated = ["investigate", "in", "--case", "stated", "--origin", "*:cluster=prod"];
    let shown = text(&truename(work.path()).args(stated).output().unwrap());
    assert!(!shown.contains("exact 0 (0.0 %)") && !shown.contains("no such server"), "{shown}");
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hit = bytes[at..].starts_with(from);
        out.extend_from_slice(if hit { to } else { &bytes[at..=at] });
        at += if hit { from.len() } else { 1 };
    }
    out
}

#[test]
fn lines_without_time_are_kept_in_order_and_attributed_to_nobody() {
    let work = tempfile::tempdir().unwrap();
    let mut log = String::new();
    for n in 0..20 {
        log.push_str(&format!("[INFO] 10.244.0.9:{} - 7 \"A IN host{n}.example. udp 40 false 512\" NOERROR qr,rd,ra 60 0.0001s\n", 4000 + n));
    }
    put(work.path(), "in/coredns.log", log.as_bytes());
    unpack("benign-day", &work.path().join("in"), &|path| path == "objects/end.json");
    let output = investigate(work.path(), &[Path::new("in")], &[]);
    let shown = text(&output);
    assert!(shown.contains("lookups 20 ") && shown.contains("unknown 20 (100.0 %)"), "{shown}");
    let rows = truename(work.path()).args(["timeline", "case", "-o", "csv"]).output().unwrap();
    assert!(text(&rows).contains("unknown (no time)"), "{}", text(&rows));
}

#[test]
fn a_hostile_name_runs_nowhere() {
    let work = tempfile::tempdir().unwrap();
    // As CoreDNS prints them: quotes and controls escaped; and a line that is no line of CoreDNS at all.
    let evil = "\\\"\\027[31m<script>alert\\(1\\)</script>\\\\=cmd.any.any.svc.cluster.local.";
    let mut log = line("first.example.");
    for n in 0..30 {
        log.push_str(&line(&format!("{n}{evil}")));
    }
    log.push_str(
        "2026-11-25T03:00:03.000000000Z stdout F [ERROR] \u{1b}[2J<script>alert(2)</script>\u{202e}\n",
    );
    put(work.path(), "in/coredns.log", log.as_bytes());
    let output = investigate(work.path(), &[Path::new("in")], &[]);
    assert!(output.status.success(), "{}", text(&output));
    let html = fs::read_to_string(work.path().join("case/derived/report.html")).unwrap();
    assert_eq!(html.matches("<script>").count(), 1, "only the page's own");
    for (verb, form) in [
        ("timeline", "table"),
        ("timeline", "csv"),
        ("timeline", "timesketch"),
        ("findings", "table"),
        ("report", "html"),
    ] {
        let shown = truename(work.path()).args([verb, "case", "-o", form]).output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{verb} {form}");
        assert!(form != "csv" || shown.contains("script"), "the names are shown, escaped");
    }
}

#[test]
fn nothing_is_overwritten_unasked() {
    let work = tempfile::tempdir().unwrap();
    put(work.path(), "in/coredns.log", line("a.example.").as_bytes());
    investigate(work.path(), &[Path::new("in")], &[]);
    put(work.path(), "out.csv", b"mine");
    let output =
        truename(work.path()).args(["findings", "case", "-o", "csv", "-f", "out.csv"]).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(text(&output).contains("--clobber overwrites it"), "{}", text(&output));
    assert_eq!(fs::read(work.path().join("out.csv")).unwrap(), b"mine");
    let output = truename(work.path())
        .args(["findings", "case", "-o", "csv", "-f", "out.csv", "--clobber"])
        .output()
        .unwrap();
    assert!(output.status.success() && fs::read(work.path().join("out.csv")).unwrap().starts_with(b"first,"));
}

#[test]
fn findings_fail_a_script_only_when_asked() {
    let work = tempfile::tempdir().unwrap();
    let output = investigate(work.path(), &[&recording("recon")], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let output = investigate(work.path(), &[&recording("recon")], &["--fail-on", "high"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    // What shows the case goes by it, too; what looks at no findings says so.
    let exits = |arguments: &[&str]| truename(work.path()).args(arguments).output().unwrap().status.code();
    for verb in ["findings", "report", "timeline"] {
        assert_eq!(exits(&[verb, "case", "--fail-on", "high"]), Some(1), "{verb}");
        assert_eq!(exits(&[verb, "case"]), Some(0), "{verb}");
    }
    let first: serde_json::Value =
        serde_json::from_str(findings(work.path()).lines().next().unwrap()).unwrap();
    assert_eq!(exits(&["explain", "case", first["id"].as_str().unwrap(), "--fail-on", "high"]), Some(1));
    assert_eq!(exits(&["verify", "case", "--fail-on", "high"]), Some(2));
    assert_eq!(exits(&["rules", "list", "--fail-on", "high"]), Some(2));
}

#[test]
fn too_little_coverage_fails_a_script_only_when_asked() {
    let work = tempfile::tempdir().unwrap();
    put(work.path(), "in/coredns.log", line("a.example.").as_bytes());
    let exit = |more: &[&str]| investigate(work.path(), &[Path::new("in")], more).status.code();
    assert_eq!(exit(&[]), Some(0));
    assert_eq!(exit(&["--fail-coverage-below", "1"]), Some(3));
    for wrong in ["NaN", "100.1", "-1", "x"] {
        assert_eq!(exit(&[&format!("--fail-coverage-below={wrong}")]), Some(2), "{wrong}");
    }
}

#[test]
fn coverage_comes_before_findings_and_suppressed_findings_fail_nothing() {
    let work = tempfile::tempdir().unwrap();
    // `recon` has findings, and a device is never read.
    let both: [&Path; 2] = [&recording("recon"), Path::new("/dev/zero")];
    let output = investigate(work.path(), &both, &["--fail-on", "high"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let found = String::from_utf8(output.stdout).unwrap();
    let rules: std::collections::BTreeSet<String> = findings(work.path())
        .lines()
        .filter_map(|line| line.split("\"rule\":\"").nth(1)?.get(..3).map(str::to_owned))
        .collect();
    assert!(found.contains("Findings  critical 1  high") && !found.contains("suppressed"), "{found}");
    let mut profile = "apiVersion: truename/v1\nkind: Profile\nsuppressions:\n".to_owned();
    for rule in &rules {
        profile.push_str(&format!("  - {{rule: {rule}, reason: drill, expires: 2030-01-01T00:00:00Z}}\n"));
    }
    fs::write(work.path().join("quiet.yaml"), profile).unwrap();
    fs::remove_dir_all(work.path().join("case")).unwrap();
    let output =
        investigate(work.path(), &[&recording("recon")], &["--fail-on", "info", "--profile", "quiet.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("Findings  critical 0  high 0  medium 0  low 0  info 0  suppressed 2"), "{shown}");
    assert!(shown.contains("[suppressed]") && !shown.contains("Incidents"), "{shown}");
}

/// The recording's log lines as syslog would have them: no year, no zone, one hour east.
fn as_syslog(text: &str) -> String {
    text.lines().fold(String::new(), |mut out, line| {
        let hour: u32 = line[11..13].parse().unwrap();
        let message = line.split_once(" stdout F ").map_or("", |(_, message)| message);
        out.push_str(&format!(
            "Nov {} {:02}{} node-1 coredns[7]: {message}\n",
            &line[8..10],
            hour + 1,
            &line[13..19]
        ));
        out
    })
}

fn with_syslog(work: &Path, keep: &dyn Fn(&str) -> bool) -> String {
    unpack("forged-upstream", &work.join("in"), keep);
    let mut whole = String::new();
    let scratch = tempfile::tempdir().unwrap();
    unpack("forged-upstream", scratch.path(), &|path| path.starts_with("logs"));
    let mut open = vec![scratch.path().to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else if whole.is_empty() {
                whole = as_syslog(&String::from_utf8(read(&entry.path())).unwrap());
            }
        }
    }
    put(work, "in/messages", whole.as_bytes());
    text(&investigate(work, &[Path::new("in")], &[]))
}

#[test]
fn a_missing_year_and_zone_are_inferred_only_with_a_basis() {
    let work = tempfile::tempdir().unwrap();
    let shown = with_syslog(work.path(), &|path| path.starts_with("dnstap") || path.starts_with("watch"));
    assert!(shown.contains("are taken for 2026 UTC and moved by -36"), "{shown}");
    let work = tempfile::tempdir().unwrap();
    let shown = with_syslog(work.path(), &|path| path.starts_with("watch"));
    assert!(shown.contains("stay without time; --origin"), "{shown}");
    assert!(shown.contains("exact 0 (0.0 %)"), "{shown}");
}

#[test]
fn a_line_whose_name_is_none_is_no_lookup() {
    let work = tempfile::tempdir().unwrap();
    let names = [
        "ok.example.",
        &format!("{}.example.", "x".repeat(64)),
        "a..b.",
        "\\300.example.",
        &"y.".repeat(200),
    ];
    put(work.path(), "in/coredns.log", names.map(line).concat().as_bytes());
    let shown = text(&investigate(work.path(), &[Path::new("in")], &[]));
    assert!(shown.contains("5 records (1 read, 4 undecodable)") && shown.contains("lookups 1 "), "{shown}");
}

#[test]
fn a_slip_in_the_profile_is_found_before_anything_is_taken() {
    let work = tempfile::tempdir().unwrap();
    put(work.path(), "in/coredns.log", line("a.example.").as_bytes());
    put(work.path(), "p.yaml", b"apiVersion: truename/v1\nkind: Profile\nthresholds:\n  ZZZ: { x: 1 }\n");
    let output = investigate(work.path(), &[Path::new("in")], &["--profile", "p.yaml"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("ZZZ") && !work.path().join("case").exists());
    let output = investigate(work.path(), &[Path::new("in")], &["--origin", "nowhere*:cluster=a"]);
    assert!(text(&output).contains("--origin nowhere*: matches no item"), "{}", text(&output));
}

#[test]
fn nothing_recognised_is_partial_and_says_what_it_looks_like() {
    let work = tempfile::tempdir().unwrap();
    put(work.path(), "in/photo.bin", &[0xFF, 0xD8, 0xFF, 0xE0, 1, 2, 3, 4]);
    let output = investigate(work.path(), &[Path::new("in")], &[]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(
        text(&output).contains("photo.bin: ") && !text(&output).contains("an empty file"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_folder_of_other_files_is_not_made_a_case() {
    let work = tempfile::tempdir().unwrap();
    put(work.path(), "in/coredns.log", line("a.example.").as_bytes());
    put(work.path(), "case/thesis.txt", b"mine");
    let output = investigate(work.path(), &[Path::new("in")], &[]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("case holds files and is no case"), "{}", text(&output));
    assert_eq!(fs::read_dir(work.path().join("case")).unwrap().count(), 1);
}
