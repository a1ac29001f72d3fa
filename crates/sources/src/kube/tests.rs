//! Objects as the API server and kubectl write them, and the octets that must not be shown.

use std::sync::Arc;

use serde_json::json;
use truename_model::object::ChangeSource;
use truename_model::{ChangeKind, ClusterChange, Decoded, Event, Nanos, Object, ObservedAt, OriginId};

use super::secrets::{json_ranges, stand_in, yaml_ranges};
use super::*;
use crate::decoder::{DecodeContext, Decoder};
use crate::piece::{Piece, cut};

/// Splits and decodes a dump, as the engine does.
fn decode(syntax: Syntax, text: &str) -> Vec<Decoded> {
    let mut decoder = Objects::new(syntax, DecodeContext::new(0, OriginId(0)));
    let mut out = Vec::new();
    let mut take = |piece: Piece<'_>| {
        let before = out.len();
        decoder.decode(piece.ordinal, piece.bytes, &mut out);
        assert!(out.len() > before, "a record without an answer");
        Ok(())
    };
    let input = &mut text.as_bytes();
    match syntax {
        Syntax::Json => cut(&mut records::JsonRecords::default(), input, &mut take),
        Syntax::Yaml => cut(&mut records::YamlRecords::default(), input, &mut take),
    }
    .unwrap();
    out
}

fn changes(decoded: &[Decoded]) -> Vec<&ClusterChange> {
    let mut out = Vec::new();
    for one in decoded {
        if let Decoded::Change(change) = one {
            out.push(&**change);
        }
    }
    out
}

fn others(decoded: &[Decoded]) -> Vec<String> {
    let text = |one: &Decoded| match one {
        Decoded::Observation(seen) => match &seen.event {
            Event::Ignored(why) => Some(format!("ignored: {why}")),
            Event::Undecodable { reason, offset } => Some(format!("undecodable at {offset}: {reason}")),
            other => Some(format!("{other:?}")),
        },
        Decoded::Change(_) => None,
    };
    decoded.iter().filter_map(text).collect()
}

const SERVICE: &str = r#"{
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}\n", "team": "a"},
        "creationTimestamp": "2026-11-22T03:50:00Z",
        "labels": {"app": "web"},
        "managedFields": [
            {"manager": "kubectl", "time": "2026-11-22T03:50:00Z"},
            {"manager": "kube-controller-manager", "subresource": "status", "time": "2026-11-22T03:51:07Z"}
        ],
        "name": "web", "namespace": "shop",
        "resourceVersion": "1234", "uid": "0a1b"
    },
    "spec": {
        "clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20", "fd00::20"],
        "externalIPs": ["203.0.113.4"],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}, {"port": 53, "protocol": "UDP", "targetPort": "dns"}],
        "selector": {"app": "web"}, "type": "LoadBalancer"
    },
    "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.7", "ipMode": "VIP"}, {"hostname": "lb.example"}]}}
}
"#;

#[test]
fn a_service_is_read_with_what_dns_needs() {
    let decoded = decode(Syntax::Json, SERVICE);
    let change = changes(&decoded)[0];
    let Object::Service(service) = &*change.object else { panic!() };
    assert_eq!(service.cluster_ips, ["10.96.0.20", "fd00::20"]);
    assert_eq!(
        (service.ports[0].target_port.as_str(), service.ports[1].target_port.as_str()),
        ("8080", "dns")
    );
    assert_eq!(service.load_balancer_ips, ["198.51.100.7".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!((change.kind, change.source), (ChangeKind::Listed, ChangeSource::Snapshot));
    assert_eq!(change.meta.annotations.keys().collect::<Vec<_>>(), ["team"]);
    assert_eq!(change.meta.resource_version, "1234");
    let written = Nanos::parse_rfc3339(b"2026-11-22T03:51:07Z").unwrap();
    assert_eq!(change.at.interval().unwrap().lo, written);
    assert_eq!(change.at.interval().unwrap().hi, written.plus(999_999_999));
}

#[test]
fn the_same_service_in_yaml_gives_the_same_object() {
    let value: serde_json::Value = serde_json::from_str(SERVICE).unwrap();
    let yaml = "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata:\n    annotations:\n      kubectl.kubernetes.io/last-applied-configuration: |\n        {}\n      team: a\n    creationTimestamp: \"2026-11-22T03:50:00Z\"\n    labels:\n      app: web\n    managedFields:\n    - manager: x\n      time: \"2026-11-22T03:51:07Z\"\n    name: web\n    namespace: shop\n    resourceVersion: \"1234\"\n    uid: 0a1b\n  spec:\n    clusterIP: 10.96.0.20\n    clusterIPs:\n    - 10.96.0.20\n    - fd00::20\n    externalIPs:\n    - 203.0.113.4\n    ports:\n    - name: http\n      port: 80\n      protocol: TCP\n      targetPort: 8080\n    - port: 53\n      protocol: UDP\n      targetPort: dns\n    selector:\n      app: web\n    type: LoadBalancer\n  status:\n    loadBalancer:\n      ingress:\n      - ip: 198.51.100.7\n      - hostname: lb.example\nkind: List\nmetadata:\n  resourceVersion: \"\"\n";
    let decoded = decode(Syntax::Yaml, yaml);
    assert_eq!(others(&decoded), ["ignored: the frame of a list", "ignored: the frame of a list"]);
    let change = changes(&decoded)[0];
    let (meta, object) = object(&value, None, None).unwrap();
    assert_eq!((&*change.meta, &*change.object), (&meta, &object));
}

#[test]
fn items_of_a_typed_list_take_their_kind_from_its_head() {
    let text = r#"{"kind":"PodList","apiVersion":"v1","received":"2026-11-22T04:00:00.5Z","metadata":{"resourceVersion":"9"},"items":[
{"metadata":{"name":"a","namespace":"n"},"spec":{"nodeName":"w1","containers":[{"image":"i"}],"dnsConfig":{"options":[{"name":"ndots","value":"2"}]}},"status":{"phase":"Running","podIP":"10.244.0.5"}},
{"metadata":{"name":"b","namespace":"n"},"spec":{"hostNetwork":true},"status":{"phase":"Succeeded","podIPs":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}],"containerStatuses":[{"state":{"terminated":{"finishedAt":"2026-11-22T03:59:01Z"}}},{"state":{"terminated":{"finishedAt":"2026-11-22T03:59:03Z"}}}]}}]}
"#;
    let decoded = decode(Syntax::Json, text);
    let found = changes(&decoded);
    assert_eq!(found.len(), 2);
    let pods: Vec<_> = found
        .iter()
        .map(|change| match &*change.object {
            Object::Pod(pod) => pod.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        (pods[0].ndots, pods[0].images.as_slice(), pods[0].finished),
        (Some(2), &["i".to_owned()][..], None)
    );
    assert_eq!(pods[1].ips.len(), 2);
    assert_eq!(pods[1].finished, Nanos::parse_rfc3339(b"2026-11-22T03:59:03Z"));
    assert_eq!(found[0].at, ObservedAt::None);
    let received = Nanos::parse_rfc3339(b"2026-11-22T04:00:00.5Z").unwrap();
    assert!(found.iter().all(|change| change.seen_at.is_some_and(|seen| seen.lo == received)));
}

#[test]
fn items_of_a_typed_yaml_list_take_their_kind_from_its_head_too() {
    let text = "kind: NamespaceList\napiVersion: v1\nitems:\n- metadata:\n    name: default\n- metadata:\n    name: kube-system\n";
    let decoded = decode(Syntax::Yaml, text);
    assert_eq!(
        changes(&decoded).iter().map(|change| change.meta.name.as_str()).collect::<Vec<_>>(),
        ["default", "kube-system"]
    );
    assert!(changes(&decoded).iter().all(|change| *change.object == Object::Namespace));
    // Documents written as JSON, and a separator at the very end.
    let text = "{\"kind\":\"Namespace\",\"metadata\":{\"name\":\"a\"}}\n---\nkind: Namespace\nmetadata: {name: b}\n---";
    let decoded = decode(Syntax::Yaml, text);
    assert_eq!((changes(&decoded).len(), others(&decoded).len()), (2, 0));
}

#[test]
fn ports_are_those_of_containers_that_stay() {
    let value = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "n"}, "spec": {
        "containers": [{"ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}, {"containerPort": 8080}]}],
        "initContainers": [{"ports": [{"containerPort": 1}]},
            {"restartPolicy": "Always", "ports": [{"name": "proxy", "containerPort": 15001, "protocol": "TCP"}]}]}});
    let Object::Pod(pod) = object(&value, None, None).unwrap().1 else { panic!() };
    let seen: Vec<_> = pod.ports.iter().map(|p| (p.name.as_str(), p.protocol.as_str(), p.port)).collect();
    assert_eq!(seen, [("dns", "UDP", 53), ("", "TCP", 8080), ("proxy", "TCP", 15001)]);
}

#[test]
fn legacy_endpoints_become_a_slice() {
    let value = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web", "namespace": "shop"},
        "subsets": [{"addresses": [{"ip": "10.244.0.5", "hostname": "web-0", "targetRef": {"kind": "Pod", "name": "web-0", "namespace": "shop", "uid": "u"}}],
            "notReadyAddresses": [{"ip": "10.244.0.6"}], "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}]});
    let (_, object) = object(&value, None, None).unwrap();
    let Object::EndpointSlice(slice) = &object else { panic!() };
    assert!(slice.legacy && object.kind() == "Endpoints");
    assert_eq!(slice.endpoints.iter().map(|e| e.ready).collect::<Vec<_>>(), [Some(true), Some(false)]);
    assert_eq!(slice.endpoints[0].target.as_ref().unwrap().uid, "u");
    assert_eq!(slice.ports[0].port, Some(8080));
}

#[test]
fn null_lists_and_missing_conditions_are_legal() {
    let value = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "web-x", "namespace": "shop", "creationTimestamp": null, "labels": null}, "endpoints": null, "ports": null});
    let (_, empty) = object(&value, None, None).unwrap();
    assert!(matches!(empty, Object::EndpointSlice(slice) if slice.endpoints.is_empty()));
}

#[test]
fn kinds_of_other_groups_are_not_taken_for_known_ones() {
    let of = |version: &str, kind: &str| {
        let value = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": {"a": 1}});
        object(&value, None, None).map(|(_, object)| object)
    };
    assert_eq!(of("serving.knative.dev/v1", "Service").unwrap().kind(), "Service.serving.knative.dev");
    assert!(
        matches!(of("projectcalico.org/v3", "NetworkPolicy").unwrap(), Object::Policy(kind, _) if kind == "NetworkPolicy.projectcalico.org")
    );
    assert!(
        matches!(of("networking.k8s.io/v1", "NetworkPolicy").unwrap(), Object::Policy(kind, spec) if kind == "NetworkPolicy" && *spec == json!({"a": 1}))
    );
    assert_eq!(
        of("crd.antrea.io/v1beta1", "ClusterNetworkPolicy").unwrap().kind(),
        "ClusterNetworkPolicy.crd.antrea.io"
    );
    assert_eq!(
        of("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy").unwrap().kind(),
        "ClusterNetworkPolicy"
    );
    assert_eq!(
        of("networking.istio.io/v1", "ServiceEntry").unwrap(),
        Object::Other("ServiceEntry".into(), Arc::new(json!({"a": 1})))
    );
    assert_eq!(of("example.org/v1", "Widget").unwrap(), Object::Other("Widget".into(), Arc::new(json!({}))));
    assert!(matches!(of("apps/v1", "Deployment").unwrap(), Object::Controller(..)));
    assert_eq!(of("v1", "Secret"), Err(Skipped::Secret));
    assert_eq!(of("coordination.k8s.io/v1", "Lease"), Err(Skipped::Irrelevant));
}

#[test]
fn only_config_maps_of_cluster_dns_keep_their_data() {
    let of = |namespace: &str, name: &str, key: &str| {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": {key: "text"}});
        match object(&value, None, None).unwrap().1 {
            Object::ConfigMap(map) => map.data.len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(of("kube-system", "coredns", "NodeHosts"), 1);
    assert_eq!(of("openshift-dns", "dns-default", "Corefile"), 1);
    assert_eq!(of("shop", "coredns", "password"), 0);
}

#[test]
fn of_controllers_beside_cluster_dns_command_and_volumes_are_kept_and_environments_nowhere() {
    let of = |namespace: &str| {
        let value = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "coredns", "namespace": namespace},
            "spec": {"template": {"spec": {
                "containers": [{"name": "coredns", "image": "registry.k8s.io/coredns/coredns:v1", "args": ["-conf", "/etc/coredns/Corefile"],
                    "env": [{"name": "TOKEN", "value": "hush"}],
                    "volumeMounts": [{"name": "config-volume", "mountPath": "/etc/coredns", "readOnly": true}]}],
                "volumes": [{"name": "config-volume", "configMap": {"name": "coredns", "items": [{"key": "Corefile", "path": "Corefile"}]}}]}}}});
        match object(&value, None, None).unwrap().1 {
            Object::Controller(_, controller) => controller,
            other => panic!("{other:?}"),
        }
    };
    let kept = of("kube-system");
    assert_eq!(kept.args, ["-conf /etc/coredns/Corefile"]);
    assert!(
        kept.volumes[0].contains("\"key\":\"Corefile\"") && kept.volumes[1].contains("/etc/coredns"),
        "{kept:?}"
    );
    assert!(!format!("{kept:?}").contains("hush"));
    let elsewhere = of("shop");
    assert_eq!(elsewhere.images, kept.images);
    assert!(elsewhere.args.is_empty() && elsewhere.volumes.is_empty());
}

#[test]
fn ranges_and_the_dns_operator_s_resource_keep_their_specification() {
    let of = |version: &str, kind: &str, spec: serde_json::Value| {
        let value = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": spec});
        object(&value, None, None).unwrap().1
    };
    let cidrs = json!({"cidrs": ["10.96.0.0/12"]});
    assert_eq!(
        of("networking.k8s.io/v1", "ServiceCIDR", cidrs.clone()),
        Object::Other("ServiceCIDR".into(), Arc::new(cidrs))
    );
    let upstream = json!({"upstreamResolvers": {"upstreams": [{"type": "SystemResolvConf"}]}});
    assert_eq!(
        of("operator.openshift.io/v1", "DNS", upstream.clone()),
        Object::Other("DNS".into(), Arc::new(upstream))
    );
}

#[test]
fn what_is_no_object_is_said_with_its_place() {
    assert_eq!(
        others(&decode(Syntax::Json, "{\"kind\":\"Pod\",\"metadata\":{}}\n")),
        ["undecodable at 0: an object without name"]
    );
    assert_eq!(
        others(&decode(
            Syntax::Json,
            "{\"a\":{\"b\":1\n{\"kind\":\"Secret\",\"metadata\":{\"name\":\"x\"}}\n"
        )),
        ["undecodable at 10: JSON cut short", "ignored: a secret, not decoded"]
    );
    assert_eq!(others(&decode(Syntax::Yaml, "a: [1,\nb: }\n"))[0].split(": ").last(), Some("not YAML"));
}

#[test]
fn yaml_bombs_end_at_the_budget() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", ")));
    }
    let error = text::yaml(bomb.as_bytes()).unwrap_err();
    assert_eq!(error.reason, "YAML over the budget of nodes, depth or aliases");
    let repeated = text::yaml(b"kind: Pod\nkind: Service\n").unwrap();
    assert_eq!(repeated, json!({"kind": "Service"}));
}

/// The text as the engine gives it to the decoders.
fn withheld(bytes: &[u8], ranges: &[std::ops::Range<usize>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    for range in ranges {
        out.extend_from_slice(&bytes[at..range.start]);
        stand_in(&mut out, range.len(), true);
        at = range.end;
    }
    out.extend_from_slice(&bytes[at..]);
    assert_eq!(out.len(), bytes.len());
    out
}

/// The text with every secret range replaced by stars.
fn masked(bytes: &[u8], ranges: &[std::ops::Range<usize>]) -> String {
    let mut out = Vec::new();
    let mut at = 0;
    for range in ranges {
        out.extend_from_slice(&bytes[at..range.start]);
        out.extend_from_slice(b"***");
        at = range.end;
    }
    out.extend_from_slice(&bytes[at..]);
    String::from_utf8(out).unwrap()
}

fn json_masked(text: &str) -> String {
    masked(text.as_bytes(), &json_ranges(text.as_bytes()))
}

#[test]
fn secret_data_and_environments_are_found_in_json() {
    for (text, want) in [
        (
            r#"{"data":{"p":"c2VjcmV0"},"kind":"Secret","stringData":{"q":"plain \" x"},"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":1}"}}}"#,
            r#"{"data":{"p":"***"},"kind":"Secret","stringData":{"q":"***"},"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"***"}}}"#,
        ),
        // An item of a SecretList has no kind.
        (
            r#",{"metadata":{"name":"x"},"data":{"p":"AA=="},"type":"Opaque"}"#,
            r#",{"metadata":{"name":"x"},"data":{"p":"***"},"type":"Opaque"}"#,
        ),
        (
            r#"{"kind":"ConfigMap","data":{"Corefile":". {}"}}"#,
            r#"{"kind":"ConfigMap","data":{"Corefile":". {}"}}"#,
        ),
        (
            r#"{"kind":"Pod","spec":{"containers":[{"env":[{"name":"P","value":"hunter2"},{"name":"R","valueFrom":{"x":"y"}}],"image":"i"}]}}"#,
            r#"{"kind":"Pod","spec":{"containers":[{"env":[{"name":"P","value":"***"},{"name":"R","valueFrom":{"x":"y"}}],"image":"i"}]}}"#,
        ),
        (
            r#"{"kind":"Event","objectRef":{"resource":"serviceaccounts","subresource":"token"},"responseObject":{"kind":"TokenRequest","status":{"token":"0123456789abcdef0123"}}}"#,
            r#"{"kind":"Event","objectRef":{"resource":"serviceaccounts","subresource":"token"},"responseObject":{"kind":"TokenRequest","status":{"token":"***"}}}"#,
        ),
        // Patches have no kind: the reference tells that they are about a Secret.
        (
            r#"{"kind":"Event","requestObject":[{"op":"replace","path":"/data/p","value":"AA=="}],"objectRef":{"resource":"secrets"}}"#,
            r#"{"kind":"Event","requestObject":[{"op":"replace","path":"/data/p","value":"***"}],"objectRef":{"resource":"secrets"}}"#,
        ),
        (
            r#"{"kind":"Event","requestObject":{"data":{"p":"AA=="}},"objectRef":{"resource":"secrets"}}"#,
            r#"{"kind":"Event","requestObject":{"data":{"p":"***"}},"objectRef":{"resource":"secrets"}}"#,
        ),
        (
            r#"{"requestObject":[{"value":{"name":"N","value":"hunter2"},"op":"add","path":"/spec/template/spec/containers/0/env/-"}],"objectRef":{"resource":"deployments"}}"#,
            r#"{"requestObject":[{"value":{"name":"***","value":"***"},"op":"add","path":"/spec/template/spec/containers/0/env/-"}],"objectRef":{"resource":"deployments"}}"#,
        ),
        (
            r#"{"kind":"Pod","metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"spec\":{\"env\":[]}}"}}}"#,
            r#"{"kind":"Pod","metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"***"}}}"#,
        ),
        // A record cut short still hides what it has.
        (r#"{"kind":"Secret","data":{"p":"AA==","q":"#, r#"{"kind":"Secret","data":{"p":"***","q":"#),
    ] {
        assert_eq!(json_masked(text), want);
    }
    let jwt = format!("eyJhbGciOiJSUzI1NiJ9.{}.c2ln", "a".repeat(60));
    assert_eq!(json_masked(&format!("{{\"x\":\"{jwt}\"}}")), "{\"x\":\"***\"}");
}

/// Values that are no secret, by their place.
fn shape(value: &serde_json::Value, path: &str, out: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            map.iter().for_each(|(key, value)| shape(value, &format!("{path}.{key}"), out))
        }
        serde_json::Value::Array(list) => {
            list.iter().for_each(|value| shape(value, &format!("{path}[]"), out))
        }
        other if other.to_string().contains("hush") => out.push(path.to_owned()),
        other if other.as_str().map_or_else(|| other.to_string(), str::to_owned).trim() == "1" => {
            out.push(path.to_owned())
        }
        other => out.push(format!("{path}={other}")),
    }
}

#[test]
fn secrets_are_withheld_from_yaml_without_breaking_it() {
    let texts = [
        // As kubectl writes them: block scalars, the keys after the data.
        "- apiVersion: v1\n  data:\n    p: hush\n    cert: |\n      hush LINE1\n\n      # hush\n      key: hush\n      - hush\n  kind: Secret\n  metadata:\n    annotations:\n      kubectl.kubernetes.io/last-applied-configuration: |\n        {\"data\":{\"p\":\"hush\"}}\n    name: x\n",
        "  - apiVersion: v1\n    kind: Pod\n    spec:\n      containers:\n      - env:\n        - name: P\n          value: hush\n        - name: Q\n          value: |2-\n              hush\n            # hush: hush\n        - name: E\n          value: \"\"\n        - name: Y\n          value: \"hush\n\n            hush\"\n        - name: Z\n          value: 'hush''hush'\n        - name: F\n          value: >+\n            hush\n\n        - name: M\n          value: hush\n            hush hush\n        - value: hush # why\n          name: C\n        image: i\n        args:\n        - value: shown\n      nodeName: n\n",
        "kind: Pod\nmetadata:\n  annotations:\n    kubectl.kubernetes.io/last-applied-configuration: |\n      {\"spec\":{\"containers\":[{\"env\":[{\"value\":\"hush\"}]}]}}\n  name: p\n",
        "data: {p: hush, \"q\": 'hush', r: [hush]}\nkind: \"Secret\" # mine\n",
        "{\"kind\": \"Pod\", \"spec\": {\"containers\": [{\"env\": [{\"name\": \"a\", \"value\": \"hush\"}]}]}}\n",
        "\u{feff}kind: Secret\nstringData:\n  a: hush\n---",
        "kind: TokenRequest\nstatus: {token: hush-hush-hush-hush-hush, expirationTimestamp: x}\n",
        "kind: Secret\r\ndata:\r\n  a: hush\r\n  b: |\r\n    hush\r\nmetadata:\r\n  name: a\r\n",
        "kind: Secret\ndata:\n  a: !!str |\n    hush\n  b: &x hush\nmetadata:\n  labels: {a: *x}\n  name: a\n",
        "? kind\n: Secret\n? data\n: ? p\n  : hush\n",
    ];
    for text in texts {
        let ranges = yaml_ranges(text.as_bytes());
        let withheld = String::from_utf8(withheld(text.as_bytes(), &ranges)).unwrap();
        assert!(!withheld.contains("hush"), "{text}\n{withheld}");
        let (mut before, mut after) = (Vec::new(), Vec::new());
        shape(&text::yaml(text.as_bytes()).unwrap_or_else(|e| panic!("{e:?}\n{text}")), "", &mut before);
        shape(
            &text::yaml(withheld.as_bytes()).unwrap_or_else(|e| panic!("{e:?}\n{withheld}")),
            "",
            &mut after,
        );
        before.retain(|place| !place.ends_with("labels.a"));
        after.retain(|place| !place.ends_with("labels.a"));
        assert_eq!(before, after, "{withheld}");
    }
}

#[test]
fn yaml_that_may_hide_a_secret_is_withheld_whole() {
    for text in [
        "kind: Secret\ndata:\n  a: hush\n b: [hush\n",
        "x: &s hush\nspec:\n  containers:\n  - env:\n    - {name: a, value: *s}\n",
        "[a, b]: hush\nkind: Secret\n",
    ] {
        assert_eq!(masked(text.as_bytes(), &yaml_ranges(text.as_bytes())), "***", "{text}");
    }
    for text in [
        "kind: ConfigMap\ndata:\n  Corefile: x\n",
        "# nothing\n",
        "",
        "a: &a 1\nb: *a\n",
        "kind: Pod\nspec:\n  value: shown\n",
    ] {
        assert_eq!(masked(text.as_bytes(), &yaml_ranges(text.as_bytes())), text);
    }
}

/// Each level costs memory: deeper than any object there is no walk.
#[test]
fn yaml_nested_too_deep_is_withheld_whole() {
    let nested = |depth: usize| format!("a: {}{}\n", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(yaml_ranges(nested(100).as_bytes()), []);
    let deep = nested(200);
    assert_eq!(yaml_ranges(deep.as_bytes()).first(), Some(&(0..deep.len())));
}

#[test]
fn secrets_are_withheld_from_json_without_breaking_it() {
    let texts = [
        r#"{"kind":"Secret","data":null,"stringData":{"a":12345,"b":true,"c":[null,"hush"],"d":"\"hush\\"},"type":"x"}"#,
        r#"{"k\u0069nd":"S\u0065cret","data":{"a":"hush"}}"#,
        r#"{"objectRef":{"resource":"secrets"},"requestObject":{"data":null,"value":-1.5e3}}"#,
    ];
    for text in texts {
        let withheld = withheld(text.as_bytes(), &json_ranges(text.as_bytes()));
        let value = text::json(&withheld).unwrap();
        assert!(!value.to_string().contains("hush"), "{value}");
    }
}
