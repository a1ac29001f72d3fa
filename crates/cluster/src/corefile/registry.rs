//! All directives: which schema reads each, and what typed plugin comes out.
//!
//! Enters: a server block's tokens; leaves: [`Plugin`]s and faults. Deliberately absent: the order of plugins.

use truename_model::Name;

use super::diagnostic::CorefileError;
use super::kubernetes::{K8S_EXTERNAL, K8sExternal, KUBERNETES, KubernetesOptions};
use super::order::{self, Version};
use super::parser::Block;
use super::schema::{Schema, Stanza, invalid, read};

/// A plugin of a server block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// `kubernetes`.
    Kubernetes(KubernetesOptions),
    /// `k8s_external`.
    K8sExternal(K8sExternal),
    /// Any other, as read.
    Other(Stanza),
}

/// Reads the plugins of a block; each fault is one at which CoreDNS of the version refuses to start.
#[must_use]
pub fn read_plugins(
    block: &Block,
    zones: &[Name],
    version: Version,
    faults: &mut Vec<CorefileError>,
) -> Vec<Plugin> {
    let mut plugins = Vec::new();
    for (name, tokens) in &block.tokens {
        let Some(first) = tokens.first() else { continue };
        if order::position(name, version).is_none() {
            let message = if order::is_known(name) {
                format!("CoreDNS {version} has no plugin '{name}'")
            } else {
                format!("unknown directive '{name}'")
            };
            faults.push(invalid(first, message, "remove it or use a build that has it"));
        }
        let Some(schema) = schema_of(name) else { continue };
        let (stanzas, fault) = read(schema, tokens, version);
        faults.extend(fault);
        for stanza in stanzas {
            match plugin(&stanza, zones) {
                Ok(plugin) => plugins.push(plugin),
                Err(fault) => faults.push(fault),
            }
        }
    }
    plugins
}

fn schema_of(name: &str) -> Option<&'static Schema> {
    match name {
        "kubernetes" => Some(&KUBERNETES),
        "k8s_external" => Some(&K8S_EXTERNAL),
        _ => None,
    }
}

fn plugin(stanza: &Stanza, zones: &[Name]) -> Result<Plugin, CorefileError> {
    Ok(match &*stanza.name.text {
        "kubernetes" => Plugin::Kubernetes(KubernetesOptions::read(stanza, zones)?),
        "k8s_external" => Plugin::K8sExternal(K8sExternal::read(stanza, zones)),
        _ => Plugin::Other(stanza.clone()),
    })
}
