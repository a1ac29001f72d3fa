//! Label selectors (`meta/v1` LabelSelector).
//!
//! Enters: the selector as JSON and labels; leaves: yes, no, or unknown where labels are not in the evidence. An
//! empty selector matches everything; requirements are ANDed; `NotIn` matches what lacks the key.

use serde_json::Value;
use truename_model::object::StringMap;

/// The label that the API server gives every namespace: its name.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// A label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Reads a selector; absent (null) is empty.
    ///
    /// # Errors
    /// What the API server refuses it for.
    pub fn read(value: &Value) -> Result<Self, String> {
        if value.is_null() {
            return Ok(Self::default());
        }
        let fields = value.as_object().ok_or("a selector that is no object")?;
        let mut requirements = Vec::new();
        for (field, value) in fields {
            match (field.as_str(), value) {
                (_, Value::Null) => {}
                ("matchLabels", Value::Object(labels)) => {
                    for (key, value) in labels {
                        let value = value.as_str().ok_or("a label value that is no text")?;
                        let (key, values) = (key.clone(), vec![value.to_owned()]);
                        requirements.push(Requirement { key, operator: Operator::In, values });
                    }
                }
                ("matchExpressions", Value::Array(expressions)) => {
                    for expression in expressions {
                        requirements.push(requirement(expression)?);
                    }
                }
                _ => return Err(format!("a selector with {field}")),
            }
        }
        Ok(Self { requirements })
    }

    /// True if it selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether labels match.
    #[must_use]
    pub fn matches(&self, labels: &StringMap) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(labels.get(&requirement.key)))
    }

    /// Whether a namespace matches; without labels only its name is known (the label [`NAMESPACE_NAME`]).
    #[must_use]
    pub fn matches_namespace(&self, name: &str, labels: Option<&StringMap>) -> Option<bool> {
        if let Some(labels) = labels {
            return Some(self.matches(labels));
        }
        let name = name.to_owned();
        let mut known = true;
        for requirement in &self.requirements {
            if requirement.key != NAMESPACE_NAME {
                known = false;
            } else if !requirement.holds(Some(&name)) {
                return Some(false);
            }
        }
        known.then_some(true)
    }
}

impl Requirement {
    fn holds(&self, value: Option<&String>) -> bool {
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

fn requirement(value: &Value) -> Result<Requirement, String> {
    let fields = value.as_object().ok_or("an expression that is no object")?;
    if let Some(field) = fields.keys().find(|key| !["key", "operator", "values"].contains(&key.as_str())) {
        return Err(format!("an expression with {field}"));
    }
    let key =
        value["key"].as_str().filter(|key| !key.is_empty()).ok_or("an expression without key")?.to_owned();
    let mut values = Vec::new();
    for value in value["values"].as_array().into_iter().flatten() {
        values.push(value.as_str().ok_or("a value that is no text")?.to_owned());
    }
    let operator = match value["operator"].as_str() {
        Some("In") => Operator::In,
        Some("NotIn") => Operator::NotIn,
        Some("Exists") => Operator::Exists,
        Some("DoesNotExist") => Operator::DoesNotExist,
        _ => return Err("an expression without a known operator".to_owned()),
    };
    match (operator, values.is_empty()) {
        (Operator::In | Operator::NotIn, true) => Err("In or NotIn without values".to_owned()),
        (Operator::Exists | Operator::DoesNotExist, false) => {
            Err("Exists or DoesNotExist with values".to_owned())
        }
        _ => Ok(Requirement { key, operator, values }),
    }
}
