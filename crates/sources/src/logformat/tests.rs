//! Unit tests of format compilation and of the field scanners.

use super::*;
use truename_model::{Flags, Rcode};

const BEST: &str = "{common} {local} {/forward/upstream} {/kubernetes/client-namespace} \
                    {/kubernetes/client-pod-name} {/log/type}";
const LINE: &str =
    "[::1]:50759 - 29008 \"A IN example.org. udp 41 false 4096\" NOERROR qr,rd,ra,ad 68 0.037990251s";

#[test]
fn the_common_format_is_read_field_by_field() {
    let mut cursor = Cursor { rest: LINE.as_bytes() };
    let fields = common(&mut cursor).unwrap();
    assert_eq!(cursor.rest, b"");
    assert_eq!(
        (fields.client, fields.port, fields.id),
        (Some("::1".parse().unwrap()), Some(50759), Some(29008))
    );
    assert_eq!((fields.rtype, fields.class), (Some(&b"A"[..]), Some(&b"IN"[..])));
    assert_eq!(fields.name, Some(&b"example.org."[..]));
    assert_eq!((fields.size, fields.dnssec_ok, fields.bufsize), (Some(41), Some(false), Some(4096)));
    assert_eq!(fields.rcode, Outcome::Code(Rcode::NOERROR));
    assert_eq!(fields.rflags, Some(Flags(0x81a0)));
    assert_eq!((fields.rsize, fields.duration_ns, fields.cut), (Some(68), Some(37_990_251), false));
}

#[test]
fn a_hostile_name_cannot_forge_fields() {
    let line =
        "10.0.0.9:1 - 7 \"A IN a\\\"\\ NOERROR\\ qr\\\\.x\\010\\.. udp 41 false 512\" NXDOMAIN qr 1 0.1s";
    let fields = common(&mut Cursor { rest: line.as_bytes() }).unwrap();
    assert_eq!(fields.name, Some(&b"a\\\"\\ NOERROR\\ qr\\\\.x\\010\\.."[..]));
    assert_eq!(fields.rcode, Outcome::Code(Rcode::NXDOMAIN));
    assert_eq!(fields.duration_ns, Some(100_000_000));
}

#[test]
fn a_dash_is_no_answer_and_a_cut_line_invents_nothing() {
    let dash = "10.0.0.9:1 - 7 \"A IN a. udp 41 false 512\" - - 0 0.000001s";
    let fields = common(&mut Cursor { rest: dash.as_bytes() }).unwrap();
    assert_eq!((fields.rcode, fields.rflags), (Outcome::NoResponse, Some(Flags(0))));
    for (end, rcode) in [(" NOERROR", Outcome::Code(Rcode::NOERROR)), ("", Outcome::NotShown)] {
        let line = format!("10.0.0.9:1 - 7 \"A IN a. udp 41 false 512\"{end}");
        let fields = common(&mut Cursor { rest: line.as_bytes() }).unwrap();
        assert_eq!((fields.rcode, fields.cut, fields.rsize, fields.duration_ns), (rcode, true, None, None));
    }
}

#[test]
fn every_prefix_of_a_line_is_read_or_refused() {
    let format = LogFormat::compile(BEST).unwrap();
    let line = format!("{LINE} 10.96.0.10 10.0.0.1:53 shop web-1 NOERROR");
    assert!(format.read(line.as_bytes()).is_some());
    for len in 0..line.len() {
        let part = &line.as_bytes()[..len];
        let _ = common(&mut Cursor { rest: part });
        // The last value may be any text: only a line cut inside it still matches.
        assert_eq!(format.read(part).is_some(), len >= line.len() - "NOERROR".len(), "{len}");
    }
}

#[test]
fn custom_formats_are_read_back() {
    let format = LogFormat::compile(BEST).unwrap();
    let line = format!("{LINE} 10.96.0.10 - shop web-1 NODATA");
    let fields = format.read(line.as_bytes()).unwrap();
    assert_eq!(fields.local, Some(&b"10.96.0.10"[..]));
    assert_eq!((fields.client_namespace, fields.client_pod), (Some(&b"shop"[..]), Some(&b"web-1"[..])));
    assert_eq!((fields.upstream, fields.log_type), (Some(&b"-"[..]), Some(&b"NODATA"[..])));

    let short =
        LogFormat::compile("{remote}:{port} {type} {class} {name} {/kubernetes/client-namespace} {X}")
            .unwrap();
    let fields = short.read(b"[fd00::1%eth0]:58322 AAAA IN a.b. - {X}").unwrap();
    assert_eq!((fields.client, fields.port), (Some("fd00::1".parse().unwrap()), Some(58322)));
    assert_eq!(short.read(b"10.0.0.1:58322 AAAA IN a.b. - {Y}"), None, "unknown labels are literal");

    let json = LogFormat::compile("{\"n\":\"{name}\",\"r\":\"{rcode}\",\"c\":\"{remote}\"}").unwrap();
    let fields = json.read(b"{\"n\":\"a\\\".b.\",\"r\":\"-\",\"c\":\"[::2]\"}").unwrap();
    assert_eq!((fields.name, fields.rcode), (Some(&b"a\\\".b."[..]), Outcome::NoResponse));
    assert!(LogFormat::compile("{combined}").unwrap().read(format!("{LINE} \"5\"").as_bytes()).is_some());
}

#[test]
fn formats_that_need_guessing_are_refused() {
    assert_eq!(LogFormat::compile("{name}{type}"), Err(LogFormatError::Touching));
    assert_eq!(LogFormat::compile("{common}{local}"), Err(LogFormatError::Touching));
    assert_eq!(LogFormat::compile("{name},{type}"), Err(LogFormatError::OpenEnd));
    assert_eq!(LogFormat::compile("{/a/b}x{name}"), Err(LogFormatError::OpenEnd));
    assert_eq!(LogFormat::compile("{rcode}"), Err(LogFormatError::NoName));
    assert_eq!(
        LogFormat::compile("{/geoip/city/name} {/geoip/country/name} {name}"),
        Err(LogFormatError::OpenEnd)
    );
}

#[test]
fn one_value_with_spaces_is_read_if_only_one_reading_fits() {
    let format = LogFormat::compile("{/geoip/city/name} {name} {rcode}").unwrap();
    assert_eq!(format.read(b"New York a.b. NOERROR").unwrap().name, Some(&b"a.b."[..]));
}

#[test]
fn durations_and_addresses() {
    assert_eq!(duration(b"0.000046555s"), Some(46_555));
    assert_eq!(duration(b"12s"), Some(12_000_000_000));
    assert_eq!(duration(b"0.0000000001s"), Some(0));
    assert_eq!(duration(b"1e3s"), None);
    assert_eq!(duration(b".5s"), None);
    assert_eq!(address(b"x.x.x.x"), None);
    assert_eq!(address(b"256.1.1.1"), None);
    assert_eq!(address(b"1.2.3"), None);
    assert_eq!(address(b"[::ffff:10.0.0.1]"), Some("10.0.0.1".parse().unwrap()));
}
