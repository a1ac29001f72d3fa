//! Lenient access to JSON values: what is absent, null or of another type counts as absent.
//!
//! The API server only writes well-typed objects; a dump edited by hand must not lose the rest of an object.

use std::net::IpAddr;

use serde_json::Value;
use truename_model::Nanos;
use truename_model::object::StringMap;

/// The value at a path of keys.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |inner, key| inner.get(key)).filter(|found| !found.is_null())
}

/// The text at a path, borrowed.
pub(crate) fn text_ref<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(value, path)?.as_str()
}

/// The text at a path; empty if absent.
pub(crate) fn text(value: &Value, path: &[&str]) -> String {
    text_ref(value, path).unwrap_or_default().to_owned()
}

/// A number or text at a path, as text.
pub(crate) fn scalar(value: &Value, path: &[&str]) -> String {
    at(value, path).map(scalar_text).unwrap_or_default()
}

fn scalar_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

/// The truth at a path.
pub(crate) fn truth(value: &Value, path: &[&str]) -> Option<bool> {
    at(value, path)?.as_bool()
}

/// The items of a list at a path; none if absent.
pub(crate) fn list<'a>(value: &'a Value, path: &[&str]) -> impl Iterator<Item = &'a Value> {
    at(value, path).and_then(Value::as_array).into_iter().flatten()
}

/// A list of texts at a path.
pub(crate) fn texts(value: &Value, path: &[&str]) -> Vec<String> {
    list(value, path).filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// A port number at a path.
pub(crate) fn port(value: &Value, path: &[&str]) -> Option<u16> {
    at(value, path)?.as_u64().and_then(|number| u16::try_from(number).ok())
}

/// A map of scalars at a path. YAML may hold numbers where the API demands text: they are kept as text.
pub(crate) fn map(value: &Value, path: &[&str]) -> StringMap {
    let entries = at(value, path).and_then(Value::as_object).into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), scalar_text(value))).collect()
}

/// An instant (RFC 3339) at a path.
pub(crate) fn instant(value: &Value, path: &[&str]) -> Option<Nanos> {
    Nanos::parse_rfc3339(text_ref(value, path)?.as_bytes())
}

/// An address, with IPv4 out of its IPv6 mapping.
pub(crate) fn ip(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}
