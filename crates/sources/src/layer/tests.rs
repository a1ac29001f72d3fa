//! Containers in each other give their innermost layers; every bound and every damage is a loss with its place.

use std::io::Write;

use super::*;

#[derive(Default)]
struct Collect {
    leaves: Vec<(String, String, Vec<u8>, bool)>,
    wrapped: Vec<String>,
}

impl Visitor for Collect {
    fn wrap<'r>(&mut self, layer: &LayerPath, reader: Box<dyn Read + 'r>) -> Box<dyn Read + 'r> {
        self.wrapped.push(layer.to_string());
        reader
    }

    fn leaf(
        &mut self,
        layer: &LayerPath,
        format: &Format,
        _head: &[u8],
        reader: &mut dyn Read,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        let failed = reader.read_to_end(&mut bytes).is_err();
        self.leaves.push((layer.to_string(), format.to_string(), bytes, failed));
        Ok(())
    }
}

fn peel(bytes: &[u8], limits: &Limits) -> (Collect, LayerSummary) {
    let mut collect = Collect::default();
    let summary = open(&mut { bytes }, limits, &mut collect).unwrap();
    (collect, summary)
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// A ustar header and its content.
fn member(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut block = [0u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[156] = kind;
    block[257..263].copy_from_slice(b"ustar\0");
    seal(&mut block);
    let mut out = block.to_vec();
    out.extend_from_slice(content);
    out.resize(out.len().div_ceil(512) * 512, 0);
    out
}

fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    let mut out = members.concat();
    out.resize(out.len() + 1024, 0);
    out
}

const COREFILE: &[u8] = b".:53 {\n  whoami\n}\n";

#[test]
fn containers_in_each_other_are_peeled() {
    let zst = zstd::encode_all(COREFILE, 1).unwrap();
    let tar =
        archive(&[member("a/x.zst", b'0', &zst), member("b", b'0', &xz(COREFILE)), member("c", 0, b"note")]);
    let (got, summary) = peel(&gz(&tar), &Limits::default());
    let shown: Vec<_> = got.leaves.iter().map(|leaf| (leaf.0.as_str(), leaf.1.as_str())).collect();
    assert_eq!(
        shown,
        [
            ("gz > tar:a/x.zst > zst", "Corefile"),
            ("gz > tar:b > xz", "Corefile"),
            ("gz > tar:c", "text of no known kind")
        ]
    );
    assert!(got.leaves[..2].iter().all(|leaf| leaf.2 == COREFILE));
    assert_eq!((summary.leaves, summary.losses.len()), (3, 0));
    assert_eq!(got.wrapped.len(), 7, "the input and every layer pass the visitor: {:?}", got.wrapped);
}

#[test]
fn members_of_one_gzip_file_are_one_layer() {
    let (got, summary) = peel(&[gz(b".:53 {\n"), gz(b" whoami\n}\n")].concat(), &Limits::default());
    assert_eq!(got.leaves[0].2, b".:53 {\n whoami\n}\n");
    assert!(summary.losses.is_empty());
}

#[test]
fn a_truncated_gzip_gives_what_could_be_read_and_an_error() {
    let text: Vec<u8> = (0..200_000u32).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    let whole = gz(&text);
    let (got, _) = peel(&whole[..whole.len() / 2], &Limits::default());
    let (path, _, bytes, failed) = &got.leaves[0];
    assert!(*failed && path == "gz");
    assert!(bytes.len() > 10_000 && text.starts_with(bytes));
    let mut summary = None;
    struct Split<'a>(&'a mut Option<crate::piece::SplitSummary>);
    impl Visitor for Split<'_> {
        fn leaf(
            &mut self,
            _: &LayerPath,
            format: &Format,
            _: &[u8],
            reader: &mut dyn Read,
        ) -> io::Result<()> {
            *self.0 = Some(crate::lines::split(reader, &mut |_| Ok(()))?);
            assert_eq!(format, &Format::Unknown("text of no known kind"));
            Ok(())
        }
    }
    open(&mut &whole[..whole.len() / 2], &Limits::default(), &mut Split(&mut summary)).unwrap();
    let summary = summary.unwrap();
    assert_eq!(summary.losses[0].cause, "truncated-file");
    assert_eq!(summary.bytes, bytes.len() as u64);
}

#[test]
fn a_short_truncated_file_is_a_loss_too() {
    let whole = gz(&[COREFILE; 9].concat());
    for cut in 3..whole.len() - 1 {
        let (got, summary) = peel(&whole[..cut], &Limits::default());
        assert!(got.leaves.iter().any(|leaf| leaf.3) || !summary.losses.is_empty(), "cut at {cut}");
    }
}

#[test]
fn a_loss_that_nobody_reads_to_is_told_and_one_that_was_met_is_not_told_again() {
    struct Idle;
    impl Visitor for Idle {
        fn leaf(&mut self, _: &LayerPath, _: &Format, _: &[u8], _: &mut dyn Read) -> io::Result<()> {
            Ok(())
        }
    }
    let small = gz(&[COREFILE; 9].concat());
    let large = gz(&(0..200_000u32).flat_map(|n| format!("line {n}\n").into_bytes()).collect::<Vec<_>>());
    for whole in [small, large] {
        let cut = &whole[..whole.len() - 9];
        let summary = open(&mut { cut }, &Limits::default(), &mut Idle).unwrap();
        let told: Vec<_> = summary.losses.iter().map(|(path, loss)| (path.to_string(), loss.cause)).collect();
        assert_eq!(told, [("gz".to_owned(), "truncated-file")]);
        let (got, summary) = peel(cut, &Limits::default());
        assert!(got.leaves[0].3 && summary.losses.is_empty());
    }
}

#[test]
fn bounds_are_losses_and_never_silent() {
    let bomb = gz(&vec![0u8; 8 << 20]);
    let limits = Limits { ratio_from: 1 << 20, ratio: 100, ..Limits::default() };
    let mut summary = None;
    struct Split<'a>(&'a mut Option<crate::piece::SplitSummary>);
    impl Visitor for Split<'_> {
        fn leaf(&mut self, _: &LayerPath, _: &Format, _: &[u8], reader: &mut dyn Read) -> io::Result<()> {
            *self.0 = Some(crate::lines::split(reader, &mut |_| Ok(()))?);
            Ok(())
        }
    }
    open(&mut &bomb[..], &limits, &mut Split(&mut summary)).unwrap();
    let summary = summary.unwrap();
    assert_eq!(summary.losses[0].cause, "expansion-cap");
    assert!(summary.bytes >= 1 << 20 && summary.bytes < 6 << 20, "{}", summary.bytes);

    let mut deep = COREFILE.to_vec();
    for _ in 0..5 {
        deep = gz(&deep);
    }
    let (got, summary) = peel(&deep, &Limits::default());
    assert_eq!(summary.losses[0].1.cause, "nested-too-deep");
    assert_eq!(got.leaves[0].1, "a container nested too deep");
}

#[test]
fn files_beyond_the_most_of_an_input_are_counted_whatever_tar_they_are_in() {
    let files = |count: usize| {
        archive(&(0..count).map(|n| member(&format!("f{n}"), b'0', COREFILE)).collect::<Vec<_>>())
    };
    let tar = archive(&[
        member("a.tar", b'0', &files(3)),
        member("b.tar", b'0', &files(3)),
        member("c", b'0', COREFILE),
    ]);
    let limits = Limits { members: 6, ..Limits::default() };
    let (got, summary) = peel(&tar, &limits);
    assert_eq!(got.leaves.len(), 4, "a.tar and its three, b.tar and its first");
    let told: Vec<_> =
        summary.losses.iter().map(|(path, loss)| (path.to_string(), loss.count, loss.cause)).collect();
    let beyond = "tar-members";
    assert_eq!(told, [("tar:b.tar".to_owned(), Some(2), beyond), (String::new(), Some(1), beyond)]);
    let (got, summary) = peel(&tar, &Limits { members: 9, ..limits });
    assert_eq!((got.leaves.len(), summary.losses.len()), (7, 0));
}

#[test]
fn links_are_skipped_and_names_are_only_labels() {
    let mut long =
        member("././@LongLink", b'L', &[b"very/".repeat(40), b"../../etc/passwd\0".to_vec()].concat());
    long.extend(member("short", b'0', COREFILE));
    let pax = member("pax", b'x', b"25 path=\xce\xb1/\x1b[31mred\\name\n");
    let tar = archive(&[
        member("dir/", b'5', b""),
        member("link", b'2', b""),
        member("hard", b'1', b""),
        long,
        pax,
        member("ignored", b'0', COREFILE),
    ]);
    let (got, summary) = peel(&tar, &Limits::default());
    assert_eq!(got.leaves.len(), 2);
    assert!(got.leaves[0].0.ends_with("../../etc/passwd"));
    assert_eq!(got.leaves[1].0, "tar:α/\\u{1b}[31mred\\\\name");
    let losses: Vec<&str> = summary.losses.iter().map(|(_, loss)| loss.text.as_str()).collect();
    assert_eq!(
        losses,
        [
            "the member link of a tar is a link; only regular files are read",
            "the member hard of a tar is a hard link; only regular files are read"
        ]
    );
}

#[test]
fn a_link_has_no_content_whatever_its_size_says() {
    let mut link = member("link", b'1', &[b'x'; 600]);
    link.truncate(512);
    link[157..167].copy_from_slice(b"target\x1b[1m");
    let mut block: [u8; 512] = link[..512].try_into().unwrap();
    seal(&mut block);
    link[..512].copy_from_slice(&block);
    let (got, summary) = peel(&archive(&[link, member("next", b'0', COREFILE)]), &Limits::default());
    assert_eq!((got.leaves.len(), summary.losses.len()), (1, 1));
    assert!(summary.losses[0].1.text.contains("is a hard link to target\\u{1b}[1m;"), "{summary:?}");
    assert_eq!(got.leaves[0].2, COREFILE);
}

#[test]
fn hostile_tars_end_in_losses() {
    let mut huge = member("huge", b'0', b"x");
    huge[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    let mut block: [u8; 512] = huge[..512].try_into().unwrap();
    seal(&mut block);
    huge[..512].copy_from_slice(&block);
    let (got, summary) = peel(&huge, &Limits::default());
    assert!(got.leaves[0].3 && got.leaves[0].2.len() == 512);
    assert!(summary.losses.iter().any(|(_, loss)| loss.cause == "truncated-file") || got.leaves[0].3);

    let mut sparse = member("sparse", b'S', b"data");
    sparse[483..495].copy_from_slice(b"777777777777");
    let mut block: [u8; 512] = sparse[..512].try_into().unwrap();
    seal(&mut block);
    sparse[..512].copy_from_slice(&block);
    let (got, summary) = peel(&archive(&[sparse, member("next", b'0', COREFILE)]), &Limits::default());
    assert_eq!((summary.losses[0].1.cause, got.leaves.len()), ("tar-sparse", 1));

    let mut damaged = archive(&[member("a", b'0', COREFILE), member("b", b'0', COREFILE)]);
    damaged[1024 + 10] ^= 1;
    let (got, summary) = peel(&damaged, &Limits::default());
    assert_eq!((got.leaves.len(), summary.losses[0].1.cause), (1, "tar-damaged"));

    // Many directories in a row must not use up the stack.
    let (_, summary) = peel(&archive(&vec![member("d/", b'5', b""); 20_000]), &Limits::default());
    assert_eq!(summary, LayerSummary::default());

    // Losses beyond a bound are counted.
    let (_, summary) = peel(&archive(&vec![member("l", b'2', b""); 2_500]), &Limits::default());
    assert_eq!((summary.losses.len(), summary.losses_untold), (LOSSES_TOLD, 2_500 - LOSSES_TOLD as u64));
}

#[test]
fn random_damage_never_panics() {
    let tar = archive(&[
        member("a", b'0', COREFILE),
        member("x", b'x', b"9 size=1\n"),
        member("b", b'0', COREFILE),
    ]);
    for base in [gz(&tar), zstd::encode_all(&tar[..], 1).unwrap(), xz(&tar), tar] {
        for at in 0..base.len().min(700) {
            let mut bytes = base.clone();
            bytes[at] ^= 0x41;
            peel(&bytes, &Limits::default());
        }
    }
}
